"""Readiness: where each reading belongs in time, and which cells are settled by it.

The result is that of taking the log reading by reading; it is computed in stretches. Between two advances of the
watermark's tick nothing closes, so a stretch is accumulated at once. Within it only completeness (`readings_per_step`)
and corrections depend on order: series with such events are taken in rounds, the r-th reading of each in round r.
"""

from collections.abc import Iterator

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.batches import WindowBatch
from model_core.columns import Columns
from model_core.outcomes import Observed, Rejected, Wave, WaveKind
from model_core.readings import Readings
from model_core.roster import Roster
from model_core.scaler import half_life_decay, update_scaler
from model_core.spec import StreamSpec
from model_core.watermark import BEFORE_ALL, EventClock, Placed
from model_core.windows import NEVER, ROLE_CODES, Windows, accumulator_rows

_TARGET, _FUTURE = ROLE_CODES["target"], ROLE_CODES["future"]
_NONE = np.empty(0, np.int64)
_FORGET_CHECK_TICKS = 256  # silent series are looked for at ticks that are a multiple of this
SCALER_HALF_LIVES = 4  # half-life of the scaler in contexts (L)


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


COUNTS = ("accepted", "late", "duplicate", "corrected", "out_of_range", "settled", "missing", "warming_up")


class Readiness:
    """Phase A of a partition. State beside its columns: the clock, the newest closed tick, recent timestamps."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self.spec = spec
        self.columns = columns
        self.clock = EventClock(spec.watermark_jump_ms)
        self.windows = Windows(spec, columns)
        self.closed = NEVER  # NEVER: before the first reading
        self.season = spec.default_season
        self.seen = np.empty((0, 2), np.int64)  # (column, timestamp) still within the lateness horizon
        self.roster = Roster(spec, columns)
        self._silent: list[int] = []  # columns whose state goes before the next reading is taken
        self._empty = 0.0 if (spec.empty or ("zero" if spec.is_demand else "missing")) == "zero" else np.nan
        self._decay = half_life_decay(SCALER_HALF_LIVES * spec.context_length)
        self._level_decay = half_life_decay(spec.default_season)

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
        self._begin(placed)
        ticks = self.spec.grid.ticks(placed.timestamps_ms)
        future = self._is_future(placed.index)
        accepted = self._verdicts(placed, ticks, future, out)
        closes = self._closes(placed)
        starts = sorted({0, *np.flatnonzero(np.diff(closes, prepend=self.closed)).tolist()})
        for start, end in zip(starts, [*starts[1:], len(ticks)], strict=True):
            for _ in self._close_through(int(closes[start]), int(placed.offsets[start]), out):
                if out.due >= windows_max or self._silent:
                    yield out.take()
                    self._forget(placed.index[start:])
            kept = start + np.flatnonzero(accepted[start:end])
            if len(kept):
                self._take(placed, ticks, future, kept, out)
            if out.due >= windows_max:
                yield out.take()
        yield out.take()

    def _admit(self, readings: Readings) -> Placed:
        index, newcomers = self.roster.columns_of(readings.series_ids, self.closed)
        moves = np.where(self._is_future(index), BEFORE_ALL, readings.timestamps_ms)
        known = len(self.columns) - len(newcomers)
        return self.clock.admit(
            index, readings.timestamps_ms, readings.values, readings.offsets, moves, newcomers, known
        )

    def _is_future(self, index: IntArray) -> BoolArray:
        if not self.spec.future_covariates:
            return np.zeros(len(index), bool)
        return np.equal(self.columns.flat("role")[index], _FUTURE)

    def _closes(self, placed: Placed) -> IntArray:
        """The newest closed tick after each reading: int64 [n], rising."""
        if self.closed == NEVER:
            return np.full(len(placed.index), NEVER)
        marks = placed.newest_after - self.spec.out_of_orderness_ms
        # Readings of known-future values before all others have no mark yet.
        marks = np.where(placed.newest_after > BEFORE_ALL, marks, 0)
        closes = np.where(placed.newest_after > BEFORE_ALL, self.spec.grid.ticks(marks) - 1, self.closed)
        return np.maximum(closes, self.closed)

    def close_idle(self) -> Iterator[Observed]:
        """Close through the newest tick seen, never beyond: the partition's end was reached and nothing came."""
        out = Collected()
        if self.clock.newest_ms is not None:
            for _ in self._close_through(self.spec.grid.tick(self.clock.newest_ms), -1, out):
                if self._silent:
                    yield out.take()
                    self._forget(_NONE)
        yield out.take()

    def _begin(self, placed: Placed) -> None:
        """The first reading that moves the clock says where time begins."""
        if self.closed == NEVER and placed.newest_after[-1] > BEFORE_ALL:
            first = int(placed.newest_after[placed.newest_after > BEFORE_ALL][0])
            self.closed = self.spec.grid.last_closed_tick(first - self.spec.out_of_orderness_ms)
            self.windows.clear_all_open()
            last = self.columns.flat("last_tick")[: self.columns.used]
            last[(last == NEVER) & (self.columns.flat("role")[: len(last)] != _FUTURE)] = self.closed

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

    # --- readings into cells ----------------------------------------------------------------------------------------

    def _take(self, placed: Placed, ticks: IntArray, future: BoolArray, kept: IntArray, out: Collected) -> None:
        """Readings of one stretch, all accepted."""
        if not future[kept].any():
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
        settled = at <= self.columns.flat("last_tick")[index]
        complete_by = self.spec.readings_per_step
        # With covariates the readings of an entity keep their order: a forecast sees what came before its cause.
        group = self.roster.group[placed.index] if self.spec.past_covariates else placed.index
        if complete_by is None:
            still_open = kept[~settled]
            if len(still_open):
                self._accumulate(placed, ticks, still_open)
            rounds = _rounds(kept[settled], group)
        elif not settled.any() and self._orderless(index, at, complete_by):
            self._accumulate(placed, ticks, kept)
            self._settle_complete(*_last_of_each(index, placed.offsets[kept]), out)
            return
        else:
            rounds = _rounds(kept, group)
        for members in rounds:
            self._take_round(placed, ticks, members, out)

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
        for members in _rounds(run, placed.index):
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
        values = self.windows.combined(index, ticks, self._empty)
        self.windows.put(index, ticks, values)
        seen = self.columns.flat("last_seen")
        seen[index] = np.maximum(seen[index], ticks)  # whoever only ever comes late is not silent
        self.columns.touch_hot(index)
        out.counts["corrected"] += len(index)
        origins = self.columns.flat("newest_origin")[index]
        again = (origins >= ticks) & (origins - self.spec.context_length < ticks)
        if not again.any():
            return
        index, ticks, origins = index[again], ticks[again], origins[again]
        self.columns.flat("revision")[index] += 1
        due = np.arange(len(index))
        self._add_wave(WaveKind.CORRECTED, index, ticks, values[again], due, origins, offsets[again], out)

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

    def _close_through(self, tick: int, offset: int, out: Collected) -> Iterator[int]:
        """The watermark passed the end of `tick`: every open cell up to it settles. Yields after each tick."""
        first, lately = self.closed, self.spec.dormant_ticks + self.spec.open_ticks
        while self.closed < tick:
            if self.closed - first >= lately:
                self._skip_to(tick, offset, out)
                yield tick
                return
            self._close(self.closed + 1, offset, out)
            yield self.closed

    def _close(self, tick: int, offset: int, out: Collected) -> None:
        columns, used = self.columns, self.columns.used
        last = columns.flat("last_tick")[:used]
        lagging = np.flatnonzero((last < tick) & (last > NEVER) & (columns.flat("role")[:used] != _FUTURE))
        self.closed = tick
        if tick % self.spec.report_ticks == 0:
            # A wave of its own, so that a report leaves with the reading that made it due, whatever settles.
            self._add_wave(WaveKind.PASSED, _NONE, _NONE, np.empty(0), _NONE, _NONE, _NONE, out, offset)
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
        if tick % _FORGET_CHECK_TICKS == 0:
            self._find_silent(tick)

    def _skip_to(self, tick: int, offset: int, out: Collected) -> None:
        """The rest of a gap in which every series has been silent: nothing is emitted for it."""
        columns, used = self.columns, self.columns.used
        last = columns.flat("last_tick")[:used]
        index = np.flatnonzero((last < tick) & (last > NEVER) & (columns.flat("role")[:used] != _FUTURE))
        if tick - self.closed >= self.spec.ring_capacity:
            self.windows.erase(index)
        else:
            for skipped in range(self.closed + 1, tick + 1):
                self.windows.put(index, np.full(len(index), skipped), np.full(len(index), np.nan))
        columns.flat("last_tick")[index] = tick
        columns.touch_hot(index)
        # Rows of the ticks skipped become free; those of ticks that may still be corrected stay.
        for skipped in range(max(self.closed, tick - accumulator_rows(self.spec)) + 1, tick + 1):
            self.windows.clear_open(skipped + self.spec.open_ticks + 1)
        self.closed = tick
        missing, ticks, offsets = np.full(len(index), np.nan), np.full(len(index), tick), np.full(len(index), offset)
        self._add_wave(WaveKind.SKIPPED, index, ticks, missing, _NONE, _NONE, offsets, out, offset)
        self._find_silent(tick)

    def _settle(self, index: IntArray, ticks: IntArray, offsets: IntArray, out: Collected) -> None:
        """These cells, at most one of a series, are final: they enter ring and scaler, and forecasts become due."""
        columns, spec = self.columns, self.spec
        read = self.windows.counts(index, ticks) > 0
        values = self.windows.combined(index, ticks, self._empty)
        self.windows.put(index, ticks, values)
        first, seen = columns.flat("first_tick"), columns.flat("last_seen")
        first[index] = np.where(first[index] == NEVER, ticks, first[index])
        columns.flat("last_tick")[index] = ticks
        seen[index] = np.where(read, ticks, seen[index])
        present = np.isfinite(values)
        columns.flat("observed")[index] += present
        update_scaler(columns, index[present], values[present], self._decay, self._level_decay)
        wanted = (columns.flat("role")[index] == _TARGET) & (ticks % spec.forecast_every == 0)
        if np.isnan(self._empty):
            wanted &= ticks - seen[index] <= spec.dormant_ticks
        warm = columns.flat("observed")[index] >= spec.min_readings
        out.counts["warming_up"] += int((wanted & ~warm).sum())
        due = np.flatnonzero(wanted & warm)
        columns.flat("newest_origin")[index[due]] = ticks[due]
        columns.flat("revision")[index[due]] = 0
        columns.touch_hot(index)
        out.counts["settled"] += len(index)
        out.counts["missing"] += int((~present).sum())
        self._add_wave(WaveKind.SETTLED, index, ticks, values, due, ticks[due], offsets, out)

    def _add_wave(
        self,
        kind: WaveKind,
        index: IntArray,
        ticks: IntArray,
        values: AnyArray,
        due: IntArray,
        origins: IntArray,
        offsets: IntArray,
        out: Collected,
        cause: int | None = None,
    ) -> None:
        before = self.windows.at(index, ticks - self.season).astype(np.float64)
        change = np.abs(values.astype(np.float32) - before)  # both as the ring holds them
        revisions, settled = (self.columns.flat(name)[index[due]] for name in ("revision", "last_tick"))
        cause = int(offsets[0]) if cause is None else cause
        wave = Wave(index, ticks, values, offsets, due, origins, revisions, settled, change, self.closed, cause, kind)
        out.waves.append(wave)
        if len(due):
            out.windows.append(self.windows.gather(index[due], origins, self.season))
            out.due += len(due)

    def _find_silent(self, tick: int) -> None:
        """Note series without a reading for `forget_after`: their state goes."""
        used = self.columns.used
        oldest = tick - self.spec.grid.steps(self.spec.forget_after)
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
            anew, _ = self.roster.columns_of([name], self.closed)
            # Columns freed in the same breath may be handed out again: mark first, assign once.
            upcoming[upcoming == column] = -1 - anew[0]
        upcoming[upcoming < 0] = -1 - upcoming[upcoming < 0]

    def remove(self, index: IntArray) -> None:
        """Free these columns now."""
        for column in index.tolist():
            self.clock.forget_column(column)
        self.seen = self.seen[~np.isin(self.seen[:, 0], index)]
        self.roster.remove(index)


def _last_of_each(index: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct columns and the offset of the last reading of each."""
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return ordered[last], offsets[order][last]


def _rounds(members: IntArray, group: IntArray) -> list[IntArray]:
    """Split positions into rounds with at most one of a group each, keeping each group's order.

    `members` index into `group` (the group of every reading of the poll).
    """
    if not len(members):
        return []
    groups = group[members]
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    if rank.max() == 0:
        return [members]
    ranks = np.empty(len(members), np.int64)
    ranks[order] = rank
    return [members[ranks == r] for r in range(int(rank.max()) + 1)]
