"""Calibration: the unit and the quantile offsets of each rung, learned from delayed actual values, one column a series.

Every (origin, scored horizon) is learned exactly once, when its target tick is settled, from the issue that counts. A
series without history starts from the offsets of its partition's cohort, which move only when the watermark closes a
tick, so that the order of series within a tick does not matter. compiled/settle.c learns, compiled/issue.c makes
quantiles. This module holds what they use: the tables of the model in charge, and the cohort.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.bundle import ModelFacts
from model_core.columns import Columns, Field
from model_core.ladder import ISSUING, TRACKED_RUNGS, Rung
from model_core.quantiles import Levels
from model_core.scoring import SCORED
from model_core.settlement_kernel import SettlementKernel
from model_core.shadow_offsets import ShadowOffsets
from model_core.spec import StreamSpec

WINSOR = 8.0  # of a unit's innovations, in units
TOTAL_RATIO_MAX, TOTAL_TICKS = 2.0, 3.0  # as in compiled/demand.h
UNIT_FLOOR = 1e-3  # of the scaler's standard deviation


def calibration_fields(spec: StreamSpec) -> tuple[Field, ...]:
    buckets, levels = len(spec.scored_horizons), len(spec.quantile_levels)
    return (
        Field("offsets", np.float32, inner=(TRACKED_RUNGS, buckets, levels), group=SCORED),
        Field("unit", np.float64, inner=(TRACKED_RUNGS, 2), group=SCORED),  # mean square of residuals, updates
        Field("unit_floor", np.float64, group=ISSUING),
        Field("calibrated", np.int8, group=ISSUING),
        Field("base_row", np.int32, fill=-1, group=ISSUING),  # of the series' own table; -1: the cohort's
        *((Field("seed", np.int64, group=ISSUING),) if spec.is_demand else ()),  # of compiled/demand.h
    )


def seed_of(series_id: str) -> int:
    """int64 that is the same in every deployment."""
    return int.from_bytes(hashlib.sha256(series_id.encode()).digest()[:8], "little", signed=True)


@dataclass(frozen=True)
class Cohort:
    """Offsets of the partition as a whole, and what the tick that is still open will add to them."""

    offsets: FloatArray  # float64 [3, K, Q]
    above: IntArray  # int64 [3, K, Q], actual values above the quantile since the last close
    counted: IntArray  # int64 [3, K, Q]
    totals: FloatArray  # float64 [K, 5], of demand: compiled/demand.h

    def corrections(self) -> FloatArray:
        """float64 [K]: by what factor means of demand were too small, as far as that is known."""
        actual, mean, ticks = self.totals[:, 0], self.totals[:, 1], self.totals[:, 2]
        known = (actual > 0) & (mean > 0)
        ratio = np.clip(actual / np.where(known, mean, 1.0), 1 / TOTAL_RATIO_MAX, TOTAL_RATIO_MAX)
        return np.where(known, 1.0 + (ratio - 1.0) * ticks / (ticks + TOTAL_TICKS), 1.0)


class Calibration:
    """`facts` are those of the model in charge; `kernel` gets its tables and the cohort."""

    def __init__(
        self, spec: StreamSpec, columns: Columns, levels: Levels, facts: ModelFacts, kernel: SettlementKernel
    ) -> None:
        self._columns = columns
        self._levels = levels
        self._every, self._is_demand = spec.forecast_every, spec.is_demand
        self._kernel = kernel
        shape = (TRACKED_RUNGS, len(levels.horizons), len(levels.levels))
        totals = np.zeros((len(levels.horizons), 5))
        self.cohort = Cohort(np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64), totals)
        self.closed = 0  # newest tick whose evidence is in the cohort's offsets
        self._untrained = ModelFacts.none(spec).base  # [3, H, Q]
        kernel.take_cohort(self.cohort.offsets, self.cohort.above, self.cohort.counted, totals)
        self._take_facts(facts)

    def _take_facts(self, facts: ModelFacts) -> None:
        self._facts = facts
        # The naive rungs stay on the tables over which their offsets were learned, whatever the model: residuals
        # pooled over unlike series fit none of them, and offsets mean nothing over another base.
        base = self._untrained.copy()
        base[Rung.MODEL] = facts.base[Rung.MODEL]
        # One stack of tables: the rungs' cohort tables, then those of single series for the model.
        tables = np.concatenate([base, facts.series_tables])  # [3 + N, H, Q]
        scored = np.ascontiguousarray(tables[:, self._levels.horizons - 1])  # [3 + N, K, Q]
        self._kernel.take_model(
            facts,
            float(0.5 ** (self._every / facts.season)),
            tables,
            scored,
            *map(self._levels.spread, (tables, scored)),
        )

    def swap(self, facts: ModelFacts, taken: ShadowOffsets | None = None) -> None:
        """Another model takes charge with its own tables. Its offsets are those that it learned in the shadow, or zero;
        the naive rungs keep theirs."""
        changed = facts.version != self._facts.version
        self._take_facts(facts)
        if changed:
            self.begin(facts)
            if taken is not None:
                self._take_over(taken)
        else:
            self._find_tables(facts)

    def begin(self, facts: ModelFacts) -> None:
        """Nothing is known yet about the model's errors."""
        self._columns.flat("offsets")[:, Rung.MODEL] = 0
        self._columns.touch_hot(np.arange(self._columns.used), SCORED)
        for totals in (self.cohort.offsets, self.cohort.above, self.cohort.counted):
            totals[Rung.MODEL] = 0
        self.cohort.totals[:] = 0
        self._find_tables(facts)

    def _find_tables(self, facts: ModelFacts) -> None:
        """Find the series that have a table of their own in the model."""
        rows = self._columns.flat("base_row")
        rows[:] = -1
        for series_id, row in facts.series_base.items():
            column = self._columns.index.get(series_id)
            if column is not None:
                rows[column] = row
        self._columns.touch_hot(np.arange(self._columns.used), ISSUING)

    def _take_over(self, taken: ShadowOffsets) -> None:
        """Series that were not in the shadow begin with the cohort's offsets of the shadow, as new series do."""
        offsets, unit = self._columns.flat("offsets"), self._columns.flat("unit")
        self.cohort.offsets[Rung.MODEL] = taken.cohort
        # Of a model of demand the cohort's levels count beside the series' own.
        offsets[: self._columns.used, Rung.MODEL] = 0.0 if self._is_demand else taken.cohort
        index = self._columns.index
        rows = [row for row, name in enumerate(taken.series) if name in index]
        columns = [index[taken.series[row]] for row in rows]
        offsets[columns, Rung.MODEL] = taken.offsets[rows]
        unit[columns, Rung.MODEL] = taken.unit[rows]

    def meet(self, index: IntArray) -> None:
        """Columns about to be forecast: new ones may have a table of their own, and those of demand get a seed."""
        if not (self._facts.series_base or self._is_demand):
            return
        flat = self._columns.flat
        for column in index[flat("calibrated")[index] == 0].tolist():
            name = self._columns.ids[column] or ""
            flat("base_row")[column] = self._facts.series_base.get(name, -1)
            if self._is_demand:
                flat("seed")[column] = seed_of(name)

    def close(self, tick: int) -> None:
        """The watermark closed `tick`: the cohort takes what was learned since the last one."""
        if tick > self.closed:
            self.closed = tick
            self._kernel.close_cohort()

    # --- snapshot of what is not in columns -------------------------------------------------------------------------

    def snapshot(self) -> dict[str, object]:
        return {name: array.tolist() for name, array in vars(self.cohort).items()} | {"closed": self.closed}

    def restore(self, snapshot: dict[str, object]) -> None:
        closed = snapshot["closed"]
        assert isinstance(closed, int), "a tick"
        for name, array in vars(self.cohort).items():
            if name in snapshot:  # older states have no totals
                array[...] = snapshot[name]
        self.closed = closed
        # A model whose files are gone has only the cohort's table; its series get their own back when it is back.
        if self._columns.flat("base_row").max(initial=-1) >= len(self._facts.series_tables):
            self._find_tables(self._facts)
