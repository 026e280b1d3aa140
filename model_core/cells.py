"""Cells: open ones collect readings, settled ones are corrected, and what is ready settles into ring and scaler.

Readings come in stretches in which the watermark closes nothing. A stretch is accumulated at once; only completeness
(`readings_per_step`) and corrections depend on order: series with such events are taken in rounds, the r-th reading of
each in round r. The result is that of taking the readings one by one.
"""

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.columns import Columns
from model_core.outcomes import Observed, Rejected, Wave, WaveKind
from model_core.roster import Roster
from model_core.rounds import by_column, last_of_each, rounds
from model_core.scaler import half_life_decay, update_scaler
from model_core.spec import StreamSpec
from model_core.spots import Spots
from model_core.watermark import BEFORE_ALL, Placed
from model_core.windows import NEVER, ROLE_CODES, Windows, accumulator_rows

TARGET, FUTURE = ROLE_CODES["target"], ROLE_CODES["future"]
SCALER_HALF_LIVES = 4  # half-life of the scaler in contexts (L)
COUNTS = ("accepted", "late", "duplicate", "corrected", "out_of_range", "settled", "missing", "warming_up")
_NONE = np.empty(0, np.int64)


class Collected:
    """What a stretch of the log has led to so far."""

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self.waves: list[Wave] = []
        self.windows: list[WindowBatch] = []
        self.rejected: list[Rejected] = []
        self.deleted: tuple[tuple[int, str], ...] = ()
        self.counts = dict.fromkeys(COUNTS, 0)
        self.due = 0

    def take(self) -> Observed:
        """What was collected; it is empty afterwards. (In place: whoever is collecting goes on with this one.)"""
        windows = WindowBatch.concatenate(self.windows) if self.windows else None
        observed = Observed(self.waves, windows, self.rejected, self.deleted, self.counts)
        self._empty()
        return observed


class Cells:
    """State beside its columns: the newest tick that the watermark has closed, and the season in force."""

    def __init__(self, spec: StreamSpec, columns: Columns, roster: Roster) -> None:
        self.spec = spec
        self.columns = columns
        self.roster = roster
        self.windows = Windows(spec, columns)
        self.closed = NEVER  # NEVER: before the first reading
        self.season = spec.default_season
        self._empty = 0.0 if (spec.empty or ("zero" if spec.is_demand else "missing")) == "zero" else np.nan
        self._decay = half_life_decay(SCALER_HALF_LIVES * spec.context_length)
        self._level_decay = half_life_decay(spec.default_season)

    def begin(self, first_ms: int) -> None:
        """The first reading that moves the clock says where time begins."""
        self.closed = self.spec.grid.last_closed_tick(first_ms - self.spec.out_of_orderness_ms)
        self.windows.clear_all_open()
        last = self.columns.flat("last_tick")[: self.columns.used]
        last[(last == NEVER) & (self.columns.flat("role")[: len(last)] != FUTURE)] = self.closed

    def take(self, placed: Placed, ticks: IntArray, future: BoolArray, kept: IntArray, out: Collected) -> None:
        """Readings of one stretch, all accepted."""
        if not (self.spec.future_covariates and future[kept].any()):
            self._take_present(placed, ticks, kept, out)
            return
        runs = np.split(kept, np.flatnonzero(np.diff(future[kept].astype(np.int8))) + 1)
        for run in runs:
            if future[run[0]]:
                self._take_future(placed, ticks, run, out)
            else:
                self._take_present(placed, ticks, run, out)

    def _take_present(self, placed: Placed, ticks: IntArray, kept: IntArray, out: Collected) -> None:
        index, at = placed.index[kept], ticks[kept]
        complete_by = self.spec.readings_per_step
        if complete_by == 1 and not self.spec.past_covariates and (order := by_column(index)) is not None:
            kept = self._settle_at_once(placed, ticks, kept[order], out)
            if not len(kept):
                return
            index, at = placed.index[kept], ticks[kept]
        settled = at <= self.columns.flat("last_tick")[index]
        # With covariates the readings of an entity keep their order: a forecast sees what came before its cause.
        group = self.roster.group[placed.index] if self.spec.past_covariates else placed.index
        if complete_by is None:
            still_open = kept[~settled]
            if len(still_open):
                self._accumulate(placed, ticks, still_open)
            turns = rounds(kept[settled], group)
        elif not settled.any() and self._orderless(index, at, complete_by):
            self._accumulate(placed, ticks, kept)
            self._settle_complete(*last_of_each(index, placed.offsets[kept]), out)
            return
        else:
            turns = rounds(kept, group)
        for members in turns:
            rest = members
            if complete_by == 1 and (order := by_column(placed.index[members])) is not None:
                rest = self._settle_at_once(placed, ticks, members[order], out)
            if len(rest):
                self._take_round(placed, ticks, rest, out)

    def _settle_at_once(self, placed: Placed, ticks: IntArray, members: IntArray, out: Collected) -> IntArray:
        """Of readings in distinct columns those that complete the very next cell, and nothing is open after it, as
        from a regular sensor: straight into ring and scaler. Returns the others. Only with one reading a step."""
        spots = Spots(placed.index[members], ticks[members])
        last = self.columns.flat("last_tick")[spots.at]
        prompt = (spots.ticks - last == 1) & self.windows.untouched(spots)
        if not prompt.all():
            rest, members = members[~prompt], members[prompt]
            if len(rest) > len(members):
                return np.concatenate([rest, members])
            spots = Spots(placed.index[members], ticks[members])
        else:
            rest = _NONE
        values = self.windows.hold_single(spots, placed.values[members], placed.timestamps_ms[members])
        self._enter(spots, values, None, placed.offsets[members], out)
        return rest

    def _orderless(self, index: IntArray, ticks: IntArray, complete_by: int) -> bool:
        """True when each series has readings of one cell only, and none can find it settled by another."""
        if self.spec.past_covariates:
            return False
        order = np.argsort(index, kind="stable")
        index, ticks = index[order], ticks[order]
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        counts = np.diff(starts, append=len(index))
        if len(starts) < len(index) and (ticks != np.repeat(ticks[starts], counts)).any():
            return False
        return bool((self.windows.counts(index[starts], ticks[starts]) + counts <= complete_by).all())

    def _take_round(self, placed: Placed, ticks: IntArray, members: IntArray, out: Collected) -> None:
        """At most one reading of a series."""
        index, at = placed.index[members], ticks[members]
        self._accumulate(placed, ticks, members)
        settled = at <= self.columns.flat("last_tick")[index]
        offsets = placed.offsets[members]
        if settled.any():
            started = self.columns.flat("first_tick")[index] != NEVER
            for part, take in ((settled & ~started, self._start_late), (settled & started, self._correct)):
                if part.any():
                    take(index[part], at[part], offsets[part], out)
        if self.spec.readings_per_step is not None:
            self._settle_complete(index, offsets, out)

    def _accumulate(self, placed: Placed, ticks: IntArray, kept: IntArray) -> None:
        self.windows.accumulate(placed.index[kept], ticks[kept], placed.values[kept], placed.timestamps_ms[kept])

    def _take_future(self, placed: Placed, ticks: IntArray, run: IntArray, out: Collected) -> None:
        """Known-future values: the newest wins, the watermark does not move, nothing settles."""
        limit = self.closed + self.spec.open_ticks + self.spec.known_ahead
        for members in rounds(run, placed.index):
            if self.closed > NEVER:
                # What came before time began has no limit, also when it began in the same poll.
                beyond = (ticks[members] > limit) & (placed.newest_after[members] > BEFORE_ALL)
                for i in members[beyond].tolist():
                    ahead = int(ticks[i]) - self.closed
                    detail = f"{ahead} steps ahead of the watermark; kept: {self.spec.known_ahead}"
                    out.rejected.append(Rejected(int(placed.positions[i]), "timestamp_out_of_range", detail))
                out.counts["out_of_range"] += int(beyond.sum())
                members = members[~beyond]
            index = placed.index[members]
            newer = ticks[members] > self.columns.flat("last_tick")[index]
            update_scaler(self.columns, index[newer], placed.values[members][newer], self._decay, self._level_decay)
            for i in members.tolist():
                self.windows.put_known(int(placed.index[i]), int(ticks[i]), float(placed.values[i]))

    def _start_late(self, index: IntArray, ticks: IntArray, offsets: IntArray, out: Collected) -> None:
        """A new series whose first reading lies behind the watermark: its cells are ready as they come."""
        for step in range(int((self.closed - ticks).max()) + 1):
            passed = ticks + step <= self.closed
            self._settle(index[passed], ticks[passed] + step, offsets[passed], out)

    def _correct(self, index: IntArray, ticks: IntArray, offsets: IntArray, out: Collected) -> None:
        """Readings for settled cells: accumulator and window change, the newest forecast is issued again."""
        spots = Spots(index, ticks)
        values, _ = self.windows.combined(spots, self._empty)
        self.windows.put(spots, values)
        seen = self.columns.flat("last_seen")
        seen[index] = np.maximum(seen[index], ticks)  # whoever only ever comes late is not silent
        self.columns.touch_hot(index)
        out.counts["corrected"] += len(index)
        origins = self.columns.flat("newest_origin")[index]
        again = (origins >= ticks) & (origins - self.spec.context_length < ticks)
        if not again.any():
            return
        spots = Spots(index[again], ticks[again])
        self.columns.flat("revision")[spots.at] += 1
        due = np.arange(len(spots))
        self._add_wave(WaveKind.CORRECTED, spots, values[again], due, origins[again], offsets[again], out)

    # --- cells that are ready ---------------------------------------------------------------------------------------

    def _settle_complete(self, index: IntArray, offsets: IntArray, out: Collected) -> None:
        """Settle cells that have all their readings, each series in the order of its ticks."""
        wanted = self.spec.readings_per_step
        assert wanted is not None, "only streams with readings_per_step complete cells"
        while len(index):
            ticks = self.columns.flat("last_tick")[index] + 1
            complete = self.windows.counts(index, ticks) >= wanted
            index, offsets = index[complete], offsets[complete]
            if len(index):
                self._settle(index, ticks[complete], offsets, out)

    def close(self, tick: int, offset: int, out: Collected) -> None:
        columns, used = self.columns, self.columns.used
        last = columns.flat("last_tick")[:used]
        lagging = np.flatnonzero((last < tick) & (last > NEVER) & (columns.flat("role")[:used] != FUTURE))
        self.closed = tick
        if tick % self.spec.report_ticks == 0:
            # A wave of its own, so that a report leaves with the reading that made it due, whatever settles.
            self._add_wave(WaveKind.PASSED, Spots(_NONE, _NONE), np.empty(0), _NONE, _NONE, _NONE, out, offset)
        if len(lagging):
            ticks = np.full(len(lagging), tick)
            started = columns.flat("first_tick")[lagging] != NEVER
            ready = started | (self.windows.counts(lagging, ticks) > 0)
            columns.flat("last_tick")[lagging[~ready]] = tick
            columns.touch_hot(lagging)
            if ready.any():
                self._settle(lagging[ready], ticks[ready], np.full(int(ready.sum()), offset), out)
        self.windows.clear_open(tick + self.spec.open_ticks + 1)
        if self.spec.readings_per_step is not None and len(lagging):
            self._settle_complete(lagging, np.full(len(lagging), offset), out)

    def skip_to(self, tick: int, offset: int, out: Collected) -> None:
        """The rest of a gap in which every series has been silent: nothing is emitted for it."""
        columns, used = self.columns, self.columns.used
        last = columns.flat("last_tick")[:used]
        index = np.flatnonzero((last < tick) & (last > NEVER) & (columns.flat("role")[:used] != FUTURE))
        if tick - self.closed >= self.spec.ring_capacity:
            self.windows.erase(index)
        else:
            for skipped in range(self.closed + 1, tick + 1):
                self.windows.put(Spots(index, np.full(len(index), skipped)), np.full(len(index), np.nan))
        columns.flat("last_tick")[index] = tick
        columns.touch_hot(index)
        # Rows of the ticks skipped become free; those of ticks that may still be corrected stay.
        for skipped in range(max(self.closed, tick - accumulator_rows(self.spec)) + 1, tick + 1):
            self.windows.clear_open(skipped + self.spec.open_ticks + 1)
        self.closed = tick
        spots = Spots(index, np.full(len(index), tick))
        missing, offsets = np.full(len(index), np.nan), np.full(len(index), offset)
        self._add_wave(WaveKind.SKIPPED, spots, missing, _NONE, _NONE, offsets, out, offset)

    def _settle(self, index: IntArray, ticks: IntArray, offsets: IntArray, out: Collected) -> None:
        """These cells, at most one of a series, are final: they enter ring and scaler, and forecasts become due."""
        spots = Spots(index, ticks)
        values, read = self.windows.combined(spots, self._empty)
        self._enter(spots, values, None if read.all() else read, offsets, out)

    def _enter(
        self, spots: Spots, values: FloatArray, read: BoolArray | None, offsets: IntArray, out: Collected
    ) -> None:
        """Settled values [n] into ring and scaler. `read` [n]: which had a reading; None: all."""
        columns, at = self.columns, spots.at
        self.windows.put(spots, values)
        first, seen = columns.flat("first_tick"), columns.flat("last_seen")
        new = np.flatnonzero(first[at] == NEVER)
        if len(new):
            first[spots.index[new]] = spots.ticks[new]
        columns.flat("last_tick")[at] = spots.tick
        missing = 0
        if read is None:
            seen[at] = spots.tick
            columns.flat("observed")[at] += 1
            update_scaler(columns, at, values, self._decay, self._level_decay)
        else:
            seen[at] = np.where(read, spots.ticks, seen[at])
            present = np.isfinite(values)
            columns.flat("observed")[at] += present
            update_scaler(columns, spots.index[present], values[present], self._decay, self._level_decay)
            missing = int((~present).sum())
        due = self._due(spots, read is None, out)
        origins = spots.ticks[due]
        columns.flat("newest_origin")[spots.index[due]] = origins
        columns.flat("revision")[spots.index[due]] = 0
        spots.touch_hot(columns)
        out.counts["settled"] += len(spots)
        out.counts["missing"] += missing
        self._add_wave(WaveKind.SETTLED, spots, values, due, origins, offsets, out)

    def _due(self, spots: Spots, all_read: bool, out: Collected) -> IntArray:
        """Which of the cells have a forecast due: positions."""
        columns, spec, at = self.columns, self.spec, spots.at
        turn = spots.tick % spec.forecast_every == 0
        if not np.any(turn):
            return _NONE
        wanted = (columns.flat("role")[at] == TARGET) & turn
        if np.isnan(self._empty) and not all_read:
            wanted &= spots.ticks - columns.flat("last_seen")[at] <= spec.dormant_ticks
        warm = columns.flat("observed")[at] >= spec.min_readings
        out.counts["warming_up"] += int((wanted & ~warm).sum())
        return np.flatnonzero(wanted & warm)

    def _add_wave(
        self,
        kind: WaveKind,
        spots: Spots,
        values: FloatArray,
        due: IntArray,
        origins: IntArray,
        offsets: IntArray,
        out: Collected,
        cause: int | None = None,
    ) -> None:
        index = spots.index
        before = self.windows.back(spots, self.season).astype(np.float64)
        change = np.abs(values.astype(np.float32) - before)  # both as the ring holds them
        revisions, settled = (self.columns.flat(name)[index[due]] for name in ("revision", "last_tick"))
        cause = int(offsets[0]) if cause is None else cause
        wave = Wave(
            index, spots.ticks, values, offsets, due, origins, revisions, settled, change, self.closed, cause, kind
        )
        out.waves.append(wave)
        if len(due):
            out.windows.append(self.windows.gather(index[due], origins, self.season))
            out.due += len(due)
