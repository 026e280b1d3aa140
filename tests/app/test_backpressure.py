"""A consumer that was paused because the pipeline is behind reads on again, whatever ends the wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from stream_app.delivery.commits import OffsetCommits
from stream_app.kafka.fetch_queue import Fetched
from stream_app.observability.metrics import Metrics
from stream_app.partitions.names import StreamPartition
from stream_app.polling import batch_growth
from stream_app.polling.consumer import PollThread
from stream_app.polling.poll_batch import Assigned, Lost, PollBatch, Rewound
from stream_app.recovery.rewinds import Rewinds
from stream_app.settings.model import Limits
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message

PLACES = [TopicPartition("in", each) for each in range(3)]


class PausedConsumer:
    """As the real one: what is paused stays so, whoever it is assigned to in between. It has no messages."""

    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.unassigned: list[int] = []
        self.member: str | None = "one"
        self.generation = 1

    def assignment(self) -> list[TopicPartition]:
        return list(PLACES)

    def pause(self, places: Sequence[TopicPartition]) -> None:
        self.paused |= {place.partition for place in places}

    def resume(self, places: Sequence[TopicPartition]) -> None:
        self.paused -= {place.partition for place in places}

    def incremental_assign(self, places: Sequence[TopicPartition]) -> None: ...

    def incremental_unassign(self, places: Sequence[TopicPartition]) -> None:
        self.unassigned += [place.partition for place in places]

    def memberid(self) -> str | None:
        return self.member

    def consumer_group_metadata(self) -> bytes:
        return f"generation {self.generation} of {self.member}".encode()

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        return []


class FetchedLog:
    """Stands where the queue of fetched messages does: gives what lies in `log`, as many as it is asked for."""

    def __init__(self, log: Sequence[Any] = ()) -> None:
        self.log = list(log)
        self.asked: list[int] = []
        self.waits_s: list[float] = []  # for how long it was asked to wait at most
        self.diverted: list[TopicPartition] = []

    def divert(self, places: Sequence[TopicPartition]) -> None:
        self.diverted = list(places)

    def take(self, most: int, *, first_s: float, gather_s: float, most_s: float) -> Fetched:
        self.asked.append(most)
        self.waits_s.append(most_s)
        taken, self.log = self.log[:most], self.log[most:]
        return Fetched({"in": MessageColumns.of(taken)} if taken else {}, [])


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


def poll_thread(
    consumer: PausedConsumer,
    rewinds: Rewinds,
    put: list[PollBatch],
    limits: Limits | None = None,
    fetched: FetchedLog | None = None,
) -> PollThread:
    spec = SimpleNamespace(topic="in", idle_timeout=None)
    limits = limits or Limits(pause_after=0, poll_wait=1, poll_queue_max=1)
    settings: Any = SimpleNamespace(limits=limits, streams={"tides": spec}, delivery="exactly_once")
    thread = PollThread(
        settings,
        consumer_properties={},
        assignment=Owners(),  # type: ignore[arg-type]
        commits=OffsetCommits(),
        rewinds=rewinds,
        metrics=Metrics(),
        put=put.append,
        pace=SimpleNamespace(wake_at=lambda: float("inf"), leaves_at=lambda: 0.0),
        prepare=lambda stopping: None,
        on_fatal=lambda error: None,
    )
    thread._consumer = consumer  # type: ignore[assignment]
    thread._intake._fetched = fetched or FetchedLog()  # type: ignore[assignment]
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
    thread._subscription.on_lost(consumer, PLACES)  # type: ignore[arg-type]
    consumer.assignment = list  # type: ignore[method-assign]
    thread._subscription.resume(consumer)  # type: ignore[arg-type]
    assert consumer.paused == {0, 1, 2}, "none of them was there"
    thread._subscription.on_assign(consumer, PLACES)  # type: ignore[arg-type]
    assert consumer.paused == set()


def test_what_waits_for_its_restore_or_for_a_person_stays_paused() -> None:
    consumer = PausedConsumer()
    thread = poll_thread(consumer, Rewinds(), [])
    consumer.pause(PLACES)
    thread._subscription.is_paused = True
    thread._subscription.holding = {StreamPartition("tides", 0): "its format changed"}
    thread._subscription.parked.add(StreamPartition("tides", 1))
    thread._subscription.resume(consumer)  # type: ignore[arg-type]
    assert consumer.paused == {0, 1}


class LiveConsumer(PausedConsumer):
    def position(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        return []

    def get_watermark_offsets(self, place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        return 0, 0


def offsets(poll_batch: PollBatch) -> list[int | None]:
    return [message.offset() for message in poll_batch.messages["tides"]]


def test_small_polls_join_while_the_pipeline_has_one_in_hand() -> None:
    consumer, fetched, put = LiveConsumer(), FetchedLog(), list[PollBatch]()
    thread = poll_thread(consumer, Rewinds(), put, Limits(poll_wait=1, poll_batch_max=5), fetched)
    for number in range(4):
        fetched.log = [message(b"{}", offset=number)]
        thread._turn(consumer)  # type: ignore[arg-type]
    assert [offsets(each) for each in put] == [[0]]
    thread.handled(put[0])
    thread._turn(consumer)  # type: ignore[arg-type]
    assert [offsets(each) for each in put] == [[0], [1, 2, 3]]
    fetched.log = [message(b"{}", offset=number) for number in range(4, 12)]
    thread._turn(consumer)  # type: ignore[arg-type]
    assert offsets(put[-1]) == [4, 5, 6, 7, 8], "a full one waits for a credit, not for more"


def test_what_waits_for_the_pipeline_waits_for_no_message_besides() -> None:
    """It stood for another gathering while the pipeline was free: the slowest hundredth was made of that (seen)."""
    consumer, fetched, put = LiveConsumer(), FetchedLog(), list[PollBatch]()
    thread = poll_thread(consumer, Rewinds(), put, Limits(poll_wait=1), fetched)
    for number in range(2):
        fetched.log = [message(b"{}", offset=number)]
        thread._turn(consumer)  # type: ignore[arg-type]
    assert [offsets(each) for each in put] == [[0]]
    assert min(fetched.waits_s) > 0
    fetched.log = [message(b"{}", offset=2)]
    pipeline = threading.Timer(0.002, thread.handled, put[:1])
    pipeline.start()
    while len(put) < 2:
        thread._turn(consumer)  # type: ignore[arg-type]
    pipeline.join()
    assert offsets(put[1]) == [1, 2]
    assert set(fetched.waits_s[2:]) == {0.0}


def test_larger_ones_wait_behind_one_in_hand_and_join_behind_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_growth, "SMALL_BATCH", 2)
    consumer, fetched, put = LiveConsumer(), FetchedLog(), list[PollBatch]()
    thread = poll_thread(consumer, Rewinds(), put, Limits(poll_wait=1, poll_batch_max=10), fetched)
    for first in range(0, 8, 2):
        fetched.log = [message(b"{}", offset=first), message(b"{}", offset=first + 1)]
        thread._turn(consumer)  # type: ignore[arg-type]
    assert [offsets(each) for each in put] == [[0, 1], [2, 3]]
    thread.handled(put[0])
    thread._turn(consumer)  # type: ignore[arg-type]
    assert [offsets(each) for each in put] == [[0, 1], [2, 3], [4, 5, 6, 7]]


def test_large_messages_are_taken_fewer_at_once() -> None:
    limits = Limits(poll_wait=1, poll_bytes_max=10_000)
    consumer, fetched = LiveConsumer(), FetchedLog([message(b"x" * 500, offset=number) for number in range(100)])
    thread = poll_thread(consumer, Rewinds(), [], limits, fetched)
    for _ in range(2):
        thread._turn(consumer)  # type: ignore[arg-type]
        thread.handled(PollBatch())
    fetched.log = [message(b"x" * 50_000, offset=100)]
    for _ in range(2):
        thread._turn(consumer)  # type: ignore[arg-type]
        thread.handled(PollBatch())
    assert fetched.asked[1:] == [20, 20, 1]


def test_partitions_are_diverted_before_they_are_assigned() -> None:
    """Whatever came between would come as Python objects, which nobody expects."""
    consumer, fetched = LiveConsumer(), FetchedLog()
    diverted_then: list[int] = []
    consumer.incremental_assign = lambda places: diverted_then.append(len(fetched.diverted))  # type: ignore[method-assign]
    thread = poll_thread(consumer, Rewinds(), [], fetched=fetched)
    consumer.assignment = list  # type: ignore[method-assign]
    thread._subscription.on_assign(consumer, PLACES)  # type: ignore[arg-type]
    assert diverted_then == [3]
