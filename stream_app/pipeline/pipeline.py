"""The story of a poll batch, in order: readings become forecasts on their way out. All of it runs on one thread.

    1 arrive   2 place in time   3 remember   4 settle   5 gather   6 forecast   7 leave   8 checkpoint

The agent calls `process`. The arithmetic of the steps is in model_core; this module has their order, and knows which
partition, model and transaction they belong to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_core.batches import RawForecast
from model_core.outcomes import Observed, Outcome
from model_core.readings import Readings
from stream_app.dead_letters.record import MalformedShare
from stream_app.delivery.outbox import Outbox
from stream_app.delivery.parcel import Parcel
from stream_app.delivery.publisher import Publisher
from stream_app.models.loaded import LoadedModel
from stream_app.observability.metrics import Spent
from stream_app.observability.traces import Traces
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.pipeline.cuts import Cuts
from stream_app.pipeline.decisions import Decisions
from stream_app.pipeline.forecast_batches import ForecastBatches, window_offsets
from stream_app.pipeline.leaving import Leaving
from stream_app.pipeline.replay import Stretch, as_it_was_answered, clock_verdicts, stretches, unpublished
from stream_app.pipeline.shadows import Shadows
from stream_app.polling.poll_batch import Accepted, Assigned, Change, Lost, PollBatch, Released, Rewound
from stream_app.wire import DecodedPoll, decoder

if TYPE_CHECKING:
    from stream_app.checkpoints import CheckpointStore, Identity
    from stream_app.delivery.saver import Saver
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings
    from stream_app.wire.framing import Schemas
    from stream_app.wire.message_columns import MessageColumns
    from stream_app.wire.writer import Writer


@dataclass(frozen=True)
class Arrived:
    """The readings of one partition, and the messages of its stream that they came in."""

    readings: Readings
    messages: MessageColumns


class Pipeline:
    """State of the partitions that are ours, and what has not left yet."""

    def __init__(
        self,
        settings: Settings,
        *,
        identities: Mapping[str, Identity],
        forecasts: ForecastBatches,
        offers: Mapping[str, LoadedModel],
        candidates: Mapping[str, LoadedModel],
        publisher: Publisher,
        saver: Saver,
        store: CheckpointStore,
        metrics: Metrics,
        hold: Callable[[StreamPartition, str], None],
        now_ms: Callable[[], int],
        schemas: Schemas | None = None,
        writers: Mapping[str, Writer] | None = None,
    ) -> None:
        self._streams = settings.streams
        self._decoders = {stream: decoder(spec, schemas) for stream, spec in settings.streams.items()}
        self._identities = identities  # filled before the first poll batch
        self._forecasts = forecasts
        self._publisher = publisher
        self._metrics = metrics
        self._hold = hold
        self._now_ms = now_ms
        self._owned: dict[StreamPartition, Owned] = {}
        self._traces = Traces(settings.limits.trace_lines_max)
        self._leaving = Leaving(metrics, now_ms, {} if writers is None else writers, self._traces)
        self._malformed: dict[StreamPartition, MalformedShare] = {}
        self._shadows = Shadows(forecasts, candidates, self._leaving, metrics, settings.models.shadow_series_max)
        self._decisions = Decisions(
            forecasts, offers, self._shadows, self._leaving, metrics, is_transactional=publisher.is_transactional
        )
        self._cuts = Cuts(settings.limits, store, saver)
        self._outbox_bytes_max = settings.limits.outbox_bytes_max
        self._spent = Spent()
        self._uncut_at: float | None = None  # when something first happened since the last cut (time.monotonic())
        self._failed = False
        self._rewinds = 0  # what is made from now on carries their number

    def process(self, poll_batch: PollBatch) -> None:
        """One poll batch, from messages to forecasts on their way to the publisher."""
        if self._failed:
            return  # the worker is ending: what is in memory may be half done
        self._change_hands(poll_batch)
        for stretch in stretches(poll_batch, self._owned):
            arrived = self._arrive(stretch)  # 1
            for observed in self._observe(arrived):  # 2 place in time, 3 remember
                answers = self._answer(observed, stretch)  # 5 gather, 6 forecast
                for owned, seen in observed.items():
                    outcome = self._settle(owned, seen, answers[owned])  # 4
                    self._leave(owned, outcome, stretch)  # 7
                if self._shadows:
                    with self._spent.on("shadow"):
                        self._shadows.follow(observed)
                self._send_when_full()
            self._move_on(stretch)
        self._close_idle(poll_batch)
        self._send(poll_batch.change)  # 7, and 8 when its time has come
        self._metrics.show_spent(self._spent)
        if self._uncut_at is None and self._decisions.swap_models(self._owned.values()):
            self._wants_a_cut()

    def fail(self) -> None:
        """Process no more: from here on the state in memory is not to be trusted."""
        self._failed = True

    @property
    def is_over(self) -> bool:
        return self._failed

    def wake_at(self) -> float:
        """When it wants a poll batch even if there are no messages (time.monotonic()). Called by the poll thread."""
        if self._uncut_at is not None:
            return self._cuts.next_cut
        owned = list(self._owned.values())
        return 0.0 if self._decisions.has_swap(owned) else self._cuts.copy_due_at(owned)

    def leaves_at(self) -> float:
        """Until when outputs wait here anyway (time.monotonic()); 0: they leave at once. Called by the poll thread."""
        return self._cuts.next_cut if self._publisher.is_transactional else 0.0

    # --- ownership ----------------------------------------------------------------------------------------------------

    def _change_hands(self, poll_batch: PollBatch) -> None:
        """Partitions come or go, or go back to their checkpoints."""
        change = poll_batch.change
        if isinstance(change, Assigned):
            self._owned |= {owned.at: owned for owned in change.partitions}
            for owned in change.partitions:
                self._malformed.pop(owned.at, None)
                self._decisions.begin(owned)
        elif isinstance(change, Lost):
            for at in change.partitions:
                self._owned.pop(at, None)
        elif isinstance(change, Accepted):
            for at in change.partitions:
                self._malformed.pop(at, None)
        elif isinstance(change, Rewound):
            self._owned = {}
            self._malformed = {}
            self._leaving.forget()
            self._uncut_at = None
            self._rewinds = change.number
        for at in poll_batch.ended:
            if at in self._owned:
                self._owned[at].reached_end = True

    # --- 1 arrive -----------------------------------------------------------------------------------------------------

    def _arrive(self, stretch: Stretch) -> dict[Owned, Arrived]:
        """Messages → columns by partition, or dead letters."""
        arrived: dict[Owned, Arrived] = {}
        for stream, messages in stretch.messages.items():
            self._traces.see(stream, messages)
            ours = {at.partition: owned for at, owned in self._owned.items() if at.stream == stream}
            with self._spent.on("decode"):
                poll = self._decoders[stream](
                    self._streams[stream],
                    messages,
                    now_ms=self._now_ms(),
                    replay=clock_verdicts(ours.values()),
                    partition_count=self._identities[stream].partition_count,
                )
            for letter in poll.dead_letters:
                self._leaving.add_dead_letter(ours[letter.partition], letter)
            for partition, rejected in poll.clock_rejections.items():
                self._decisions.decide(ours[partition], "clock", rejected=rejected)
            for partition, readings in poll.readings.items():
                arrived[ours[partition]] = Arrived(readings, messages)
            self._metrics.count_decoded(stream, poll)
            self._watch_format(stream, poll)
        return arrived

    def _watch_format(self, stream: str, poll: DecodedPoll) -> None:
        """A partition whose messages are mostly unusable is held: somebody changed the format."""
        for partition, flags in poll.malformed.items():
            at = StreamPartition(stream, partition)
            owned = self._owned[at]
            if owned.state.next_offset < owned.emit_from:
                continue  # replayed: a person who restarted the worker has accepted it
            before = self._malformed.get(at, MalformedShare.of(self._streams[stream]))
            self._malformed[at] = now = before.after(flags)
            if now.exceeded and not before.exceeded:
                self._hold(at, now.sentence(str(at), self._streams[stream].outputs.topic("dead_letters", stream)))

    # --- 2 place in time, 3 remember ----------------------------------------------------------------------------------

    def _observe(self, arrived: Mapping[Owned, Arrived]) -> Iterator[dict[Owned, Observed]]:
        """All partitions side by side, a bounded number of windows at a time; each is settled before the next."""
        going = {owned: owned.state.observe(each.readings) for owned, each in arrived.items()}
        while going:
            observed: dict[Owned, Observed] = {}
            for owned in list(going):
                with self._spent.on("observe"):
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

    def _answer(self, observed: Mapping[Owned, Observed], stretch: Stretch) -> dict[Owned, RawForecast | None]:
        answers = self._forecasts.answer(observed)
        for owned, raw in answers.items():
            if raw is not None:
                offsets = window_offsets(observed[owned])
                self._decisions.note_failure(owned, offsets, raw, until=stretch.next_offsets[owned.at])
                answers[owned] = as_it_was_answered(owned, offsets, raw)
                owned.journaled.ask(offsets)
        return answers

    # --- 4 settle, 7 leave --------------------------------------------------------------------------------------------

    def _settle(self, owned: Owned, seen: Observed, raw: RawForecast | None) -> Outcome:
        """Cells that became ready score earlier forecasts, calibration and drift move, forecasts are issued."""
        with self._spent.on("settle"):
            outcome = owned.state.settle_and_issue(seen, raw)
        self._metrics.count_outcome(owned.at.stream, outcome, owned.spec)
        return outcome

    def _leave(self, owned: Owned, outcome: Outcome, stretch: Stretch) -> None:
        """Put what was not published before into the outbox."""
        if stretch.next_offsets[owned.at] > owned.emit_from:
            with self._spent.on("encode"):
                self._leaving.add(owned, unpublished(outcome, owned.emit_from), self._decisions.facts(owned))

    def _move_on(self, stretch: Stretch) -> None:
        """Move on past messages without readings too; then journaled decisions take effect."""
        for at, next_offset in stretch.next_offsets.items():
            owned = self._owned[at]
            owned.state.next_offset = max(owned.state.next_offset, next_offset)
            owned.journaled.forget(owned.state.next_offset)
            self._decisions.follow(owned)
        if stretch.next_offsets:
            self._wants_a_cut()

    def _close_idle(self, poll_batch: PollBatch) -> None:
        for at in poll_batch.idle & self._owned.keys():
            if self._decisions.close_idle(self._owned[at]):
                self._wants_a_cut()

    def _wants_a_cut(self) -> None:
        """Something has happened that must be committed. Remembers when it first did since the last cut."""
        if self._uncut_at is None:
            self._uncut_at = time.monotonic()

    # --- 7 leave, 8 checkpoint ----------------------------------------------------------------------------------------

    def _send_when_full(self) -> None:
        """Within a poll batch, because one pack of many series, or a long gap, can lead to very many outputs."""
        if self._leaving.size_bytes >= self._outbox_bytes_max:
            self._publisher.submit(Parcel(self._taken(), rewinds=self._rewinds))

    def _taken(self) -> Outbox:
        with self._spent.on("encode"):
            return self._leaving.take()

    def _send(self, change: Change | None) -> None:
        """Outputs go to the publisher; a cut follows when its time has come, or partitions are let go of."""
        now = time.monotonic()
        if isinstance(change, Released):
            leaving = change.partitions & self._owned.keys()
            cut = self._cuts.take_last(self._owned, leaving, change.receipt)
            for at in leaving:
                del self._owned[at]
        elif (
            self._uncut_at is not None and self._cuts.is_due(now, self._leaving.records_since_cut)
        ) or now >= self._cuts.copy_due_at(self._owned.values()):
            changed_at = self._uncut_at or now
            cut = self._cuts.take(self._owned, now, lead_s=self._publisher.lead_s, changed_at=changed_at)
        else:
            if self._leaving and self._publisher.takes_outputs:
                self._publisher.submit(Parcel(self._taken(), rewinds=self._rewinds))
            return
        outbox = self._taken()
        self._leaving.cut()
        self._publisher.submit(Parcel(outbox, cut, self._rewinds))
        self._uncut_at = None
