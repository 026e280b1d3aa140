"""Calibration: each rung's unit and quantile offsets, learned from delayed actual values, one series a column.

Every (origin, scored horizon) is learned exactly once, when its target tick is settled, from the issue that counts.
A series without history starts from its partition's cohort offsets, which move only when the watermark closes a tick,
so that the order of series within a tick does not matter.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.bundle import ModelFacts
from model_core.columns import Columns, Field
from model_core.ladder import TRACKED_RUNGS, Rung
from model_core.quantiles import Levels, place
from model_core.spec import StreamSpec

OFFSET_MAX = 5.0
WINSOR = 8.0
UNIT_FLOOR = 1e-3  # of the scaler's standard deviation
BORROWED_UPDATES = 20.0  # how many updates a unit taken over from another rung counts for
_SQUARE, _UPDATES = 0, 1


def calibration_fields(spec: StreamSpec) -> tuple[Field, ...]:
    buckets, levels = len(spec.scored_horizons), len(spec.quantile_levels)
    return (
        Field("offsets", np.float32, inner=(TRACKED_RUNGS, buckets, levels)),
        Field("unit", np.float64, inner=(TRACKED_RUNGS, 2)),
        Field("unit_floor", np.float64),
        Field("calibrated", np.int8),
        Field("base_row", np.int32, fill=-1),
    )


def update_unit(
    square: AnyArray, updates: AnyArray, residual: AnyArray, decay: float, floor: AnyArray
) -> tuple[FloatArray, FloatArray]:
    """Exponentially weighted mean square of one-step residuals, innovations winsorised at 8 units.

    All arrays of one shape; `updates` counts them so that the first ones average plainly. `floor` is the smallest unit:
    a series that stood still so long that its unit is nothing must be able to move again. Returns both, updated.
    """
    unit = np.maximum(np.sqrt(square), floor)
    size = np.where(updates >= 1, np.minimum(np.abs(residual), WINSOR * unit), np.abs(residual))
    gain = np.maximum(1.0 - decay, 1.0 / (updates + 1.0))
    return square + gain * (size * size - square), updates + 1.0


@dataclass
class Cohort:
    """Offsets of the partition as a whole, and what the tick that is still open adds to them."""

    offsets: FloatArray  # float64 [3, K, Q]
    above: IntArray  # int64 [3, K, Q], actual values above the quantile since the last close
    counted: IntArray  # int64 [3, K, Q]
    closed: int


class Calibration:
    """Reads and learns units and offsets. `facts` are those of the model in charge."""

    def __init__(self, spec: StreamSpec, columns: Columns, levels: Levels, facts: ModelFacts) -> None:
        self._columns = columns
        self._levels = levels
        self._rate = spec.calibration_rate
        self._every = spec.forecast_every
        shape = (TRACKED_RUNGS, len(levels.horizons), len(levels.levels))
        self.cohort = Cohort(np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64), 0)
        self._untrained = ModelFacts.none(spec).base  # [3, H, Q]
        self._take_facts(facts)

    def _take_facts(self, facts: ModelFacts) -> None:
        self._facts = facts
        self.decay = float(0.5 ** (self._every / facts.season))
        # The naive rungs stay on the tables that their offsets were learned over, whoever the model is: residuals
        # pooled over unlike series fit none of them, and offsets over another base would be offsets to nothing.
        base = self._untrained.copy()
        base[Rung.MODEL] = facts.base[Rung.MODEL]
        # One stack of tables: the rungs' cohort tables, then those of single series for the model.
        self._tables = np.concatenate([base, facts.series_tables])  # [3 + N, H, Q]
        self._scored = self._tables[:, self._levels.horizons - 1]  # [3 + N, K, Q]
        self._spread = self._levels.spread(self._tables)  # [3 + N, H, 1]
        self._scored_spread = self._levels.spread(self._scored)  # [3 + N, K, 1]

    def swap(self, facts: ModelFacts) -> None:
        """Another model takes charge: its tables count, its offsets start at zero, the naive rungs keep theirs."""
        changed = facts.version != self._facts.version
        self._take_facts(facts)
        if changed:
            self._columns.flat("offsets")[:, Rung.MODEL] = 0
            for totals in (self.cohort.offsets, self.cohort.above, self.cohort.counted):
                totals[Rung.MODEL] = 0
        rows = self._columns.flat("base_row")
        rows[:] = -1
        for series_id, row in facts.series_base.items():
            column = self._columns.index.get(series_id)
            if column is not None:
                rows[column] = row
        self._columns.touch_hot(np.arange(self._columns.used))

    # --- issuing ----------------------------------------------------------------------------------------------------

    def prepare(self, index: IntArray, scale: FloatArray) -> FloatArray:
        """Units [d, 3] of columns about to be forecast; new ones get the cohort's offsets. `scale` float64 [d]."""
        flat = self._columns.flat
        fresh = index[flat("calibrated")[index] == 0]
        if len(fresh):
            flat("offsets")[fresh] = self.cohort.offsets
            flat("calibrated")[fresh] = 1
            for column in fresh.tolist():
                flat("base_row")[column] = self._facts.series_base.get(self._columns.ids[column] or "", -1)
        floor = np.maximum(UNIT_FLOOR * scale, 1e-9)
        flat("unit_floor")[index] = floor
        state = flat("unit")[index]  # [d, 3, 2]
        self._borrow(index, state)
        unit = np.where(state[..., _UPDATES] > 0, np.sqrt(state[..., _SQUARE]), 0.5 * scale[:, None])
        self._columns.touch_hot(index)
        return np.maximum(unit, floor[:, None])

    def _borrow(self, index: IntArray, state: AnyArray) -> None:
        """A model without residuals of its own starts with the unit of the last value's."""
        wanting = (state[:, Rung.MODEL, _UPDATES] == 0) & (state[:, Rung.LAST_VALUE, _UPDATES] > 0)
        if self._facts.version is not None and wanting.any():
            lent = state[wanting, Rung.LAST_VALUE]
            lent[:, _UPDATES] = np.minimum(lent[:, _UPDATES], BORROWED_UPDATES)
            state[wanting, Rung.MODEL] = lent
            self._columns.flat("unit")[index] = state

    def scored_quantiles(self, index: IntArray, rows: IntArray, locations: AnyArray, unit: AnyArray) -> FloatArray:
        """Quantiles of every tracked rung at the scored horizons: locations [d, 3, H] → float64 [d, K, 3, Q].

        `rows` [d or 1, 3] as `table_rows` gives them, here and below.
        """
        tables = self._scored[rows] + self._scored_spread[rows] * self._columns.flat("offsets")[index]  # [d, 3, K, Q]
        at = locations[:, :, self._levels.horizons - 1]
        bounds = self._columns.flat("bounds")[index][:, None, None, :]
        return place(at, unit[:, :, None], tables, bounds).transpose(0, 2, 1, 3)

    def full_quantiles(
        self, index: IntArray, rows: IntArray, rungs: IntArray, location: AnyArray, unit: AnyArray
    ) -> FloatArray:
        """Quantiles of the rung that answers at every horizon: location [d, H], unit [d] → float64 [d, H, Q]."""
        own = np.broadcast_to(rows, (len(index), TRACKED_RUNGS))[np.arange(len(index)), rungs]
        if (own == own[:1]).all():
            own = own[:1]  # one table for all
        offsets = self._columns.flat("offsets")[index, rungs]  # [d, K, Q]
        tables = self._tables[own] + self._spread[own] * offsets[:, self._levels.bucket]
        return place(location, unit[:, None], tables, self._columns.flat("bounds")[index][:, None, :])

    def table_rows(self, index: IntArray) -> IntArray:
        """Which residual tables count for each rung of these columns: int64 [n, 3]; [1, 3] where all have the same."""
        own = self._columns.flat("base_row")[index]
        if (own < 0).all():
            return np.arange(TRACKED_RUNGS)[None]
        rows = np.tile(np.arange(TRACKED_RUNGS), (len(index), 1))
        rows[:, Rung.MODEL] = np.where(own >= 0, TRACKED_RUNGS + own, Rung.MODEL)
        return rows

    # --- learning ---------------------------------------------------------------------------------------------------

    def learn(
        self,
        index: IntArray,
        actual: AnyArray,
        issued: AnyArray,
        valid: BoolArray,
        frozen: BoolArray,
        horizons: IntArray | None = None,
    ) -> None:
        """Actual values [n] against what was issued for them [n, K, 3, Q], where valid [n, K, 3].

        `frozen` [n, 3]: the unit keeps its value while drift is being decided. `horizons` [K]: positions among the
        scored ones, rising; all of them when absent.
        """
        flat, cohort = self._columns.flat, self.cohort
        bounds = flat("bounds")[index][:, None, None, :].astype(np.float32)  # as `issued` is: 0.1 is not 0.1 there
        y = actual[:, None, None, None]
        above = y > issued
        # Equal is no evidence; a quantile held at a bound must not wind up behind it.
        counts = valid[..., None] & (y != issued)
        counts &= ~((issued <= bounds[..., :1]) & ~above) & ~((issued >= bounds[..., 1:]) & above)
        which = np.arange(issued.shape[1]) if horizons is None else horizons
        self._learn_offsets(index, which, above, counts, valid)
        cohort.above[:, which] += (above & counts).sum(axis=0).transpose(1, 0, 2)
        cohort.counted[:, which] += counts.sum(axis=0).transpose(1, 0, 2)
        if which[0] == 0:
            self._learn_units(index, actual, issued[:, 0, :, self._levels.median], valid[:, 0] & ~frozen)
        self._columns.touch_hot(index)

    def _learn_offsets(
        self, index: IntArray, horizons: IntArray, above: BoolArray, counts: BoolArray, valid: BoolArray
    ) -> None:
        """At scored horizons [K]: above and counts [n, K, 3, Q], valid [n, K, 3]."""
        offsets = self._columns.flat("offsets")
        step = np.where(counts, self._rate * (above - (1.0 - self._levels.levels)), 0.0)
        before = offsets[index[:, None], :, horizons]  # [n, K, 3, Q]
        table = self.table_rows(index)[:, None], horizons[:, None]  # [n or 1, K, 3] together
        after = _rising(
            np.clip(before + step, -OFFSET_MAX, OFFSET_MAX), self._scored[table], self._scored_spread[table]
        )
        offsets[index[:, None], :, horizons] = np.where(valid[..., None], after, before)

    def _learn_units(self, index: IntArray, actual: AnyArray, points: AnyArray, valid: BoolArray) -> None:
        """One-step points [n, 3] of the rungs."""
        state = self._columns.flat("unit")[index]
        residual = np.where(valid, actual[:, None] - points, 0.0)
        square, updates = update_unit(
            state[..., _SQUARE],
            state[..., _UPDATES],
            residual,
            self.decay,
            self._columns.flat("unit_floor")[index, None],
        )
        state[..., _SQUARE] = np.where(valid, square, state[..., _SQUARE])
        state[..., _UPDATES] = np.where(valid, updates, state[..., _UPDATES])
        self._columns.flat("unit")[index] = state

    def close(self, tick: int) -> None:
        """The watermark closed `tick`: the cohort takes what was learned since the last one."""
        cohort = self.cohort
        if tick <= cohort.closed:
            return
        cohort.closed = tick
        if not cohort.counted.any():
            return
        share = cohort.above / np.maximum(cohort.counted, 1)
        step = np.where(cohort.counted > 0, self._rate * (share - (1.0 - self._levels.levels)), 0.0)
        offsets = np.clip(cohort.offsets + step, -OFFSET_MAX, OFFSET_MAX)
        cohort.offsets[...] = _rising(offsets, self._scored[:TRACKED_RUNGS], self._scored_spread[:TRACKED_RUNGS])
        cohort.above[...] = 0
        cohort.counted[...] = 0

    # --- snapshot of what is not in columns -------------------------------------------------------------------------

    def snapshot(self) -> dict[str, object]:
        cohort = self.cohort
        return {
            "offsets": cohort.offsets.tolist(),
            "above": cohort.above.tolist(),
            "counted": cohort.counted.tolist(),
            "closed": cohort.closed,
        }

    def restore(self, snapshot: dict[str, object]) -> None:
        closed = snapshot["closed"]
        assert isinstance(closed, int), "a tick"
        self.cohort = Cohort(
            np.array(snapshot["offsets"], np.float64),
            np.array(snapshot["above"], np.int64),
            np.array(snapshot["counted"], np.int64),
            closed,
        )


def _rising(offsets: AnyArray, base: AnyArray, spread: AnyArray) -> AnyArray:
    """Project offsets […, Q] so that the quantiles they make over base […, Q], spread […, 1] rise with the level."""
    tables = base + spread * offsets
    falls = (tables[..., 1:] < tables[..., :-1]).any(axis=-1, keepdims=True)
    if not falls.any():
        return offsets
    # Only what falls is touched: what a series gets must not depend on who settles with it.
    return np.where(falls, (np.sort(tables, axis=-1) - base) / spread, offsets)
