"""One wrong clock must not make a partition late; a jump that others share is believed as far as they share it."""

import json
from typing import Any

import numpy as np

from model_core.watermark import BEFORE_ALL, WAITING_MAX, Arrived, EventClock

JUMP = 100


class Feed:
    """Readings (column, timestamp), each in a poll of its own; returns the timestamps admitted by it."""

    def __init__(self, clock: EventClock | None = None) -> None:
        self.clock = clock or EventClock(JUMP)
        self.seen: set[int] = set()

    def __call__(self, column: int, stamp: int, offset: int = 0, move: int | None = None) -> list[int]:
        newcomers = {column} - self.seen
        known = len(self.seen)
        self.seen.add(column)
        one = [np.array([x], np.int64) for x in (column, stamp, offset, stamp if move is None else move)]
        placed = self.clock.admit(Arrived(one[0], one[1], np.array([1.0]), one[2], one[3]), set(newcomers), known)
        return placed.timestamps_ms.tolist()


def test_the_clock_never_goes_back() -> None:
    feed = Feed()
    assert [feed(0, stamp) for stamp in (50, 20, 60)] == [[50], [20], [60]]
    assert feed.clock.newest_ms == 60


def test_one_clock_that_jumps_moves_nothing() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11)
    assert feed(0, 5000) == []
    assert feed(0, 5001) == []
    assert feed(0, 5002) == []  # two series are known: the same one does not confirm itself
    assert feed(1, 12) == [12]
    assert feed.clock.newest_ms == 12
    assert feed.clock.waiting == 3


def test_a_second_series_confirms_and_what_waited_comes_first() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11), feed(0, 5000)
    assert feed(1, 5010) == [5000, 5010]
    assert feed.clock.newest_ms == 5010


def test_the_third_reading_of_the_only_series_confirms() -> None:
    feed = Feed()
    feed(0, 10)
    assert [feed(0, stamp) for stamp in (5000, 5010, 5020)] == [[], [], [5000, 5010, 5020]]


def test_a_jump_is_believed_as_far_as_a_second_series_has_come() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11)
    assert feed(0, 900_000) == []  # a broken clock
    assert feed(1, 5000) == [5000]  # after a real gap: both have come this far, only one of them further
    assert feed(2, 5001) == [5001]
    assert feed.clock.newest_ms == 5001
    assert feed.clock.waiting == 1


def test_what_waits_joins_when_time_has_come_near() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11), feed(0, 200)
    assert feed(1, 90) == [90]
    assert feed(1, 120) == [120, 200]
    assert feed.clock.waiting == 0


def test_what_does_not_move_the_clock_neither_starts_it_nor_waits() -> None:
    feed = Feed()
    assert feed(7, 900_000, move=BEFORE_ALL) == [900_000]
    assert feed.clock.newest_ms is None
    assert feed(0, 10) == [10]
    assert feed(0, 900_000) == []
    assert feed(7, 900_001, move=BEFORE_ALL) == [900_001]
    assert feed.clock.newest_ms == 10


def test_readings_that_wait_are_bounded_and_those_given_up_are_counted() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11)
    for extra in range(WAITING_MAX + 5):
        feed(0, 5000 + extra)
    assert (feed.clock.waiting, feed.clock.given_up) == (WAITING_MAX, 5)


def test_a_snapshot_goes_on_as_if_nothing_had_been() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11), feed(0, 5000)
    kept: dict[str, Any] = json.loads(json.dumps(feed.clock.snapshot()))
    again = Feed(EventClock(JUMP))
    again.clock.restore(kept)
    again.seen = set(feed.seen)
    assert again(1, 5010) == feed(1, 5010) == [5000, 5010]


def test_a_deleted_series_waits_no_more() -> None:
    feed = Feed()
    feed(0, 10), feed(1, 11), feed(0, 5000)
    feed.clock.forget_column(0)
    assert feed(1, 5010) == []
