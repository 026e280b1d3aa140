"""What leaves the pipeline, from columns to bytes: forecasts, accuracy, drift, dead letters, decisions.

Fills an Outbox. It knows which topic each kind goes to, and nothing of when it is sent. Outcomes wait until they have
many records, or until they are taken, and are then written as text together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import structlog

from model_core.bundle import ModelFacts
from model_core.outcomes import Outcome, Rejected
from model_core.readings import Readings
from stream_app.dead_letters.record import encode_dead_letter
from stream_app.delivery.outbox import Addressed, Outbox
from stream_app.observability.traces import Traces
from stream_app.partitions.journaled import Decision
from stream_app.partitions.owned import Owned
from stream_app.pipeline.replay import since
from stream_app.wire import DeadLetter
from stream_app.wire import messages as wire
from stream_app.wire.decoded import DeadLetterReason
from stream_app.wire.outcomes import Made, encode_outcomes
from stream_app.wire.records import Records
from stream_app.wire.timestamps import rfc3339
from stream_app.wire.writer import Issuer, Writer

if TYPE_CHECKING:
    from model_core.shadow import Shadow, ShadowScore
    from stream_app.observability.metrics import Metrics
    from stream_app.wire.message_columns import MessageColumns

log = structlog.get_logger(__name__)


WAITING_MAX = 1024  # about so many records wait to be written as text


class Waiting(NamedTuple):
    """An outcome that is not text yet, and the model in charge when it was made."""

    owned: Owned
    outcome: Outcome
    model: str | None
    model_version: str | None

    @property
    def answered(self) -> tuple[str, str | None, str | None]:
        return self.owned.at.stream, self.model, self.model_version


class Leaving:
    """The outbox that is being filled."""

    def __init__(
        self, metrics: Metrics, now_ms: Callable[[], int], writers: Mapping[str, Writer], traces: Traces
    ) -> None:
        """`writers`: of the streams that do not publish JSON; filled before the first poll batch."""
        self._writers = writers
        self._traces = traces
        self._metrics = metrics
        self._now_ms = now_ms
        self._outbox = Outbox()
        self._waiting: list[Waiting] = []
        self._waiting_records = 0
        self._taken = 0  # records since the last cut

    def __bool__(self) -> bool:
        return bool(self._outbox.records or self._waiting_records)

    @property
    def records_since_cut(self) -> int:
        return self._taken + self._outbox.records + self._waiting_records

    @property
    def size_bytes(self) -> int:
        """Bytes of what has been written as text."""
        return self._outbox.size_bytes

    def cut(self) -> None:
        """What was taken belongs to a cut; counting begins again for the next."""
        self._taken = 0

    def take(self) -> Outbox:
        """What is collected; a new outbox begins."""
        self._write()
        outbox, self._outbox = self._outbox, Outbox()
        self._taken += outbox.records
        return outbox

    def forget(self) -> None:
        """Drop what is collected: it will be made again."""
        self._outbox, self._taken = Outbox(), 0
        self._waiting, self._waiting_records = [], 0

    def add(self, owned: Owned, outcome: Outcome, facts: ModelFacts) -> None:
        """Forecasts, accuracy and drift of a partition, each to its topic."""
        spec = owned.spec
        if spec.emit_from is not None:
            outcome = since(outcome, spec.grid.tick(spec.emit_from - 1) + 1)
        self._traces.forecasts(owned.at, spec, outcome.forecasts)
        self._waiting.append(Waiting(owned, outcome, facts.name, facts.version))
        self._waiting_records += outcome.records(scored=spec.accuracy == "records")
        if self._waiting_records >= WAITING_MAX:
            self._write()

    def _write(self) -> None:
        waiting, self._waiting, self._waiting_records = self._waiting, [], 0
        for (stream, model, version), some in groupby(waiting, lambda each: each.answered):
            together = list(some)
            spec = together[0].owned.spec
            records = encode_outcomes(
                spec,
                stream,
                [Made(each.owned.at.partition, each.outcome) for each in together],
                Issuer(model, version, issued_at=rfc3339(self._now_ms())),
                writer=self._writers.get(stream, wire),
            )
            for kind, some_records in records.items():
                if some_records:
                    self._outbox.add(spec.outputs.topic(kind, stream), some_records)
                    self._metrics.count("records_published", stream, kind, by=len(some_records))

    def add_dead_letter(self, owned: Owned, letter: DeadLetter) -> None:
        if letter.offset >= owned.emit_from:
            self._metrics.dead_letters.labels(owned.at.stream, letter.reason).inc()
            self._traces.dead_letter(owned.at, letter.offset, letter.reason, letter.headers)
            self._outbox.add_addressed(encode_dead_letter(owned.spec, owned.at.stream, letter))

    def add_rejected(
        self, owned: Owned, rejected: Sequence[Rejected], readings: Readings, messages: MessageColumns
    ) -> None:
        """Readings that were well formed but came too late; their messages are looked up by offset. Those that had to
        wait for another reading are only counted: their messages are gone."""
        rejected = [each for each in rejected if each.position >= 0]
        if not rejected:
            return
        kept = [each for each in rejected if each.reason != "too_late" or owned.spec.late == "dead_letter"]
        if owned.spec.late == "count":
            self._traces.late(owned.at, [each for each in rejected if each.reason == "too_late"], readings)
        wanted = [int(readings.offsets[each.position]) for each in kept]
        rows = np.flatnonzero((messages.partitions == owned.at.partition) & np.isin(messages.offsets, wanted))
        found = dict(zip(messages.offsets[rows].tolist(), messages.take(rows), strict=True))
        for each in kept:
            message = found[int(readings.offsets[each.position])]
            letter = DeadLetter.of(
                message, cast(DeadLetterReason, each.reason), each.detail, (readings.series_ids[each.position],)
            )
            self.add_dead_letter(owned, letter)

    def add_shadow_score(self, owned: Owned, shadow: Shadow, score: ShadowScore) -> None:
        """For the trainer."""
        assert shadow.version is not None, "a candidate has a version"
        stream, versions = owned.at.stream, (shadow.version, owned.state.model_version)
        record = wire.encode_shadow_score(owned.spec, stream, owned.at.partition, versions, len(shadow), score)
        self._outbox.add(owned.spec.outputs.topic("control", stream), Records.of([record]))

    def add_decision(self, owned: Owned, decision: Decision) -> None:
        """Into the journal's partition of the same number."""
        topic = owned.spec.outputs.topic("journal", owned.at.stream)
        value = wire.encode_journal(owned.at.stream, owned.at.partition, decision.next_offset, decision.body())
        self._outbox.add_addressed(Addressed(topic, None, value, partition=owned.at.partition))
