"""Readiness: where each reading belongs in time, which are too late, and when ticks close.

The result is that of taking the log reading by reading; it is computed in stretches between two advances of the
watermark's tick. What a stretch does to its cells is the business of `Cells`.
"""

from collections.abc import Iterator

import numpy as np

from model_core.arrays import BoolArray, IntArray
from model_core.cells import FUTURE, Cells, Collected
from model_core.columns import Columns
from model_core.outcomes import Observed, Rejected
from model_core.readings import Readings
from model_core.roster import Roster
from model_core.spec import StreamSpec
from model_core.watermark import BEFORE_ALL, Arrived, EventClock, Placed
from model_core.windows import NEVER

_NONE = np.empty(0, np.int64)
_FORGET_CHECK_TICKS = 256  # silent series are looked for at ticks that are a multiple of this


class Readiness:
    """Phase A of a partition. State beside its columns: the clock, the cells' newest closed tick, recent timestamps."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self.spec = spec
        self.columns = columns
        self.clock = EventClock(spec.watermark_jump_ms)
        self.roster = Roster(spec, columns)
        self.cells = Cells(spec, columns, self.roster)
        self.seen = np.empty((0, 2), np.int64)  # (column, timestamp) still within the lateness horizon
        self._silent: list[int] = []  # columns whose state goes before the next reading is taken

    @property
    def watermark_ms(self) -> int | None:
        newest = self.clock.newest_ms
        return None if newest is None else newest - self.spec.out_of_orderness_ms

    # --- a stretch of readings --------------------------------------------------------------------------------------

    def observe(self, readings: Readings, windows_max: int) -> Iterator[Observed]:
        """Take readings in log order. Yields when `windows_max` windows wait, and at the end; what was yielded must
        be settled and issued before the next one is asked for."""
        out = Collected()
        placed = self._admit(readings)
        if not len(placed.index):
            yield out.take()
            return
        if self.cells.closed == NEVER and placed.newest_after[-1] > BEFORE_ALL:
            self.cells.begin(int(placed.newest_after[placed.newest_after > BEFORE_ALL][0]))
        ticks = self.spec.grid.ticks(placed.timestamps_ms)
        future = self._is_future(placed.index)
        accepted = self._verdicts(placed, ticks, future, out)
        closes = self._closes(placed)
        starts = sorted({0, *np.flatnonzero(np.diff(closes, prepend=self.cells.closed)).tolist()})
        for start, end in zip(starts, [*starts[1:], len(ticks)], strict=True):
            for _ in self._close_through(int(closes[start]), int(placed.offsets[start]), out):
                if out.due >= windows_max or self._silent:
                    yield out.take()
                    self._forget(placed.index[start:])
            kept = start + np.flatnonzero(accepted[start:end])
            if len(kept):
                self.cells.take(placed, ticks, future, kept, out)
            if out.due >= windows_max:
                yield out.take()
        yield out.take()

    def _admit(self, readings: Readings) -> Placed:
        index, newcomers = self.roster.columns_of(readings.series_ids, self.cells.closed)
        moves = np.where(self._is_future(index), BEFORE_ALL, readings.timestamps_ms)
        known = len(self.columns) - len(newcomers)
        arrived = Arrived(index, readings.timestamps_ms, readings.values, readings.offsets, moves)
        return self.clock.admit(arrived, newcomers, known)

    def _is_future(self, index: IntArray) -> BoolArray:
        if not self.spec.future_covariates:
            return np.zeros(len(index), bool)
        return np.equal(self.columns.flat("role")[index], FUTURE)

    def _closes(self, placed: Placed) -> IntArray:
        """The newest closed tick after each reading: int64 [n], rising."""
        if self.cells.closed == NEVER:
            return np.full(len(placed.index), NEVER)
        marks = placed.newest_after - self.spec.out_of_orderness_ms
        # Readings of known-future values before all others have no mark yet.
        marks = np.where(placed.newest_after > BEFORE_ALL, marks, 0)
        closes = np.where(placed.newest_after > BEFORE_ALL, self.spec.grid.ticks(marks) - 1, self.cells.closed)
        return np.maximum(closes, self.cells.closed)

    def close_idle(self) -> Iterator[Observed]:
        """Close through the newest tick seen, never beyond: the partition's end was reached and nothing came."""
        out = Collected()
        if self.clock.newest_ms is not None:
            for _ in self._close_through(self.spec.grid.tick(self.clock.newest_ms), -1, out):
                if self._silent:
                    yield out.take()
                    self._forget(_NONE)
        yield out.take()

    def _verdicts(self, placed: Placed, ticks: IntArray, future: BoolArray, out: Collected) -> BoolArray:
        """Which readings are taken: bool [n]. Too late if and only if tick end + lateness ≤ watermark before it."""
        spec = self.spec
        watermark = placed.newest_before - spec.out_of_orderness_ms
        ends = spec.grid.ends_ms(ticks)
        late = (ends + spec.allowed_lateness <= watermark) & ~future
        for i in np.flatnonzero(late).tolist():
            behind = int(watermark[i] - ends[i])
            detail = f"its step ended {behind} ms before the watermark; allowed: {spec.allowed_lateness} ms"
            out.rejected.append(Rejected(int(placed.positions[i]), "too_late", detail))
        accepted = ~late
        out.counts["late"] += int(late.sum())
        if spec.deduplicate == "timestamp":
            # Known-future values are meant to be said again: the newest wins.
            accepted &= ~self._duplicates(placed, accepted & ~future, out)
        out.counts["accepted"] += int(accepted.sum())
        return accepted

    def _duplicates(self, placed: Placed, accepted: BoolArray, out: Collected) -> BoolArray:
        """Readings whose (series, timestamp) came before, within the lateness horizon."""
        kept = np.flatnonzero(accepted)
        fresh = np.stack([placed.index[kept], placed.timestamps_ms[kept]], axis=1)
        every = np.concatenate([self.seen, fresh])
        order = np.lexsort((np.arange(len(every)), every[:, 1], every[:, 0]))
        repeated = np.zeros(len(every), bool)
        repeated[order[1:]] = (np.diff(every[order], axis=0) == 0).all(axis=1)
        duplicate = np.zeros(len(accepted), bool)
        duplicate[kept] = repeated[len(self.seen) :]
        horizon = int(placed.newest_after[-1]) - self.spec.out_of_orderness_ms - self.spec.allowed_lateness
        live = self.spec.grid.ends_ms(self.spec.grid.ticks(every[:, 1])) > horizon
        self.seen = every[live & ~repeated]
        out.counts["duplicate"] += int(duplicate.sum())
        return duplicate

    # --- time passes ------------------------------------------------------------------------------------------------

    def _close_through(self, tick: int, offset: int, out: Collected) -> Iterator[int]:
        """The watermark passed the end of `tick`: every open cell up to it settles. Yields after each tick."""
        cells, first = self.cells, self.cells.closed
        while cells.closed < tick:
            if cells.closed - first >= self.spec.dormant_ticks + self.spec.open_ticks:
                cells.skip_to(tick, offset, out)
                self._find_silent(tick)
            else:
                cells.close(cells.closed + 1, offset, out)
                if cells.closed % _FORGET_CHECK_TICKS == 0:
                    self._find_silent(cells.closed)
            yield cells.closed

    def _find_silent(self, tick: int) -> None:
        """Note series without a reading for `forget_after`: their state goes."""
        used = self.columns.used
        oldest = tick - self.spec.forget_ticks
        seen = self.columns.flat("last_seen")[:used]
        self._silent = np.flatnonzero((seen < oldest) & (seen > NEVER)).tolist()

    def _forget(self, upcoming: IntArray) -> None:
        """Free silent series; those that speak again in the `upcoming` readings (columns, in place) start anew."""
        silent, self._silent = self._silent, []
        names = {column: self.columns.ids[column] for column in silent}
        if silent:
            self.remove(np.array(silent))
        for column in sorted(set(silent) & set(upcoming.tolist())):
            name = names[column]
            assert name is not None, "a silent series has a name"
            anew, _ = self.roster.columns_of([name], self.cells.closed)
            # Columns freed in the same breath may be handed out again: mark first, assign once.
            upcoming[upcoming == column] = -1 - anew[0]
        upcoming[upcoming < 0] = -1 - upcoming[upcoming < 0]

    def remove(self, index: IntArray) -> None:
        """Free these columns now."""
        for column in index.tolist():
            self.clock.forget_column(column)
        self.seen = self.seen[~np.isin(self.seen[:, 0], index)]
        self.roster.remove(index)
