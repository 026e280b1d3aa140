"""Messages that came while the pipeline was behind, and a rebalance that takes some of their partitions away."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from stream_app.consumer import PollThread
from stream_app.poll_batch import StreamPartition


@dataclass(frozen=True)
class Message:
    of: int

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return self.of


@dataclass
class RebalancingConsumer:
    """As the real one: its callbacks run inside consume()."""

    thread: Any = None
    asked: list[int] = field(default_factory=list)

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        self.asked.append(count)
        self.thread._assignment.owned = {StreamPartition("tides", 1): "ours"}
        self.thread._forget_early()
        return [Message(1)]


def test_what_a_rebalance_takes_away_while_the_pipeline_is_behind_stays_away() -> None:
    thread = object.__new__(PollThread)
    thread._consumer = consumer = RebalancingConsumer()
    consumer.thread = thread
    thread._streams = {"in": "tides"}
    owned = {StreamPartition("tides", each): "ours" for each in (0, 1)}
    thread._assignment = SimpleNamespace(owned=owned)  # type: ignore[assignment]
    thread._early = [Message(0), Message(1)]  # type: ignore[list-item]
    thread._keep_polling(pause=False)
    assert consumer.asked == [1]
    assert [message.partition() for message in thread._early] == [1, 1]


class Fault:
    """As the client says of itself, and not of a partition, that something is wrong."""

    def topic(self) -> None: ...

    def partition(self) -> None: ...

    def offset(self) -> None: ...

    def error(self) -> str:
        return "maximum poll interval exceeded"


def test_an_error_about_no_partition_survives_a_rebalance_and_is_not_kept_waiting_for_one() -> None:
    thread = object.__new__(PollThread)
    thread._streams = {"in": "tides"}
    owned = {StreamPartition("tides", 0): SimpleNamespace(start_offset=7)}
    thread._assignment = SimpleNamespace(owned=owned)  # type: ignore[assignment]
    good: list[Any] = [
        SimpleNamespace(topic=lambda: "in", error=lambda: None, partition=lambda p=p: p, offset=lambda o=o: o)
        for p, o in ((0, 8), (1, 9), (0, 6), (0, 7))
    ]
    fault: Any = Fault()
    found = thread._still_ours([good[0], fault, *good[1:], good[0]])
    assert [each.offset() for each in found] == [None, 7, 8]
    thread._early = [fault, good[0]]
    thread._forget_early()
    assert [each.offset() for each in thread._early] == [8]
