"""PartitionState: everything that is kept of one partition of a stream, as a value.

It composes phase A (readiness: place in time, remember) and phase C (settlement: score, calibrate, issue); the
predictor between them belongs to whoever owns the device. No I/O and no clock: the log is the only input.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from model_core import layouts
from model_core.arrays import FloatArray
from model_core.batches import RawForecast
from model_core.bundle import ModelFacts
from model_core.calibration import Cohort
from model_core.columns import Columns, Coming, Piece
from model_core.layouts import STATE_LAYOUT
from model_core.outcomes import Observed, Outcome
from model_core.readiness import Readiness
from model_core.readings import Readings
from model_core.rebuilt import Rebuilt
from model_core.scaler import FIELDS as SCALER_FIELDS
from model_core.settlement import Settlement, settlement_fields
from model_core.shadow import Shadow
from model_core.shadow_offsets import ShadowOffsets
from model_core.spec import StreamSpec
from model_core.windows import NEVER, window_fields

WINDOWS_MAX = 8192  # windows that are gathered before they must be forecast


class PartitionState:
    """`spec` of its stream, columns a series, and `next_offset`, the first offset that is not in it yet.

    For each poll: iterate over `observe`, and pass each Observed with its raw forecasts to `settle_and_issue` before
    asking for the next one. It has no length on purpose (`len(state.columns)` are its series): a partition whose last
    series was deleted would be false, and `state or PartitionState(…)` would forget what its cohort has learned.
    """

    def __init__(self, spec: StreamSpec, partition: int, facts: ModelFacts | None = None) -> None:
        facts = facts or ModelFacts.none(spec)
        fields = (*window_fields(spec), *SCALER_FIELDS, *settlement_fields(spec))
        self.spec = spec
        self.partition = partition
        self.columns = Columns(fields)
        self.next_offset = 0
        self.model_version = facts.version
        self.rebuilt: Rebuilt | None = None  # set when it begins with a part of its log
        self._readiness = Readiness(spec, self.columns)
        self._readiness.cells.season = facts.season
        self._settlement = Settlement(spec, self.columns, partition, facts)

    @property
    def watermark_ms(self) -> int | None:
        """Largest event time seen minus max_out_of_orderness; None before the first reading."""
        return self._readiness.watermark_ms

    @property
    def newest_ms(self) -> int | None:
        """Largest event time seen."""
        return self._readiness.clock.newest_ms

    @property
    def has_open_ticks(self) -> bool:
        """Whether the watermark has still to close the newest tick seen."""
        newest_ms = self.newest_ms
        return newest_ms is not None and self._readiness.cells.closed < self.spec.grid.tick(newest_ms)

    @property
    def cohort(self) -> Cohort:
        """What was learned of all series together."""
        return self._settlement.calibration.cohort

    @property
    def season(self) -> int:
        """Ticks of the season in force."""
        return self._readiness.cells.season

    @property
    def waiting(self) -> int:
        """Readings whose jump of event time is not confirmed yet."""
        return self._readiness.clock.waiting

    def observe(self, readings: Readings, *, windows_max: int = WINDOWS_MAX) -> Iterator[Observed]:
        """Place readings in time and remember them, in log order, tombstones in their place among them."""
        start = 0
        deleted: tuple[tuple[int, str], ...] = ()
        for offset, series_id in readings.deletions:
            end = int(np.searchsorted(readings.offsets, offset))
            if end > start:
                yield from _with(self._readiness.observe(readings.part(start, end), windows_max), start, deleted)
                deleted = ()
            self._delete(series_id)
            deleted += ((offset, series_id),)
            start = end
        if start < len(readings) or deleted:
            yield from _with(self._readiness.observe(readings.part(start, len(readings)), windows_max), start, deleted)
        last = [int(readings.offsets[-1])] if len(readings) else []
        last += [offset for offset, _ in readings.deletions[-1:]]
        self.next_offset = max([self.next_offset, *(offset + 1 for offset in last)])

    def close_idle(self) -> Iterator[Observed]:
        """Close through the newest tick seen. The caller has decided this, and journals it."""
        return self._readiness.close_idle(WINDOWS_MAX)

    def settle_and_issue(self, observed: Observed, raw: RawForecast | None) -> Outcome:
        """Score, calibrate and issue, tick by tick; `raw` has one row a window of `observed`."""
        outcome = self._settlement.settle_and_issue(observed, raw)
        if self.rebuilt is None:
            return outcome
        return replace(outcome, forecasts=self.rebuilt.mark(outcome.forecasts))

    def swap_model(self, facts: ModelFacts, taken: ShadowOffsets | None = None) -> None:
        """Another model takes charge from the next reading on, with what it learned in the shadow."""
        self.model_version = facts.version
        self._readiness.cells.season = facts.season
        self._settlement.swap(facts, taken)

    def begin_shadow(self, facts: ModelFacts, series_max: int) -> Shadow:
        """Run a candidate beside the model in charge, from the next reading on, until `end_shadow`."""
        self._settlement.keep_losses(True)
        return Shadow(self.spec, self.partition, self.columns, self._settlement, facts, series_max)

    def take_losses(self) -> list[FloatArray]:
        """While there is a shadow: the losses of each wave since the last call (Settlement.take_losses)."""
        return self._settlement.take_losses()

    def end_shadow(self) -> None:
        self.columns.freed = None
        self._settlement.keep_losses(False)

    def _delete(self, series_id: str) -> None:
        column = self.columns.index.get(series_id)
        if column is not None:
            self._readiness.remove(np.array([column]))

    # --- snapshot ---------------------------------------------------------------------------------------------------

    def live_rows(self) -> tuple[int, int]:
        """(first, last) tick of the ring that a window may still look at; last < first when there is none."""
        spec, closed = self.spec, self._readiness.cells.closed
        if closed == NEVER:
            return 0, -1
        newest = int(self.columns.flat("last_tick")[: self.columns.used].max(initial=closed))
        return closed + 1 - spec.needed_ticks - spec.forecast_every - spec.late_ticks, max(newest, closed)

    def meta(self) -> dict[str, Any]:
        """Scalars beside the columns, as JSON values."""
        readiness = self._readiness
        return {
            "layout": STATE_LAYOUT,
            "closed": readiness.cells.closed,
            "clock": readiness.clock.snapshot(),
            "seen": readiness.seen.tolist(),
            "drift": self._settlement.drift.snapshot(),
            "cohort": self._settlement.calibration.snapshot(),
            "model_version": self.model_version,
            "next_offset": self.next_offset,
            "rebuilt": self.rebuilt and self.rebuilt.snapshot(),
        }

    @classmethod
    def restore(
        cls,
        spec: StreamSpec,
        partition: int,
        meta: dict[str, Any],
        ids_pieces: list[bytes],
        pieces: Iterable[Piece | Coming],
        facts: ModelFacts | None = None,
    ) -> "PartitionState":
        """The state whose `meta()` and pieces these are. `facts` of the model that was in charge.

        Raises LayoutMismatch when it was written by a version of this code that is not known (layouts.py).
        """
        state = cls(spec, partition, facts)
        meta = layouts.load(spec, state.columns, meta, ids_pieces, pieces)
        readiness = state._readiness = Readiness(spec, state.columns)
        readiness.cells.season = (facts or ModelFacts.none(spec)).season
        readiness.cells.closed = meta["closed"]
        readiness.clock.restore(meta["clock"])
        readiness.seen = np.array(meta["seen"], np.int64).reshape(-1, 2)
        state._settlement.drift.restore(meta["drift"])
        state._settlement.calibration.restore(meta["cohort"])
        state.model_version = meta["model_version"]
        state.next_offset = meta["next_offset"]
        if meta.get("rebuilt"):  # older states do not have it
            state.rebuilt = Rebuilt(*meta["rebuilt"])
        return state


def _with(chunks: Iterator[Observed], start: int, deleted: tuple[tuple[int, str], ...]) -> Iterator[Observed]:
    """Chunks of a part of the readings, with positions in the whole; tombstones go before the first chunk."""
    for chunk in chunks:
        rejected = [replace(r, position=r.position + start if r.position >= 0 else -1) for r in chunk.rejected]
        yield replace(chunk, rejected=rejected, deleted=deleted) if start or deleted else chunk
        deleted = ()
