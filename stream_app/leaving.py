"""What leaves the pipeline, from columns to bytes: forecasts, accuracy, drift, dead letters, decisions.

Collects an Outbox; knows which topic each kind goes to, and nothing of when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import structlog

from model_core.bundle import ModelFacts
from model_core.outcomes import Outcome, Rejected
from model_core.readings import Readings
from stream_app.assignment import Owned
from stream_app.dead_letters import encode_dead_letter
from stream_app.journal import Decision
from stream_app.outbox import Addressed, Outbox
from stream_app.replay import since
from stream_app.wire import DeadLetter
from stream_app.wire import messages as wire
from stream_app.wire.decoded import Reason
from stream_app.wire.timestamps import rfc3339

if TYPE_CHECKING:
    from confluent_kafka import Message

    from stream_app.metrics import Metrics

log = structlog.get_logger(__name__)


class Leaving:
    """The outbox that is being filled."""

    def __init__(self, metrics: Metrics, now_ms: Callable[[], int]) -> None:
        self._metrics = metrics
        self._now_ms = now_ms
        self.outbox = Outbox()
        self._taken = 0  # records since the last cut

    @property
    def records_since_cut(self) -> int:
        return self._taken + self.outbox.records

    def cut(self) -> Outbox:
        """What is collected, up to a cut."""
        outbox, self._taken = self.take(), 0
        return outbox

    def take(self) -> Outbox:
        """What is collected; a new outbox begins."""
        outbox, self.outbox = self.outbox, Outbox()
        self._taken += outbox.records
        return outbox

    def forget(self) -> None:
        """What is collected will be made again."""
        self.outbox, self._taken = Outbox(), 0

    def add(self, owned: Owned, outcome: Outcome, facts: ModelFacts) -> None:
        """Forecasts, accuracy and drift of a partition, each to its topic."""
        stream, spec = owned.at.stream, owned.spec
        if spec.emit_from is not None:
            outcome = since(outcome, spec.grid.tick(spec.emit_from - 1) + 1)
        issued_at = rfc3339(self._now_ms())
        common = (spec, stream, owned.at.partition)
        forecasts = wire.encode_forecasts(
            *common, outcome.forecasts, model=facts.name, model_version=facts.version, issued_at=issued_at
        )
        self._add(owned, "forecasts", forecasts)
        if outcome.scored is not None and spec.accuracy == "records":
            self._add(owned, "accuracy", wire.encode_accuracy(*common, outcome.scored))
        if outcome.summaries is not None:
            self._add(owned, "accuracy", wire.encode_summaries(*common, outcome.summaries))
        self._add(owned, "drift", wire.encode_drift(*common, outcome.drift))
        # A deleted series leaves compacted topics with it.
        tombstones = [(series_id.encode(), None) for _, series_id in outcome.deleted]
        self._add(owned, "forecasts", tombstones)
        self._add(owned, "accuracy", tombstones)

    def add_dead_letter(self, owned: Owned, letter: DeadLetter) -> None:
        if letter.offset >= owned.emit_from:
            self._metrics.dead_letters.labels(owned.at.stream, letter.reason).inc()
            self.outbox.add_addressed(encode_dead_letter(owned.spec, owned.at.stream, letter))

    def add_rejected(
        self, owned: Owned, rejected: Sequence[Rejected], readings: Readings, messages: Sequence[Message]
    ) -> None:
        """Readings that were well formed but came too late; their messages are looked up by offset."""
        if not rejected:
            return
        kept = [each for each in rejected if each.reason != "too_late" or owned.spec.late == "dead_letter"]
        partition = owned.at.partition
        wanted = {int(readings.offsets[each.position]) for each in kept}
        found = {m.offset(): m for m in messages if m.partition() == partition and m.offset() in wanted}
        for each in kept:
            message = found[int(readings.offsets[each.position])]
            letter = DeadLetter.of(
                message, cast(Reason, each.reason), each.detail, (readings.series_ids[each.position],)
            )
            self.add_dead_letter(owned, letter)

    def add_decision(self, owned: Owned, decision: Decision) -> None:
        """Into the journal's partition of the same number."""
        topic = owned.spec.outputs.topic("journal", owned.at.stream)
        value = wire.encode_journal(owned.at.stream, owned.at.partition, decision.next_offset, decision.body())
        self.outbox.add_addressed(Addressed(topic, None, value, partition=owned.at.partition))

    def _add(self, owned: Owned, kind: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        if records:
            self.outbox.add(owned.spec.outputs.topic(kind, owned.at.stream), records)
            self._metrics.count("records_published", owned.at.stream, kind, by=len(records))
