"""Replay: the same readings once more, with the decisions that were journaled, and without what was published then.

It also leaves out what is computed but never published: origins before the stream's `emit_from`. Pure functions of a
poll batch, an outcome and the journal; the pipeline applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from model_core.arrays import BoolArray, IntArray
from model_core.batches import RawForecast
from model_core.outcomes import Forecasts, Outcome, Scored, Summaries
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import without_model
from stream_app.polling.poll_batch import PollBatch
from stream_app.wire import ReplayVerdicts

if TYPE_CHECKING:
    from stream_app.wire.message_columns import MessageColumns

Columns = TypeVar("Columns", Forecasts, Scored, Summaries)


@dataclass(frozen=True)
class Stretch:
    """The part of a poll batch up to the next journaled decision. Almost always all of it."""

    messages: Mapping[str, MessageColumns]  # by stream
    next_offsets: Mapping[StreamPartition, int]  # after these messages


def stretches(poll_batch: PollBatch, owned: Mapping[StreamPartition, Owned]) -> Iterator[Stretch]:
    """The poll batch, cut before each reading ahead of which a journaled decision takes effect.

    The caller applies the decisions that are due between two stretches.
    """
    remaining = _of_ours(poll_batch, owned)
    while stops := _stops(remaining, owned):
        before, after = _cut(remaining, stops)
        yield before
        remaining = after
    yield remaining


def _of_ours(poll_batch: PollBatch, owned: Mapping[StreamPartition, Owned]) -> Stretch:
    """Without what still arrived of partitions that were taken away."""
    if not poll_batch.next_offsets.keys() <= owned.keys():
        poll_batch = poll_batch.only(owned.keys())
    return Stretch(poll_batch.messages, poll_batch.next_offsets)


def _stops(stretch: Stretch, owned: Mapping[StreamPartition, Owned]) -> dict[StreamPartition, int]:
    stops = {}
    for at, next_offset in stretch.next_offsets.items():
        pending = owned[at].journaled.pending
        if pending and pending[0].next_offset < next_offset:
            stops[at] = max(pending[0].next_offset, owned[at].state.next_offset)
    return stops


def _cut(stretch: Stretch, stops: Mapping[StreamPartition, int]) -> tuple[Stretch, Stretch]:
    before: dict[str, MessageColumns] = {}
    after: dict[str, MessageColumns] = {}
    for stream, messages in stretch.messages.items():
        late = np.zeros(len(messages), np.bool_)
        for at, stop in stops.items():
            if at.stream == stream:
                late |= (messages.partitions == at.partition) & (messages.offsets >= stop)
        before[stream], after[stream] = messages.where(~late), messages.where(late)
    return (
        Stretch(before, {**stretch.next_offsets, **stops}),
        Stretch(after, {at: stretch.next_offsets[at] for at in stops}),
    )


def clock_verdicts(owned: Iterable[Owned]) -> dict[int, ReplayVerdicts]:
    """What the clock decided at the time, by partition of one stream, for readings that were judged before."""
    verdicts = {}
    for each in owned:
        rejected = each.journaled.clock
        until = max([each.emit_from, *(offset + 1 for offset, _ in rejected)])
        if each.state.next_offset < until:
            verdicts[each.at.partition] = ReplayVerdicts(until, frozenset(rejected))
    return verdicts


def as_it_was_answered(owned: Owned, offsets: IntArray, raw: RawForecast) -> RawForecast:
    """Where the model failed at the time, it fails again. `offsets` made the windows due."""
    if not owned.journaled.failed:
        return raw
    failed = owned.journaled.has_failed(offsets)
    return without_model(raw, np.flatnonzero(failed)) if failed.any() else raw


def unpublished(outcome: Outcome, emit_from: int) -> Outcome:
    """The part of an outcome that earlier readings did not cause."""

    def kept(columns: Columns) -> Columns:
        return _where(columns, columns.offsets >= emit_from)

    return replace(
        outcome,
        forecasts=kept(outcome.forecasts),
        scored=kept(outcome.scored) if outcome.scored is not None else None,
        summaries=kept(outcome.summaries) if outcome.summaries is not None else None,
        drift=[record for record in outcome.drift if record.offset >= emit_from],
        deleted=tuple(deletion for deletion in outcome.deleted if deletion[0] >= emit_from),
    )


def since(outcome: Outcome, tick: int) -> Outcome:
    """The part of an outcome that speaks of this tick or later ones. Deletions stay: topics may know the series."""
    forecasts, scored, summaries = outcome.forecasts, outcome.scored, outcome.summaries
    return replace(
        outcome,
        forecasts=_where(forecasts, forecasts.origins >= tick),
        scored=_where(scored, scored.origins >= tick) if scored is not None else None,
        summaries=_where(summaries, summaries.ticks >= tick) if summaries is not None else None,
        drift=[record for record in outcome.drift if record.tick >= tick],
    )


def _where(columns: Columns, keep: BoolArray) -> Columns:
    return (
        columns
        if keep.all()
        else type(columns)(**{name: _rows(getattr(columns, name), keep) for name in vars(columns)})
    )


def _rows(column: Any, keep: BoolArray) -> Any:
    if isinstance(column, list):
        return [value for value, kept in zip(column, keep.tolist(), strict=True) if kept]
    return column[keep] if column is not None else None
