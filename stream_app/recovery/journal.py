"""The journal: decisions that are not a function of the input log, so that a replay can follow them.

One record a decision in `<stream>.journal`, in the partition of the input it is about, published together with the
outputs it led to. A decision either takes effect at an offset (an idle close, a model swap: before the reading with
that offset) or is looked up for the offsets it names (the clock's verdicts, a model that failed).

Decisions of a partition are numbered; a checkpoint remembers the number of decisions its state contains.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from model_core.spec import StreamSpec
from stream_app.errors import KafkaAway, TidecastError
from stream_app.polling.poll_batch import StreamPartition

Kind = Literal["idle_close", "model", "clock", "model_failed"]
AT_AN_OFFSET: tuple[Kind, ...] = ("idle_close", "model")
READ_S = 0.1
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Decision:
    """`next_offset`: the first offset not yet in the state when it was made."""

    number: int
    next_offset: int
    kind: Kind
    detail: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """What the record says beside partition and next_offset."""
        return {"number": self.number, "kind": self.kind, **self.detail}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Decision:
        body = dict(record["decision"])
        number, kind = body.pop("number"), body.pop("kind")
        return cls(number, record["next_offset"], kind, body)


@dataclass
class Journaled:
    """What a partition's journal says beyond its state, and the number of the next decision."""

    pending: deque[Decision] = field(default_factory=deque)  # that take effect at an offset, in order
    clock: set[tuple[int, int]] = field(default_factory=set)  # (offset, position in the message) rejected
    failed: list[tuple[int, int]] = field(default_factory=list)  # [from, to) offsets whose windows the model failed
    count: int = 0  # decisions ever made, those of others included

    @classmethod
    def after(cls, decisions: Iterable[Decision], contained: int) -> Journaled:
        """`contained`: how many decisions the state has already seen."""
        journaled = cls(count=contained)
        for decision in sorted(decisions, key=lambda each: each.number):
            journaled.count = max(journaled.count, decision.number)
            # Verdicts are looked up by offset, so those that the state has seen do no harm.
            if decision.kind == "clock":
                journaled.clock.update((offset, position) for offset, position in decision.detail["rejected"])
            elif decision.kind == "model_failed":
                journaled.failed.append((decision.detail["from_offset"], decision.detail["to_offset"]))
            elif decision.number > contained:
                journaled.pending.append(decision)
        return journaled

    def due(self, next_offset: int) -> list[Decision]:
        """Those that take effect before the reading with this offset; they are pending no more."""
        due = []
        while self.pending and self.pending[0].next_offset <= next_offset:
            due.append(self.pending.popleft())
        return due

    def has_failed(self, offset: int) -> bool:
        return any(first <= offset < end for first, end in self.failed)

    def decide(self, next_offset: int, kind: Kind, **detail: Any) -> Decision:
        """A decision made here and now."""
        self.count += 1
        return Decision(self.count, next_offset, kind, detail)


def read_journals(
    properties: Mapping[str, Any],
    streams: Mapping[str, StreamSpec],
    partitions: Sequence[StreamPartition],
    timeout_s: float,
) -> dict[StreamPartition, list[Decision]]:
    """All decisions of these partitions, oldest first. A journal topic that is missing is an error with its remedy."""
    topics = {at: streams[at.stream].outputs.topic("journal", at.stream) for at in partitions}
    by_topic = {(topic, at.partition): at for at, topic in topics.items()}
    decisions: dict[StreamPartition, list[Decision]] = {at: [] for at in partitions}
    ends = _ends(properties, list(by_topic), timeout_s)
    reader = Consumer({**properties, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        reader.assign([TopicPartition(topic, at.partition, 0) for at, topic in topics.items()])
        unread, waited_s = set(by_topic), 0.0
        while unread:
            messages = reader.consume(1000, READ_S)
            waited_s = 0.0 if messages else waited_s + READ_S
            if waited_s > timeout_s:
                raise KafkaAway(f"Expected to read the journal of {sorted(unread)} within {timeout_s:g} s of silence.")
            for message in messages:
                place = (message.topic(), message.partition())
                error = message.error()
                if error is None:
                    decisions[by_topic[place]].append(Decision.from_record(json.loads(message.value())))
                elif error.code() == KafkaError._PARTITION_EOF:
                    # An open transaction of a killed worker hides what was committed after it began: that is no end.
                    if message.offset() >= ends.get(place, 0):
                        unread.discard(place)
                elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                    raise TidecastError(
                        f"Expected {message.topic()} to have as many partitions as the input topic, found none for "
                        f"partition {message.partition()}. Create it: tidecast topics create"
                    )
                else:
                    raise KafkaException(error)
    finally:
        reader.close()
    return decisions


def _ends(properties: Mapping[str, Any], places: Sequence[tuple[str, int]], timeout_s: float) -> dict[Any, int]:
    """One after the last record of each (topic, partition), open transactions or not; nothing for missing ones."""
    asking = Consumer({**properties, "isolation.level": "read_uncommitted"})
    ends = {}
    try:
        for topic, partition in places:
            try:
                ends[topic, partition] = asking.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=timeout_s, cached=False
                )[1]
            except KafkaException as error:
                if error.args[0].code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                    raise KafkaAway(
                        f"Expected Kafka to tell the end of {topic}[{partition}], found: {error}."
                    ) from error
    finally:
        asking.close()
    return ends
