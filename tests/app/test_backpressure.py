"""A consumer that was paused because the pipeline is behind reads on again, whatever ends the wait."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import TopicPartition

from stream_app.consumer import PollThread
from stream_app.delivery.commits import OffsetCommits
from stream_app.metrics import Metrics
from stream_app.poll_batch import Assigned, Lost, PollBatch, Rewound, StreamPartition
from stream_app.rewinds import Rewinds
from stream_app.settings.model import Limits

PLACES = [TopicPartition("in", each) for each in range(3)]


class PausedConsumer:
    """As the real one: what is paused stays so, whoever it is assigned to in between. It has no messages."""

    def __init__(self) -> None:
        self.paused: set[int] = set()

    def assignment(self) -> list[TopicPartition]:
        return list(PLACES)

    def pause(self, places: Sequence[TopicPartition]) -> None:
        self.paused |= {place.partition for place in places}

    def resume(self, places: Sequence[TopicPartition]) -> None:
        self.paused -= {place.partition for place in places}

    def incremental_assign(self, places: Sequence[TopicPartition]) -> None: ...

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        return []


class Owners:
    """Nothing is owned: partitions were lost before the rewind."""

    def __init__(self) -> None:
        self.owned: dict[StreamPartition, Any] = {}

    def rewind(self, number: int, reason: str) -> Rewound:
        return Rewound(number)

    def lose(self, partitions: Sequence[StreamPartition]) -> Lost:
        return Lost(frozenset(partitions))

    def take(self, consumer: Any, partitions: Sequence[StreamPartition]) -> Assigned:
        return Assigned(tuple(SimpleNamespace(at=at, start_offset=0) for at in partitions))  # type: ignore[misc]


def poll_thread(consumer: PausedConsumer, rewinds: Rewinds, put: list[PollBatch]) -> PollThread:
    spec = SimpleNamespace(topic="in", idle_timeout=None)
    settings: Any = SimpleNamespace(
        limits=Limits(pause_after=0, poll_wait=1, poll_queue_max=1), streams={"tides": spec}, delivery="exactly_once"
    )
    thread = PollThread(
        settings,
        consumer_properties={},
        assignment=Owners(),  # type: ignore[arg-type]
        commits=OffsetCommits(),
        rewinds=rewinds,
        metrics=Metrics(),
        put=put.append,
        wake_at=lambda: float("inf"),
        prepare=lambda stopping: None,
        on_fatal=lambda error: None,
    )
    thread._consumer = consumer  # type: ignore[assignment]
    return thread


def test_a_rewind_that_ends_the_wait_for_the_pipeline_leaves_nothing_paused() -> None:
    consumer, rewinds, put = PausedConsumer(), Rewinds(), list[PollBatch]()
    thread = poll_thread(consumer, rewinds, put)
    thread._hand_over(PollBatch(), owned={})  # takes the only credit

    def ask_when_paused(count: int, timeout_s: float) -> list[Any]:
        if consumer.paused and not rewinds.is_asked:
            rewinds.clear(rewinds.ask("partitions were lost"))
        return []

    consumer.consume = ask_when_paused  # type: ignore[method-assign]
    thread._hand_over(PollBatch(), owned={})
    assert consumer.paused == {0, 1, 2}
    thread._turn(consumer)  # type: ignore[arg-type]
    assert any(isinstance(each.change, Rewound) for each in put)
    thread._turn(consumer)  # type: ignore[arg-type]
    assert consumer.paused == set()


def test_partitions_that_were_lost_while_paused_are_read_when_they_come_back() -> None:
    consumer = PausedConsumer()
    thread = poll_thread(consumer, Rewinds(), [])
    thread._keep_polling(pause=True)
    thread._on_lost(consumer, PLACES)  # type: ignore[arg-type]
    consumer.assignment = list  # type: ignore[method-assign]
    thread._resume()
    assert consumer.paused == {0, 1, 2}, "none of them was there"
    thread._on_assign(consumer, PLACES)  # type: ignore[arg-type]
    assert consumer.paused == set()


def test_what_waits_for_its_restore_or_for_a_person_stays_paused() -> None:
    consumer = PausedConsumer()
    thread = poll_thread(consumer, Rewinds(), [])
    consumer.pause(PLACES)
    thread._paused = True
    thread._holding = {StreamPartition("tides", 0): "its format changed"}
    thread._parked.add(StreamPartition("tides", 1))
    thread._resume()
    assert consumer.paused == {0, 1}
