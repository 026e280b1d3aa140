"""What `tidecast dead-letters requeue` does: messages go back to their input topic as they were, and never twice.

A message and the mark that says it went back are in one transaction, so a run that was cut off can simply be started
again. `init_transactions` comes before the marks are read: it settles what an earlier run left open, and fences one
that is still at work.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from confluent_kafka import KafkaException, Producer

from stream_app.dead_letters.log import MARK, REQUEUED, Chosen, DeadLetterLog, Kept, Place, Requeued, ranges_of
from stream_app.errors import TidecastError
from stream_app.kafka.clients import describe_error, producer_properties
from stream_app.kafka.topic_scan import Progress

if TYPE_CHECKING:
    from model_core.spec import StreamSpec
    from stream_app.settings import Settings

CHUNK_LETTERS, CHUNK_BYTES = 5_000, 16 * 1_048_576  # of one transaction, and held in memory
TIMEOUT_S = 60.0
Skipped = Literal["requeued", "failed_again", "cut", "partly", "foreign", "same_message"]
WHY: dict[Skipped, str] = {
    "requeued": "went back already (--again)",
    "failed_again": "went back once and failed again (--again)",
    "cut": "not all of the message was kept",
    "partly": "other readings of the message were used (--whole-packs sends these once more)",
    "foreign": "came from another topic",
    "same_message": "another dead letter of the same message goes back",
}


@dataclass
class Plan:
    """What a requeue would send, and what not."""

    going: Counter[str] = field(default_factory=Counter)  # by reason
    skipped: Counter[Skipped] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.going.total()


@dataclass(frozen=True)
class Rules:
    """`again`: also what was requeued before. `whole_packs`: also messages of which some readings were used."""

    topic: str  # the input
    again: bool = False
    whole_packs: bool = False

    def skips(self, kept: Kept, requeued: Requeued) -> Skipped | None:
        if kept.source_topic != self.topic:
            return "foreign"
        if kept.is_cut:
            return "cut"
        if kept.place in requeued and not self.again:
            return "requeued"
        if kept.went_back and not self.again:
            return "failed_again"
        if kept.readings and not self.whole_packs:
            return "partly"
        return None


class Requeue:
    """One run over a log of dead letters. What is planned is what is sent: both end at the same offsets."""

    def __init__(
        self, settings: Settings, spec: StreamSpec, log: DeadLetterLog, chosen: Chosen, rules: Rules, partitions: int
    ) -> None:
        """`partitions` of the input topic."""
        self._settings = settings
        self._topic = spec.topic
        self._log = log
        self._chosen = chosen
        self._rules = rules
        self._partitions = partitions
        self._ends = log.ends()

    def plan(self, progress: Progress) -> Plan:
        plan, requeued = Plan(), self._log.requeued()
        for kept, why in self._sorted(requeued, progress):
            if why is None:
                plan.going[kept.reason] += 1
            else:
                plan.skipped[why] += 1
        return plan

    def run(self, progress: Progress) -> int:
        """Requeue what is planned. Returns how many messages went back."""
        sent = 0
        try:
            producer = self._producer()
            requeued = self._log.requeued()
            chunk: list[Kept] = []
            size = 0
            for kept, why in self._sorted(requeued, progress):
                if why is None:
                    chunk.append(kept)
                    size += len(kept.value or b"") + len(kept.key or b"")
                    if len(chunk) >= CHUNK_LETTERS or size >= CHUNK_BYTES:
                        sent += self._send(producer, chunk)
                        chunk, size = [], 0
            return sent + (self._send(producer, chunk) if chunk else 0)
        except KafkaException as error:
            raise TidecastError(
                f"Requeueing stopped: {describe_error(error)}. {sent:,} messages are back in {self._topic}, and "
                "marked; the same command goes on with the others, and sends none twice."
            ) from None

    def _sorted(self, requeued: Requeued, progress: Progress) -> Iterator[tuple[Kept, Skipped | None]]:
        """Each selected dead letter, and why it does not go back, if it does not."""
        before: dict[int, tuple[str, Place]] = {}  # of one message there is one for each reason, side by side
        for kept in self._log.letters(self._chosen, self._ends, progress):
            message = kept.source_topic, kept.source
            why = self._rules.skips(kept, requeued)
            if why is None and before.get(kept.place.partition) == message:
                why = "same_message"
            elif why is None:
                before[kept.place.partition] = message
            yield kept, why

    def _producer(self) -> Producer:
        properties = producer_properties(self._settings) | {
            "transactional.id": f"{self._settings.application_id}-requeue",
            "transaction.timeout.ms": int(TIMEOUT_S * 1000),
            "delivery.timeout.ms": int(TIMEOUT_S * 1000),
        }
        producer = Producer(properties)
        producer.init_transactions(TIMEOUT_S)
        return producer

    def _send(self, producer: Producer, chunk: list[Kept]) -> int:
        producer.begin_transaction()
        try:
            offsets: dict[int, list[int]] = {}
            for kept in chunk:
                self._produce_back(producer, kept)
                offsets.setdefault(kept.place.partition, []).append(kept.place.offset)
            for partition, some in offsets.items():
                mark = json.dumps(ranges_of(some)).encode()
                producer.produce(self._log.topic, mark, partition=partition, headers=[(MARK, b"1")])
            producer.commit_transaction(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                producer.abort_transaction(TIMEOUT_S)
            raise
        return len(chunk)

    def _produce_back(self, producer: Producer, kept: Kept) -> None:
        """To the partition that it came from: the other messages of its series are there, however it was chosen."""
        own = [(name, text) for name, text in kept.headers if name != REQUEUED]
        there = 0 <= kept.source.partition < self._partitions
        producer.produce(
            self._topic,
            kept.value,
            kept.key,
            timestamp=kept.timestamp_ms,
            headers=[*own, (REQUEUED, f"{self._log.topic}[{kept.place.partition}]@{kept.place.offset}".encode())],
            **({"partition": kept.source.partition} if there else {}),
        )


def skipped_sentences(skipped: Mapping[Skipped, int]) -> list[str]:
    """Sentences about what is not sent back."""
    return [f"{count:,} stay: {WHY[why]}" for why, count in skipped.items()]
