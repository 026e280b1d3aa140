"""Messages that came while the pipeline was behind, and a rebalance that takes some of their partitions away."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

from stream_app.kafka.fetch_queue import ClientError
from stream_app.polling.consumer import PollThread
from stream_app.polling.poll_batch import StreamPartition
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message


@dataclass
class RebalancingConsumer:
    """As the real one: its callbacks run inside consume(), and errors come by it."""

    thread: Any = None
    asked: list[int] = field(default_factory=list)

    def consume(self, count: int, timeout_s: float) -> list[ClientError]:
        self.asked.append(count)
        self.thread._assignment.owned = {StreamPartition("tides", 1): "ours"}
        self.thread._forget_early()
        return []


def polled(*places: tuple[int, int]) -> dict[str, MessageColumns]:
    """Messages of (partition, offset)."""
    return {"tides": MessageColumns.of([message(b"{}", partition=each, offset=offset) for each, offset in places])}


def places(messages: dict[str, MessageColumns]) -> list[tuple[int, int]]:
    return [(each.partition(), each.offset()) for some in messages.values() for each in some]


def test_what_a_rebalance_takes_away_while_the_pipeline_is_behind_stays_away() -> None:
    thread = object.__new__(PollThread)
    thread._consumer = consumer = RebalancingConsumer()
    consumer.thread = thread
    thread._streams, thread._topics = {"in": "tides"}, {"tides": "in"}
    owned = {StreamPartition("tides", each): "ours" for each in (0, 1)}
    thread._assignment = SimpleNamespace(owned=owned)  # type: ignore[assignment]
    thread._early = polled((0, 5), (1, 7))
    thread._errors = []
    thread._keep_polling(pause=False)
    assert len(consumer.asked) == 1
    assert places(thread._early) == [(1, 7)]


def test_an_error_about_no_partition_survives_a_rebalance_and_the_end_of_one_that_went_does_not() -> None:
    thread = object.__new__(PollThread)
    thread._streams, thread._topics = {"in": "tides"}, {"tides": "in"}
    owned = {StreamPartition("tides", 0): SimpleNamespace(start_offset=7)}
    thread._assignment = SimpleNamespace(owned=owned)  # type: ignore[assignment]
    assert places(thread._still_ours(polled((0, 8), (1, 9), (0, 6), (0, 7), (0, 8)))) == [(0, 7), (0, 8)]
    assert thread._still_ours(polled((1, 9), (0, 6))) == {}
    fault = ClientError("", -1, KafkaError._MAX_POLL_EXCEEDED, "maximum poll interval exceeded")
    ends = [ClientError("in", each, KafkaError._PARTITION_EOF, "") for each in (0, 1)]
    thread._early, thread._errors = {}, [fault, *ends]
    thread._forget_early()
    assert thread._errors == [fault, ends[0]]
