"""Which batches are handed over at once, and which wait for company."""

from __future__ import annotations

import threading

import pytest

from stream_app.polling.batch_growth import SMALL_BATCH, BatchGrowth

INTERVAL_MS = 100
LONG_S = 600.0  # longer than a test may take


class Cut:
    """The next one of the pipeline."""

    def __init__(self, at: float) -> None:
        self.at = at

    def leaves_at(self) -> float:
        return self.at


def test_what_leaves_with_a_cut_waits_for_a_share_of_the_interval_and_never_beyond_the_cut() -> None:
    cut = Cut(10.1)
    growth = BatchGrowth(INTERVAL_MS, cut.leaves_at)
    assert growth.should_grow(1, now=10.0)
    assert growth.until == pytest.approx(10.03)
    assert growth.should_grow(SMALL_BATCH - 1, now=10.02)
    assert not growth.should_grow(SMALL_BATCH, now=10.02)
    assert growth.should_grow(1, now=10.05), "it was handed over, and this is another one"
    cut.at = 10.06
    assert growth.until == 10.06
    assert not growth.should_grow(2, now=10.06)


def test_what_leaves_at_once_waits_for_nobody() -> None:
    growth = BatchGrowth(INTERVAL_MS, lambda: 0.0)
    assert not growth.should_grow(1, now=10.0)
    late = BatchGrowth(INTERVAL_MS, Cut(9.0).leaves_at)
    assert not late.should_grow(1, now=10.0), "its cut is due: nothing has come for long"


def test_behind_one_in_work_small_ones_grow_and_behind_one_that_waits_any() -> None:
    growth = BatchGrowth(INTERVAL_MS, lambda: 0.0)
    growth.handed_over()
    assert growth.should_grow(1, now=10.0)
    assert not growth.should_grow(SMALL_BATCH, now=10.0)
    growth.handed_over()
    assert growth.should_grow(SMALL_BATCH, now=10.0)
    growth.handled()
    growth.handled()
    assert not growth.should_grow(1, now=10.0)


def test_nothing_in_hand_keeps_nobody_awake() -> None:
    """What waited may be gone: its partition has another owner."""
    growth = BatchGrowth(INTERVAL_MS, Cut(10.1).leaves_at)
    assert growth.should_grow(5, now=10.0)
    assert not growth.should_grow(0, now=10.01)
    assert growth.until == float("inf")
    assert growth.should_grow(5, now=10.02)
    growth.handed_over()
    assert growth.until == float("inf"), "the pipeline is at work, and wants nothing now"


def test_whoever_waits_for_the_pipeline_is_woken_when_it_is_free() -> None:
    growth = BatchGrowth(INTERVAL_MS, lambda: 0.0)
    assert not growth.await_end(LONG_S), "nothing is under way"
    growth.handed_over()
    assert growth.await_end(0.001), "it is under way still, and the wait is over"
    pipeline = threading.Timer(0.05, growth.handled)
    pipeline.start()
    assert growth.await_end(LONG_S)
    assert not growth.should_grow(1, now=10.0)
    pipeline.join()
