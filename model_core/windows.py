"""Windows: the ring of settled ticks and the accumulators of cells that may still change.

Ring rows are addressed by tick (tick mod capacity), so that regular series stay aligned whenever they started.
Accumulator rows are addressed by tick too; a row is cleared when the watermark lets a new tick into it.
"""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.batches import FILL_CODES, WindowBatch
from model_core.columns import BLOCK, Columns, Field
from model_core.scaler import read_scaler
from model_core.spec import StreamSpec
from model_core.spots import Spots

_LARGEST = float(np.finfo(np.float32).max)
_DENSE = 8  # one column in so many must be asked for, before whole blocks are looked at
NEVER = np.iinfo(np.int64).min // 4  # a tick before all others, with room to subtract from
AGGREGATE_CODES = {"mean": 0, "sum": 1, "last": 2, "min": 3, "max": 4, "count": 5}
ROLE_CODES = {"target": 0, "past": 1, "future": 2}
_MEAN, _SUM, _LAST, _MIN, _MAX, _COUNT = range(6)


def window_fields(spec: StreamSpec) -> tuple[Field, ...]:
    """Arrays of this module for one stream."""
    covariates = len(spec.past_covariates) + len(spec.future_covariates)
    rows = accumulator_rows(spec)
    return (
        Field("ring", np.float32, rows=spec.ring_capacity, fill=np.nan, ahead=True),
        Field("open_count", np.int32, rows=rows),
        Field("open_value", np.float64, rows=rows),
        Field("open_stamp", np.int64, rows=rows, fill=NEVER),
        Field("last_tick", np.int64, fill=NEVER),  # newest settled tick; of a future covariate the newest known one
        Field("first_tick", np.int64, fill=NEVER),  # NEVER: nothing settled yet
        Field("last_seen", np.int64, fill=NEVER),  # newest tick with a reading
        Field("observed", np.int64),  # observed cells so far
        Field("newest_origin", np.int64, fill=NEVER),
        Field("revision", np.int64),
        Field("aggregate", np.int8),
        Field("fill", np.int8),
        Field("role", np.int8),
        Field("bounds", np.float64, inner=(2,)),
        *((Field("covariates", np.int32, inner=(covariates,), fill=-1),) if covariates else ()),
    )


def accumulator_rows(spec: StreamSpec) -> int:
    """One row for each tick that may be open or corrected, and one beyond, so that a look ahead finds it empty."""
    return spec.open_ticks + spec.late_ticks + 2


class Windows:
    """Reads and writes the ring and the accumulators of one partition's columns."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self._columns = columns
        self._length = spec.context_length
        self._horizon = spec.horizon
        self._capacity = spec.ring_capacity
        self._rows = accumulator_rows(spec)
        self._future = len(spec.future_covariates)
        self._covariates = len(spec.past_covariates) + self._future
        self._context = np.arange(1 - spec.context_length, 1, dtype=np.int64)
        self._ahead = np.arange(1, spec.horizon + 1, dtype=np.int64)
        self._uniform = None if any(rule.aggregate for rule in spec.overrides) else AGGREGATE_CODES[spec.aggregate]
        # Only `last` asks when a reading was made.
        stamped = self._uniform in (None, _LAST)
        self._open = (("open_count", 0), ("open_value", 0.0), *((("open_stamp", NEVER),) if stamped else ()))

    # --- accumulators -----------------------------------------------------------------------------------------------

    def clear_open(self, tick: int) -> None:
        """The row of `tick` becomes free for it, in every column."""
        row = tick % self._rows
        for name, fill in self._open:
            self._columns.arrays[name][:, row] = fill
            self._columns.touch_rows(name, row)

    def clear_all_open(self) -> None:
        for row in range(self._rows):
            self.clear_open(row)

    def counts(self, index: IntArray, ticks: IntArray) -> AnyArray:
        """Readings so far in cells (index, ticks): int32 [n]."""
        return self._columns.arrays["open_count"][index >> 8, ticks % self._rows, index & 255]

    def accumulate(self, index: IntArray, ticks: IntArray, values: FloatArray, stamps: IntArray) -> None:
        """Add readings [n] to their open cells, one after the other in the order given."""
        arrays = self._columns.arrays
        rows = ticks % self._rows
        cells = ((index >> 8) * self._rows + rows) * BLOCK + (index & 255)
        counts, totals = arrays["open_count"].reshape(-1), arrays["open_value"].reshape(-1)
        if self._uniform is not None:
            self._combine(self._uniform, cells, counts, totals, values, stamps)
        else:
            codes = self._columns.flat("aggregate")[index]
            for code in np.unique(codes).tolist():
                of = codes == code
                self._combine(code, cells[of], counts, totals, values[of], stamps[of])
        np.add.at(counts, cells, 1)
        for name, _ in self._open:
            self._columns.touch(name, index, rows)

    def untouched(self, spots: Spots) -> BoolArray:
        """Cells without a reading, in their tick and in the one after it: bool [n]."""
        counts = self._columns.arrays["open_count"].reshape(-1)
        return (counts.take(spots.places(self._rows)) | counts.take(spots.places(self._rows, 1))) == 0

    def hold_single(self, spots: Spots, values: FloatArray, stamps: IntArray) -> FloatArray:
        """Readings [n] of cells that had none, for corrections to come; returns what the cells are worth.

        Leaves what `accumulate` leaves, for the aggregates that may have `readings_per_step`.
        """
        arrays, places = self._columns.arrays, spots.places(self._rows)
        codes = self._columns.flat("aggregate")[spots.at] if self._uniform is None else self._uniform
        if self._uniform is None:
            values = np.where(np.equal(codes, _MEAN), values + 0.0, values)
        elif self._uniform == _MEAN:
            values = values + 0.0  # a sum that began at 0.0 is never -0.0
        arrays["open_count"].reshape(-1)[places] = 1
        arrays["open_value"].reshape(-1)[places] = values
        if self._uniform is None:
            last = np.equal(codes, _LAST)
            arrays["open_stamp"].reshape(-1)[places[last]] = stamps[last]
        elif self._uniform == _LAST:
            arrays["open_stamp"].reshape(-1)[places] = stamps
        for name, _ in self._open:
            spots.touch(self._columns, name)
        return np.minimum(np.maximum(values, -_LARGEST), _LARGEST)

    def _combine(
        self, code: int, cells: IntArray, counts: AnyArray, totals: AnyArray, values: FloatArray, stamps: IntArray
    ) -> None:
        if code in (_MEAN, _SUM):
            np.add.at(totals, cells, values)
        elif code == _LAST:
            latest = self._columns.arrays["open_stamp"].reshape(-1)
            # Of equal cells the last in (stamp, log order) wins: assignment keeps the last of repeated indices.
            order = np.lexsort((stamps, cells))
            cells, stamps, values = cells[order], stamps[order], values[order]
            last = np.append(cells[1:] != cells[:-1], True)
            cells, stamps, values = cells[last], stamps[last], values[last]
            newer = stamps >= latest[cells]
            latest[cells[newer]], totals[cells[newer]] = stamps[newer], values[newer]
        elif code in (_MIN, _MAX):
            totals[cells[counts[cells] == 0]] = np.inf if code == _MIN else -np.inf
            (np.minimum if code == _MIN else np.maximum).at(totals, cells, values)

    def combined(self, spots: Spots, empty_value: float) -> tuple[FloatArray, BoolArray]:
        """Value of the cells, float64 [n], `empty_value` where there was no reading; and where there was one."""
        places = spots.places(self._rows)
        counts = self._columns.arrays["open_count"].reshape(-1).take(places)
        values = self._columns.arrays["open_value"].reshape(-1).take(places)
        if self._uniform is None or self._uniform in (_MEAN, _COUNT):
            codes: AnyArray | int = self._uniform or 0
            if self._uniform is None:
                codes = self._columns.flat("aggregate")[spots.at]
            values = np.where(np.equal(codes, _MEAN), values / np.maximum(counts, 1), values)
            values = np.where(np.equal(codes, _COUNT), counts, values)
        # What float32 cannot hold would be infinite in the ring, and finite in the scaler: hold the largest in both.
        read = counts > 0
        return np.where(read, np.clip(values, -_LARGEST, _LARGEST), empty_value), read

    # --- the ring ---------------------------------------------------------------------------------------------------

    def put(self, spots: Spots, values: FloatArray) -> None:
        """Write cells [n] into the ring."""
        self._columns.arrays["ring"].reshape(-1)[spots.places(self._capacity)] = values
        spots.touch(self._columns, "ring")

    def back(self, spots: Spots, ticks: int) -> AnyArray:
        """float32 [n] of the ring: the cells so many ticks before these."""
        return self._columns.arrays["ring"].reshape(-1).take(spots.places(self._capacity, -ticks))

    def _put(self, index: IntArray, ticks: IntArray, values: FloatArray) -> None:
        rows = ticks % self._capacity
        self._columns.arrays["ring"][index >> 8, rows, index & 255] = values
        self._columns.touch("ring", index, rows)

    def erase(self, index: IntArray) -> None:
        """Forget every cell of these columns: nothing that was in the ring is near enough any more."""
        self._columns.arrays["ring"][index >> 8, :, index & 255] = np.nan
        for block in np.unique(index >> 8).tolist():
            self._columns.touch("ring", np.array([block * BLOCK]), np.arange(self._capacity))

    def put_known(self, column: int, tick: int, value: float) -> None:
        """A future covariate's cell: the newest value wins; cells skipped on the way are unknown."""
        last = self._columns.flat("last_tick")
        index = np.array([column])
        if tick > last[column]:
            if tick - last[column] >= self._capacity:
                self.erase(index)
            else:
                skipped = np.arange(last[column] + 1, tick)
                self._put(np.full(len(skipped), column), skipped, np.full(len(skipped), np.nan))
            last[column] = tick
            self._columns.touch_hot(index)
        elif tick <= last[column] - self._capacity:
            return
        self._put(index, np.array([tick]), np.array([value]))

    # --- gathering --------------------------------------------------------------------------------------------------

    def gather(self, index: IntArray, origins: IntArray, season: int) -> WindowBatch:
        """Windows of the columns `index` [d] as they stand, each up to its origin [d]."""
        columns = self._columns
        length, covariates = self._length, self._covariates
        windows = np.empty((len(index), length, 1 + covariates), np.float32)
        recent = self._recent(index, origins, max(length, season))
        windows[:, :, 0] = recent[:, -length:]
        center, scale, level = read_scaler(columns, index)
        known = np.empty((len(index), self._horizon, self._future), np.float32)
        if covariates:
            partners = columns.flat("covariates")[index].astype(np.int64)  # [d, C]
            for position in range(covariates):
                partner = partners[:, position]
                windows[:, :, 1 + position] = self._visible(partner, origins[:, None] + self._context)
                if position >= covariates - self._future:
                    target = position - (covariates - self._future)
                    known[:, :, target] = self._visible(partner, origins[:, None] + self._ahead)
            means, spreads, _ = read_scaler(columns, partners)
            center = np.concatenate([center[:, None], means], axis=1)
            scale = np.concatenate([scale[:, None], spreads], axis=1)
        else:
            center, scale = center[:, None], scale[:, None]
        return WindowBatch(
            windows=windows,
            known=known,
            season=recent[:, -season:],
            origins=origins,
            center=center,
            scale=scale,
            level=level,
            fill=columns.flat("fill")[index],
            readings=columns.flat("observed")[index],
        )

    def _recent(self, index: IntArray, origins: IntArray, count: int) -> AnyArray:
        """float32 [d, count]: the newest cells of each column up to its origin [d]."""
        first, last = int(index.min()) // BLOCK, int(index.max()) // BLOCK + 1
        if (origins != origins[0]).any() or len(index) * _DENSE < (last - first) * BLOCK:
            return self._span(index, origins[:, None] + np.arange(1 - count, 1))
        # One origin: rows of whole blocks are turned into columns, which is many times faster than cell by cell.
        ring, done = self._columns.arrays["ring"], 0
        turned = np.empty((last - first, BLOCK, count), np.float32)
        while done < count:
            row = (int(origins[0]) + 1 - count + done) % self._capacity
            rows = min(count - done, self._capacity - row)
            turned[:, :, done : done + rows] = ring[first:last, row : row + rows].transpose(0, 2, 1)
            done += rows
        return turned.reshape(-1, count)[index - first * BLOCK]

    def _span(self, index: IntArray, ticks: IntArray) -> AnyArray:
        """float32 [d, n]: cells of each column at its row of ticks [d, n]."""
        base = (index >> 8) * (self._capacity * BLOCK) + (index & 255)
        rows = ticks % self._capacity
        return self._columns.arrays["ring"].reshape(-1)[base[:, None] + rows * BLOCK]

    def _visible(self, index: IntArray, ticks: IntArray) -> FloatArray:
        """Like `_span` for covariates: NaN for columns that do not exist and for ticks the ring does not hold."""
        safe = np.maximum(index, 0)
        last = self._columns.flat("last_tick")[safe][:, None]
        held: BoolArray = (index[:, None] >= 0) & (ticks <= last) & (ticks > last - self._capacity)
        return np.where(held, self._span(safe, ticks), np.nan)


def column_settings(spec: StreamSpec, series_id: str) -> tuple[int, int, int, float, float]:
    """(aggregate, fill, role, lower, upper) of a new series, its override applied; infinite where unbounded."""
    rule = spec.override_of(series_id)
    aggregate = (rule and rule.aggregate) or spec.aggregate
    demand = aggregate in ("sum", "count")
    fill = (rule and rule.fill) or spec.fill or ("zero" if demand else "forward")
    lower = rule.lower_bound if rule and rule.lower_bound is not None else spec.lower_bound
    upper = rule.upper_bound if rule and rule.upper_bound is not None else spec.upper_bound
    role = spec.role(spec.split(series_id)[1])
    return (
        AGGREGATE_CODES[aggregate],
        FILL_CODES[fill],
        ROLE_CODES.get(role, -1),
        (0.0 if demand else -np.inf) if lower is None else lower,
        np.inf if upper is None else upper,
    )
