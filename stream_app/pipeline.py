"""The story of a poll batch, in order: readings become forecasts on their way out. All of it on one thread.

    1 arrive   2 place in time   3 remember   4 settle   5 gather   6 forecast   7 leave   8 checkpoint

`process` is what the agent calls. The steps of the numbers themselves are model_core's; here stands their order, and
which partition, model and transaction they belong to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from model_core.batches import RawForecast
from model_core.bundle import ModelFacts
from model_core.outcomes import Observed, Outcome
from model_core.readings import Readings
from stream_app.assignment import Owned
from stream_app.forecast_batches import ForecastBatches, Loaded, model_failed_in, window_offsets
from stream_app.journal import Kind
from stream_app.leaving import Leaving
from stream_app.poll_batch import Assigned, Lost, PollBatch, Released, StreamPartition
from stream_app.publisher import Parcel, Publisher, TransactionCut
from stream_app.replay import Share, as_it_was_answered, clock_verdicts, shares, unpublished
from stream_app.wire import DecodedPoll, decoder

if TYPE_CHECKING:
    from confluent_kafka import Message

    from stream_app.checkpoints import CheckpointStore, Cut, Identity
    from stream_app.dead_letters import MalformedShare
    from stream_app.metrics import Metrics
    from stream_app.saver import Saver
    from stream_app.settings import Settings

NEVER = float("inf")
COPY_WAIT_S = 2.0  # before letting go: a copy on top of one that is still on its way is a full one
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Arrived:
    """The readings of one partition, and the messages of its stream that they came in."""

    readings: Readings
    messages: Sequence[Message]


class Pipeline:
    """State of the partitions that are ours, and what has not left yet."""

    def __init__(
        self,
        settings: Settings,
        *,
        identities: Mapping[str, Identity],
        forecasts: ForecastBatches,
        offers: Mapping[str, Loaded],
        publisher: Publisher,
        saver: Saver,
        store: CheckpointStore,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._streams = settings.streams
        self._limits = settings.limits
        self._decoders = {stream: decoder(spec.format) for stream, spec in settings.streams.items()}
        self._identities = identities  # filled before the first poll batch
        self._forecasts = forecasts
        self._offers = offers
        self._publisher = publisher
        self._saver = saver
        self._store = store
        self._metrics = metrics
        self._now_ms = now_ms
        self._owned: dict[StreamPartition, Owned] = {}
        self._leaving = Leaving(metrics, now_ms)
        self._malformed: dict[StreamPartition, MalformedShare] = {}
        self._uncut = False  # something happened since the last cut
        self._records_uncut = 0
        self._next_cut = self._next_checkpoint = 0.0  # time.monotonic()
        self._failed = False

    def process(self, poll_batch: PollBatch) -> None:
        """One poll batch, from messages to forecasts on their way to the publisher."""
        if self._failed:
            return  # the worker is ending: what is in memory may be half done
        self._take_over(poll_batch)
        for share in shares(poll_batch, self._owned):
            arrived = self._arrive(share)  # 1
            for observed in self._observe(arrived):  # 2 place in time, 3 remember
                answers = self._answer(observed, share)  # 5 gather, 6 forecast
                for owned, seen in observed.items():
                    outcome = owned.state.settle_and_issue(seen, answers[owned])  # 4 settle
                    self._leave(owned, outcome, share)  # 7
            self._move_on(share)
        self._close_idle(poll_batch)
        self._send(poll_batch)  # 7, and 8 when its time has come

    def fail(self, error: BaseException) -> None:
        """Process no more: from here on the state in memory is not to be trusted."""
        self._failed = True
        log.error("processing failed", error=str(error), exc_info=error)

    def wake_at(self) -> float:
        """When it wants a poll batch even if there are no messages (time.monotonic()). Called by the poll thread."""
        if self._uncut:
            return self._next_cut
        return 0.0 if self._has_swap() else NEVER

    # --- ownership ----------------------------------------------------------------------------------------------------

    def _take_over(self, poll_batch: PollBatch) -> None:
        change = poll_batch.change
        if isinstance(change, Assigned):
            self._owned |= {owned.at: owned for owned in change.partitions}
            for owned in change.partitions:
                self._follow_journal(owned)
        elif isinstance(change, Lost):
            for at in change.partitions:
                self._owned.pop(at, None)
        for at in poll_batch.ended:
            if at in self._owned:
                self._owned[at].reached_end = True

    # --- 1 arrive -----------------------------------------------------------------------------------------------------

    def _arrive(self, share: Share) -> dict[Owned, Arrived]:
        """Messages → columns by partition, or dead letters."""
        arrived: dict[Owned, Arrived] = {}
        for stream, messages in share.messages.items():
            ours = [owned for at, owned in self._owned.items() if at.stream == stream]
            poll = self._decoders[stream](
                self._streams[stream],
                messages,
                now_ms=self._now_ms(),
                replay=clock_verdicts(ours),
                partition_count=self._identities[stream].partition_count,
            )
            for letter in poll.dead_letters:
                self._leaving.add_dead_letter(self._owned[StreamPartition(stream, letter.partition)], letter)
            for partition, rejected in poll.clock_rejections.items():
                self._decide(self._owned[StreamPartition(stream, partition)], "clock", rejected=rejected)
            for partition, readings in poll.readings.items():
                arrived[self._owned[StreamPartition(stream, partition)]] = Arrived(readings, messages)
            self._metrics.count_decoded(stream, poll)
            self._watch_format(stream, poll)
        return arrived

    def _watch_format(self, stream: str, poll: DecodedPoll) -> None:
        """A partition whose messages are mostly unusable is held: somebody changed the format."""

    # --- 2 place in time, 3 remember ----------------------------------------------------------------------------------

    def _observe(self, arrived: Mapping[Owned, Arrived]) -> Iterator[dict[Owned, Observed]]:
        """All partitions side by side, a bounded number of windows at a time; each is settled before the next."""
        going = {owned: owned.state.observe(each.readings) for owned, each in arrived.items()}
        while going:
            observed: dict[Owned, Observed] = {}
            for owned in list(going):
                seen = next(going[owned], None)
                if seen is None:
                    del going[owned]
                else:
                    observed[owned] = seen
                    self._leaving.add_rejected(owned, seen.rejected, arrived[owned].readings, arrived[owned].messages)
                    self._metrics.count_observed(owned.at.stream, seen)
            if observed:
                yield observed

    # --- 5 gather, 6 forecast -----------------------------------------------------------------------------------------

    def _answer(self, observed: Mapping[Owned, Observed], share: Share) -> dict[Owned, RawForecast | None]:
        answers = self._forecasts.answer(observed)
        for owned, raw in answers.items():
            if raw is not None and owned.is_live and model_failed_in(raw):
                # For all that follows in this share too: a replay, cut otherwise, must fail on the same windows.
                first, end = int(window_offsets(observed[owned]).min()), share.next_offsets[owned.at]
                owned.journaled.failed.append((first, end))
                self._decide(owned, "model_failed", from_offset=first, to_offset=end)
            answers[owned] = as_it_was_answered(owned, observed[owned], raw)
        return answers

    # --- 4 settle, 7 leave --------------------------------------------------------------------------------------------

    def _leave(self, owned: Owned, outcome: Outcome, share: Share) -> None:
        """What was not published before goes into the outbox."""
        self._metrics.count_outcome(owned.at.stream, outcome)
        if share.next_offsets[owned.at] > owned.emit_from:
            self._leaving.add(owned, unpublished(outcome, owned.emit_from), self._facts(owned))

    def _move_on(self, share: Share) -> None:
        """Offsets of messages without any reading count too; then decisions of the time take effect."""
        for at, next_offset in share.next_offsets.items():
            owned = self._owned[at]
            owned.state.next_offset = max(owned.state.next_offset, next_offset)
            self._follow_journal(owned)
            self._uncut = True

    # --- decisions that are no function of the log --------------------------------------------------------------------

    def _decide(self, owned: Owned, kind: Kind, **detail: object) -> None:
        self._leaving.add_decision(owned, owned.journaled.decide(owned.state.next_offset, kind, **detail))
        self._uncut = True

    def _follow_journal(self, owned: Owned) -> None:
        """Decisions of the time take effect where they did then."""
        for decision in owned.journaled.due(owned.state.next_offset):
            if decision.kind == "model":
                self._swap(owned, decision.detail["version"])
            else:
                self._leave_idle(owned, published=decision.next_offset < owned.emit_from)

    def _close_idle(self, poll_batch: PollBatch) -> None:
        """Partitions at their end, without a reading for idle_timeout: what is open closes."""
        for at in poll_batch.idle:
            owned = self._owned.get(at)
            if owned is not None and owned.is_live:
                self._decide(owned, "idle_close")
                self._leave_idle(owned, published=False)

    def _leave_idle(self, owned: Owned, *, published: bool) -> None:
        for seen in owned.state.close_idle():
            outcome = owned.state.settle_and_issue(seen, self._forecasts.answer({owned: seen})[owned])
            self._metrics.count_outcome(owned.at.stream, outcome)
            if not published:
                self._leaving.add(owned, outcome, self._facts(owned))

    def _swap_models(self) -> None:
        """Between two transactions: every live partition of a stream goes over to the champion."""
        for owned in self._owned.values():
            offered = self._offers.get(owned.at.stream)
            if offered is not None and owned.is_live and offered.facts.version != owned.state.model_version:
                self._forecasts.adopt(owned.at.stream, offered)
                self._decide(owned, "model", name=offered.facts.name, version=offered.facts.version)
                self._swap(owned, offered.facts.version)
                log.info("model swapped", partition=str(owned.at), version=offered.facts.version)

    def _swap(self, owned: Owned, version: str | None) -> None:
        owned.state.swap_model(self._forecasts.load(owned.at.stream, version).facts)

    def _has_swap(self) -> bool:
        """Asked by the poll thread too; a wrong answer costs one empty poll batch."""
        return any(
            offered.facts.version != owned.state.model_version and owned.is_live
            for owned in list(self._owned.values())
            if (offered := self._offers.get(owned.at.stream)) is not None
        )

    def _facts(self, owned: Owned) -> ModelFacts:
        return self._forecasts.load(owned.at.stream, owned.state.model_version).facts

    # --- 7 leave, 8 checkpoint ----------------------------------------------------------------------------------------

    def _send(self, poll_batch: PollBatch) -> None:
        """Outputs go to the publisher at once; a cut follows when its time has come, or partitions are let go of."""
        released = poll_batch.change if isinstance(poll_batch.change, Released) else None
        now = time.monotonic()
        full = self._leaving.records_since_cut >= self._limits.transaction_records_max
        if released is None and not (now >= self._next_cut or full):
            if self._leaving.outbox.records:
                self._publisher.submit(Parcel(self._leaving.take()))
            return
        if self._uncut or released is not None:
            self._publisher.submit(Parcel(self._leaving.take(), self._cut(now, released)))
            self._leaving.records_since_cut = 0
            self._uncut = False
            self._next_cut = time.monotonic() + self._limits.transaction_interval / 1000
        if self._has_swap():
            self._swap_models()

    def _cut(self, now: float, released: Released | None) -> TransactionCut:
        """Offsets of all that is ours, and copies of the states whose checkpoint is due."""
        leaving = frozenset() if released is None else released.partitions & self._owned.keys()
        for at in leaving:
            self._owned[at].copy_arrived.wait(COPY_WAIT_S)
        offsets = {
            at: (owned, owned.state.next_offset) for at, owned in self._owned.items() if owned.take_uncommitted()
        }
        checkpoint_due = now >= self._next_checkpoint
        checkpoints = tuple(
            (owned, self._copy(owned))
            for at, owned in self._owned.items()
            if (checkpoint_due or at in leaving) and self._may_copy(owned)
        )
        if checkpoint_due:
            self._next_checkpoint = now + self._limits.checkpoint_interval / 1000
        gone = tuple(self._owned.pop(at) for at in leaving)
        return TransactionCut(offsets, checkpoints, gone, released.receipt if released is not None else None)

    def _may_copy(self, owned: Owned) -> bool:
        """A copy made while the one before is still on its way would have to be of everything."""
        return owned.has_changed and owned.copy_arrived.is_set() and not self._saver.is_away

    def _copy(self, owned: Owned) -> Cut:
        cut = self._store.cut(
            owned.token,
            owned.state,
            model_version=owned.state.model_version,
            journal_position=owned.journaled.count,
        )
        owned.copy_arrived.clear()
        owned.copied = owned.version
        return cut
