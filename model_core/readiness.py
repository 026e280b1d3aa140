"""Readiness: where each reading belongs in time, which readings are too late, and when ticks close.

The result is that of taking the log reading by reading. What a reading does to its cell is up to `Cells`.
"""

from collections.abc import Iterator

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.cells import FUTURE, Cells
from model_core.columns import Columns
from model_core.compiled import phase_a
from model_core.outcomes import Observed
from model_core.readings import Readings
from model_core.roster import Roster
from model_core.spec import StreamSpec
from model_core.watermark import BEFORE_ALL, Arrived, EventClock, Placed
from model_core.windows import NEVER

_NONE = np.empty(0, np.int64)


class Readiness:
    """Phase A of a partition. State beside its columns: the clock, the cells' newest closed tick, recent timestamps."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self.spec = spec
        self.columns = columns
        self.clock = EventClock(spec.watermark_jump_ms)
        self.roster = Roster(spec, columns)
        self.cells = Cells(spec, columns)
        self.seen = np.empty((0, 2), np.int64)  # (column, timestamp) still within the lateness horizon

    @property
    def watermark_ms(self) -> int | None:
        newest = self.clock.newest_ms
        return None if newest is None else newest - self.spec.out_of_orderness_ms

    # --- a stretch of readings --------------------------------------------------------------------------------------

    def observe(self, readings: Readings, windows_max: int) -> Iterator[Observed]:
        """Take readings in log order. Yields whenever `windows_max` windows wait, and at the end. What was yielded must
        be settled and issued before the next is asked for."""
        placed = self._admit(readings)
        repeated = self._duplicates(placed) if self.spec.deduplicate == "timestamp" else None
        self.cells.begin_poll(placed, repeated, windows_max)
        yield from self._walk(placed.index, windows_max)

    def close_idle(self, windows_max: int) -> Iterator[Observed]:
        """Close through the newest tick seen, never beyond: the partition is at its end and nothing comes."""
        if self.clock.newest_ms is not None:
            self.cells.close_through(self.spec.grid.tick(self.clock.newest_ms), -1, windows_max)
            yield from self._walk(_NONE, windows_max)
        else:
            yield self.cells.take()

    def _walk(self, index: IntArray, windows_max: int) -> Iterator[Observed]:
        """Walk until all readings are done. `index` [n]: columns of the poll's readings."""
        cells = self.cells
        while (answer := cells.run()) != phase_a.DONE:
            silent = self._silent() if answer in (phase_a.SILENCE, phase_a.GAP) else _NONE
            if len(silent) or cells.due >= windows_max:
                yield cells.take()
                self._forget(silent, index[cells.at :])
        yield cells.take()

    def _admit(self, readings: Readings) -> Placed:
        index, newcomers = self.roster.columns_of(readings.series_ids, self.cells.closed)
        stamps = np.ascontiguousarray(readings.timestamps_ms)
        moves = np.where(self._is_future(index), BEFORE_ALL, stamps) if self.spec.future_covariates else stamps
        known = len(self.columns) - len(newcomers)
        values, offsets = np.ascontiguousarray(readings.values), np.ascontiguousarray(readings.offsets)
        return self.clock.admit(Arrived(index, stamps, values, offsets, moves), newcomers, known)

    def _is_future(self, index: IntArray) -> BoolArray:
        return np.equal(self.columns.flat("role")[index], FUTURE)

    def _duplicates(self, placed: Placed) -> AnyArray:
        """Readings whose (series, timestamp) came before, within the lateness horizon: uint8 [n]."""
        spec, stamps = self.spec, placed.timestamps_ms
        newest = np.maximum.accumulate(np.concatenate(([placed.newest_ms], placed.moves)))
        oldest = newest - spec.out_of_orderness_ms - spec.allowed_lateness  # steps that end by then are too late
        # Values of future covariates are meant to be repeated: the newest wins.
        kept = np.flatnonzero((spec.grid.ends_ms(spec.grid.ticks(stamps)) > oldest[:-1]) & (placed.moves > BEFORE_ALL))
        fresh = np.stack([placed.index[kept], stamps[kept]], axis=1)
        every = np.concatenate([self.seen, fresh])
        order = np.lexsort((np.arange(len(every)), every[:, 1], every[:, 0]))
        repeated = np.zeros(len(every), bool)
        repeated[order[1:]] = (np.diff(every[order], axis=0) == 0).all(axis=1)
        duplicate = np.zeros(len(stamps), np.uint8)
        duplicate[kept] = repeated[len(self.seen) :]
        live = spec.grid.ends_ms(spec.grid.ticks(every[:, 1])) > oldest[-1]
        self.seen = every[live & ~repeated]
        return duplicate

    # --- silence ----------------------------------------------------------------------------------------------------

    def _silent(self) -> IntArray:
        """Columns of series without a reading for `forget_after`: their state is dropped before the next reading."""
        seen = self.columns.flat("last_seen")[: self.columns.used]
        oldest = self.cells.closed - self.spec.forget_ticks
        return np.flatnonzero((seen < oldest) & (seen > NEVER))

    def _forget(self, silent: IntArray, upcoming: IntArray) -> None:
        """Free silent series. Those with `upcoming` readings (columns, changed in place) begin as new series."""
        names = {column: self.columns.ids[column] for column in silent.tolist()}
        if names:
            self.remove(silent)
        for column in sorted(names.keys() & set(upcoming.tolist())):
            name = names[column]
            assert name is not None, "a silent series has a name"
            anew, _ = self.roster.columns_of([name], self.cells.closed)
            # Columns that were just freed may be handed out again: mark first, assign once.
            upcoming[upcoming == column] = -1 - anew[0]
        upcoming[upcoming < 0] = -1 - upcoming[upcoming < 0]

    def remove(self, index: IntArray) -> None:
        """Free these columns now."""
        for column in index.tolist():
            self.clock.forget_column(column)
        self.seen = self.seen[~np.isin(self.seen[:, 0], index)]
        self.roster.remove(index)
