"""A topic is read as far as it reached when somebody looked, whatever comes meanwhile, while its broker answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream_app.errors import TidecastError
from stream_app.kafka import up_to_ends
from stream_app.kafka.up_to_ends import read_up_to


@dataclass(frozen=True)
class Told:
    """A record, or what the client says of a partition; what is used of confluent_kafka.Message."""

    at: int
    place: int
    code: int | None = None

    def partition(self) -> int:
        return self.at

    def offset(self) -> int:
        return self.place

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)


class Client:
    """Says what is written down, a list a poll, then nothing."""

    def __init__(self, *polls: list[Told]) -> None:
        self._polls = list(polls)

    def consume(self, _most: int, _wait_s: float) -> list[Told]:
        return self._polls.pop(0) if self._polls else []


def read(client: Client, places: dict[int, int], ends: dict[int, int]) -> list[tuple[int, int]]:
    consumer: Any = client
    polls = read_up_to(consumer, "tides", places, ends, most=100, wait_s=0.0)
    return [(each.partition(), each.offset()) for messages in polls for each in messages]


def test_what_comes_after_the_ends_is_left_out() -> None:
    places, ends = {0: 3, 1: 0}, {0: 5, 1: 1}
    client = Client([Told(0, 3)], [], [Told(0, 4), Told(0, 5), Told(1, 0), Told(1, 1)], [Told(0, 6)])
    assert read(client, places, ends) == [(0, 3), (0, 4), (1, 0)]
    assert places == ends
    assert client.consume(1, 0.0) == [Told(0, 6)]  # nobody asked for more


def test_markers_of_transactions_at_the_end_are_passed() -> None:
    places = {0: 0, 1: 2}
    client = Client([Told(0, 0), Told(1, 4, KafkaError._PARTITION_EOF)], [Told(0, 2, KafkaError._PARTITION_EOF)])
    assert read(client, places, {0: 2, 1: 4}) == [(0, 0)]
    assert places == {0: 2, 1: 4}


def test_an_error_that_passes_is_passed_over_and_a_missing_right_is_named() -> None:
    passing = Client([Told(0, 0, KafkaError._TRANSPORT)], [Told(0, 0)])
    assert read(passing, {0: 0}, {0: 1}) == [(0, 0)]
    with pytest.raises(TidecastError, match="This user may not read tides: give it Read on the topic"):
        read(Client([Told(0, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED)]), {0: 0}, {0: 1})


def test_silence_before_the_end_is_an_error_unless_whoever_reads_was_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]

    def passing_s() -> float:
        now_s[0] += 1.0  # a second for each look at the clock
        return now_s[0]

    monkeypatch.setattr(up_to_ends.time, "monotonic", passing_s)
    consumer: Any = Client([Told(0, 0)], [], [Told(0, 1)])
    for messages in read_up_to(consumer, "tides", {0: 0}, {0: 2}, most=100, wait_s=0.0):
        now_s[0] += 1000.0 if messages else 0.0
    with pytest.raises(TidecastError, match="sent nothing of 'tides' for 60 s"):
        read(Client([Told(0, 0)]), {0: 0}, {0: 2})
