"""Cells: open ones collect readings, settled ones can be corrected, and what is ready settles into ring and scaler.

compiled/phase_a.c walks over the readings. This module holds what it works on, collects what it reports, and handles
the rare cases of time: its beginning, and the rest of a long gap. The result is that of taking the readings one by one.
"""

import ctypes

import numpy as np

from model_core.arrays import AnyArray, IntArray
from model_core.batches import WindowBatch
from model_core.columns import BLOCK, HOT, Columns
from model_core.compiled import address, phase_a
from model_core.outcomes import Observed, Rejected, Wave, WaveKind
from model_core.scaler import half_life_decay
from model_core.spec import StreamSpec
from model_core.watermark import Placed
from model_core.windows import AGGREGATE_CODES, NEVER, ROLE_CODES, accumulator_rows

FUTURE = ROLE_CODES["future"]
SCALER_HALF_LIVES = 4  # half-life of the scaler in contexts (L)
COUNTS = ("accepted", "late", "duplicate", "corrected", "out_of_range", "settled", "missing", "warming_up")
# Room for what the walk reports before Python takes it. More room saves calls, but does not fit the caches.
CELLS_ROOM, WAVES_ROOM, REJECTED_ROOM, WINDOWS_ROOM_BYTES = 8192, 1024, 1024, 2 << 20
FORGET_CHECK_TICKS = 256  # silent series are looked for at ticks that are a multiple of this
_NONE = np.empty(0, np.int64)
_KINDS = {
    phase_a.SETTLED: WaveKind.SETTLED,
    phase_a.CORRECTED: WaveKind.CORRECTED,
    phase_a.PASSED: WaveKind.PASSED,
}
_FIELDS: dict[str, type[np.generic]] = {
    "ring": np.float32,
    "open_count": np.int32,
    "open_value": np.float64,
    "open_stamp": np.int64,
    **dict.fromkeys(("last_tick", "first_tick", "last_seen", "observed", "newest_origin", "revision"), np.int64),
    **dict.fromkeys(("aggregate", "fill", "role"), np.int8),
    "scaler": np.float64,
    "covariates": np.int32,
}
_TOUCHED = {"ring": "ring", "count": "open_count", "value": "open_value", "stamp": "open_stamp"}


class Cells:
    """State beside its columns: the newest tick that the watermark has closed, and the season in force."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self.spec = spec
        self.columns = columns
        self.due = 0  # windows taken from the walk and not yet handed on
        self._covariates = len(spec.past_covariates) + len(spec.future_covariates)
        self._walk = phase_a.Partition(closed=NEVER, newest_ms=NEVER, goal=NEVER, first_wave=1, group=1)
        self._walk.set = _settings(spec)
        self._address = ctypes.addressof(self._walk)
        self._counts = np.zeros(len(COUNTS), np.int64)
        self._cells = np.empty((CELLS_ROOM, phase_a.CELL_WIDTH), np.int64)
        self._waves = np.empty((WAVES_ROOM, phase_a.WAVE_WIDTH), np.int64)
        self._rejected = np.empty((REJECTED_ROOM, phase_a.REJECTION_WIDTH), np.int64)
        for name in ("counts", "cells", "waves", "rejected"):
            setattr(self._walk, name, address(getattr(self, f"_{name}"), np.int64))
        self._walk.cell_room, self._walk.wave_room = CELLS_ROOM, WAVES_ROOM
        self._walk.rejected_room = REJECTED_ROOM
        self._repeated: AnyArray | None = None
        self._placed: Placed | None = None  # the poll in hand; kept alive, C has the addresses of its arrays
        self._growths = -1  # of the columns when their addresses were noted
        self._scratch: list[AnyArray] = []
        self.season = spec.default_season
        self._empty_hands()

    def _empty_hands(self) -> None:
        self._told: list[Wave] = []
        self._gathered: list[WindowBatch] = []
        self._refused: list[Rejected] = []
        self.due = 0

    # --- where time stands ------------------------------------------------------------------------------------------

    @property
    def closed(self) -> int:
        """The newest tick that the watermark has closed; NEVER before the first reading."""
        return int(self._walk.closed)

    @closed.setter
    def closed(self, tick: int) -> None:
        self._walk.closed = tick

    @property
    def season(self) -> int:
        return int(self._walk.season)

    @season.setter
    def season(self, ticks: int) -> None:
        self._walk.season = ticks
        floats = (1 + self._covariates) * self.spec.context_length + ticks + self.spec.horizon
        self._window_room = max(1, WINDOWS_ROOM_BYTES // (4 * floats))
        self._scratch = self._window_arrays(self._window_room)
        _point(self._walk.windows, self._scratch)

    @property
    def at(self) -> int:
        """How many readings of the current poll are done."""
        return int(self._walk.at)

    # --- the walk ---------------------------------------------------------------------------------------------------

    def begin_poll(self, placed: Placed, repeated: AnyArray | None, windows_max: int) -> None:
        """Take these readings next. `repeated` [n] uint8: which of them are duplicates."""
        walk, self._placed = self._walk, placed
        walk.index, walk.stamps = address(placed.index, np.int64), address(placed.timestamps_ms, np.int64)
        walk.offsets, walk.values = address(placed.offsets, np.int64), address(placed.values, np.float64)
        self._repeated = repeated
        walk.repeated = None if repeated is None else address(repeated, np.uint8)
        walk.newest_ms, walk.at = placed.newest_ms, 0
        walk.window_room = max(1, min(self._window_room, windows_max))

    def close_through(self, tick: int, offset: int, windows_max: int) -> None:
        """Close ticks up to this one next, without readings."""
        self._placed = None
        self._walk.goal, self._walk.gap_from, self._walk.cause = tick, self._walk.closed, offset
        self._walk.at = 0
        self._walk.window_room = max(1, min(self._window_room, windows_max))

    def run(self) -> int:
        """Walk on. Returns phase_a.DONE, or what must be done first; `take` has what was reported until then."""
        if self._growths != self.columns.growths:
            self._note_addresses()
        self._walk.fields.used = self.columns.used
        answer = phase_a.run(len(self._placed.index) if self._placed else 0, self._address)
        if answer == phase_a.BEGINS:
            assert self._placed is not None, "a reading begins time"
            self._begin(int(self._placed.timestamps_ms[self.at]))
        elif answer == phase_a.FULL:
            self._collect()
        elif answer == phase_a.GAP:
            self._skip_gap()
        return int(answer)

    def take(self) -> Observed:
        """What was reported since the last call."""
        self._collect()
        windows = WindowBatch.concatenate(self._gathered) if self._gathered else None
        counts = dict(zip(COUNTS, self._counts.tolist(), strict=True))
        observed = Observed(self._told, windows, self._refused, (), counts)
        self._counts[:] = 0
        self._empty_hands()
        return observed

    def _note_addresses(self) -> None:
        columns, fields = self.columns, self._walk.fields
        for name, dtype in _FIELDS.items():
            if name in columns.arrays:
                setattr(fields, name, address(columns.arrays[name], dtype))
        for name, field in _TOUCHED.items():
            setattr(fields, f"{name}_touched", address(columns.touched(field), np.uint8))
        fields.hot_touched = address(columns.touched_group(HOT), np.uint8)
        fields.blocks = len(columns.touched_group(HOT))
        self._last_wave = np.zeros(fields.blocks * BLOCK, np.int64)
        self._listed = np.empty(fields.blocks * BLOCK, np.int64)
        fields.last_wave, fields.listed = address(self._last_wave, np.int64), address(self._listed, np.int64)
        self._growths = columns.growths

    # --- rare cases of time -----------------------------------------------------------------------------------------

    def _begin(self, first_ms: int) -> None:
        """Time begins at the first reading that moves the clock."""
        self.closed = self.spec.grid.last_closed_tick(first_ms - self.spec.out_of_orderness_ms)
        for row in range(accumulator_rows(self.spec)):
            phase_a.clear(row, self._address)
        last = self.columns.flat("last_tick")[: self.columns.used]
        last[(last == NEVER) & (self.columns.flat("role")[: len(last)] != FUTURE)] = self.closed

    def _skip_gap(self) -> None:
        """The rest of a gap in which every series has been silent: nothing is emitted for it."""
        self._collect()
        columns, capacity, rows = self.columns, self.spec.ring_capacity, accumulator_rows(self.spec)
        closed, tick, offset = self.closed, int(self._walk.goal), int(self._walk.cause)
        last = columns.flat("last_tick")[: columns.used]
        index = np.flatnonzero((last < tick) & (last > NEVER) & (columns.flat("role")[: len(last)] != FUTURE))
        ring = columns.arrays["ring"]
        for skipped in range(max(closed, tick - capacity) + 1, tick + 1):
            ring[index >> 8, skipped % capacity, index & 255] = np.nan
            columns.touch("ring", index, skipped % capacity)
        columns.flat("last_tick")[index] = tick
        columns.touch_hot(index)
        # Rows of the ticks skipped become free; those of ticks that may still be corrected stay.
        for skipped in range(max(closed, tick - rows) + 1, tick + 1):
            phase_a.clear(skipped + self.spec.open_ticks + 1, self._address)
        self.closed = tick
        ticks, missing = np.full(len(index), tick), np.full(len(index), np.nan)
        offsets, none = np.full(len(index), offset), _NONE
        skipped_ = (index, ticks, missing, offsets, none, none, none, none, missing, tick, offset, WaveKind.SKIPPED)
        self._told.append(Wave(*skipped_))

    # --- what was told ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Move what was told out of the walk's buffers, so that there is room again."""
        walk = self._walk
        if walk.rejected_count:
            self._collect_rejected(walk.rejected_count)
        n, d, waves = walk.cell_count, walk.window_count, walk.wave_count
        told = np.empty(5 * n + 4 * d, np.int64)  # one piece of memory for one address
        cells, due = told[: 3 * n].reshape(3, n), told[5 * n :].reshape(4, d)
        values = told[3 * n : 5 * n].view(np.float64).reshape(2, n)
        arrays = self._window_arrays(d) if d else []
        out = _point(phase_a.Windows(), arrays) if d else None
        where = address(told, np.int64)
        phase_a.take(
            n, self._address, where, where + 24 * n, where + 40 * n, None if out is None else ctypes.addressof(out)
        )
        self._tell(self._waves[:waves].tolist(), cells, values, due)
        if d:
            windows, known, season, center, scale, level, readings, fill = arrays
            batch = WindowBatch(windows, known, season, due[1], center, scale, level, fill, readings)
            self._gathered.append(batch)
            self.due += d

    def _tell(self, table: list[list[int]], cells: IntArray, values: AnyArray, due: IntArray) -> None:
        """Cut arrays [., n] and [., d] into the waves of a table of phase_a.Wave."""
        at = first = 0
        for kind, closed, cause, count, turns, *_ in table:
            here, turn = slice(at, at + count), slice(first, first + turns)
            index, ticks, offsets = cells[:, here]
            value, change = values[:, here]
            positions, origins, revisions, settled = due[:, turn]
            said = (index, ticks, value, offsets, positions - at, origins, revisions, settled, change, closed, cause)
            self._told.append(Wave(*said, _KINDS[kind]))
            at, first = at + count, first + turns

    def _collect_rejected(self, count: int) -> None:
        assert self._placed is not None, "only readings are rejected"
        spec, positions = self.spec, self._placed.positions
        for at, verdict, amount in self._rejected[:count].tolist():
            if verdict == phase_a.TOO_LATE:
                reason, detail = "too_late", f"its step ended {amount} ms before the watermark; allowed: "
                detail += f"{spec.allowed_lateness} ms"
            else:
                reason = "timestamp_out_of_range"
                detail = f"{amount} steps ahead of the watermark; kept: {spec.known_ahead}"
            self._refused.append(Rejected(at if positions is None else int(positions[at]), reason, detail))

    def _window_arrays(self, rows: int) -> list[AnyArray]:
        """Of WindowBatch, in the order of phase_a.Windows."""
        spec, width = self.spec, 1 + self._covariates
        return [
            np.empty((rows, spec.context_length, width), np.float32),
            np.empty((rows, spec.horizon, len(spec.future_covariates)), np.float32),
            np.empty((rows, self.season), np.float32),
            np.empty((rows, width)),
            np.empty((rows, width)),
            np.empty(rows),
            np.empty(rows, np.int64),
            np.empty(rows, np.int8),
        ]


def _point(windows: phase_a.Windows, arrays: list[AnyArray]) -> phase_a.Windows:
    for (name, *_), array in zip(phase_a.Windows._fields_, arrays, strict=True):
        setattr(windows, name, address(array, array.dtype.type))
    return windows


def _settings(spec: StreamSpec) -> phase_a.Settings:
    midnights = spec.grid.midnights
    aggregates = {spec.aggregate, *(rule.aggregate for rule in spec.overrides)}
    empty = spec.empty or ("zero" if spec.is_demand else "missing")
    return phase_a.Settings(
        length=spec.context_length,
        horizon=spec.horizon,
        capacity=spec.ring_capacity,
        open_rows=accumulator_rows(spec),
        past=len(spec.past_covariates),
        future=len(spec.future_covariates),
        forecast_every=spec.forecast_every,
        min_readings=spec.min_readings,
        dormant_ticks=spec.dormant_ticks,
        open_ticks=spec.open_ticks,
        known_ahead=spec.known_ahead,
        report_ticks=spec.report_ticks,
        silence_ticks=FORGET_CHECK_TICKS,
        readings_per_step=spec.readings_per_step or 0,
        stamped="last" in aggregates,
        behind_ms=spec.out_of_orderness_ms,
        lateness_ms=spec.allowed_lateness,
        step_ms=spec.step_ms,
        midnights=None if midnights is None else address(midnights, np.int64),
        days=0 if midnights is None else len(midnights),
        empty=0.0 if empty == "zero" else np.nan,
        decay=half_life_decay(SCALER_HALF_LIVES * spec.context_length),
        level_decay=half_life_decay(spec.default_season),
    )


assert list(AGGREGATE_CODES.values()) == list(range(6)), "as in phase_a.h"
