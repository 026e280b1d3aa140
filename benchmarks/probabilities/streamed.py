"""A table of rows → the forecasts that a worker would have published, against what came.

The product's own steps (model_core/backtest.py: the same PartitionState and Predictor as in the worker): rows arrive
one after the other, so a forecast sees its origin and nothing later, and offsets learn from an actual value only when
its row has come. A model takes charge at one row; it was trained by `tidecast train`'s own code on the rows before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.backtest import steps
from model_core.bundle import Bundle, ModelFacts
from model_core.outcomes import Forecasts, Scored
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.quantiles import Levels
from model_core.readings import Readings
from model_core.spec import StreamSpec


@dataclass(frozen=True)
class Rows:
    """A table: one row a tick, one column a series; NaN where nothing came."""

    name: str
    series: tuple[str, ...]
    first_tick: int
    cells: FloatArray  # float64 [T, S]

    def readings(self, spec: StreamSpec) -> Readings:
        """Row by row, in the order of the columns."""
        at, column = np.nonzero(np.isfinite(self.cells))
        names = [self.series[c] for c in column.tolist()]
        return Readings(names, (at + self.first_tick) * spec.step_ms + 1, self.cells[at, column], np.arange(len(at)))


@dataclass
class Published:
    """n forecasts of origins that count, H steps each, and m of them scored at K horizons."""

    series: list[AnyArray] = field(default_factory=list)  # int64 [n]
    origins: list[AnyArray] = field(default_factory=list)  # int64 [n], rows
    below: list[AnyArray] = field(default_factory=list)  # uint8 [n, H], quantiles below the actual value
    upto: list[AnyArray] = field(default_factory=list)  # uint8 [n, H], quantiles below or equal; both 255: none came
    pinball: list[AnyArray] = field(default_factory=list)  # float32 [n, H]
    rungs: list[AnyArray] = field(default_factory=list)  # int8 [n]
    scored_series: list[AnyArray] = field(default_factory=list)  # int64 [m]
    scored_origins: list[AnyArray] = field(default_factory=list)
    scored: list[AnyArray] = field(default_factory=list)  # float64 [m, K]
    baselines: list[AnyArray] = field(default_factory=list)  # float64 [m, K, 2]


NOTHING_CAME = 255


@dataclass(frozen=True)
class Served:
    """The same, each in one array."""

    spec: StreamSpec
    series: IntArray
    origins: IntArray
    below: AnyArray
    upto: AnyArray
    pinball: AnyArray
    rungs: AnyArray
    scored_series: IntArray
    scored_origins: IntArray
    scored: FloatArray
    baselines: FloatArray

    @property
    def targets(self) -> IntArray:
        """int64 [n, H], rows."""
        return self.origins[:, None] + np.arange(1, self.spec.horizon + 1)

    @property
    def came(self) -> BoolArray:
        there: BoolArray = self.below != NOTHING_CAME
        return there

    def covered(self, interval: int = 0) -> BoolArray:
        """bool [n, H]: the actual value lies inside the central interval (0: the widest) or on its border."""
        low, high = Levels(self.spec).intervals[interval]
        inside: BoolArray = (self.upto > low) & (self.below <= high) & self.came
        return inside


def serve(
    rows: Rows,
    spec: StreamSpec,
    bundle: Bundle | None,
    *,
    in_charge: int,
    counted: int,
    facts: ModelFacts | None = None,
) -> Served:
    """The model is in charge from row `in_charge` on; forecasts whose origin is row `counted` or later are kept.

    Scores at the scored horizons are kept from the first row on: they say which naive forecast was better before.
    """
    spec = spec.model_copy(update={"accuracy": "records", "readings_per_step": 1})
    readings = rows.readings(spec)
    cut = int(np.searchsorted(readings.timestamps_ms, (in_charge + rows.first_tick) * spec.step_ms))
    state, kept = PartitionState(spec, 0), Published()
    before = Predictor(spec, None, device="cpu")
    index = {name: column for column, name in enumerate(rows.series)}
    actual = np.concatenate([rows.cells.astype(np.float32), np.full((spec.horizon, len(index)), np.nan, np.float32)])
    for part, predictor in ((readings.part(0, cut), before), (readings.part(cut, len(readings)), None)):
        if predictor is None:
            predictor = Predictor(spec, bundle, device="cpu")
            if bundle is not None:
                state.swap_model(facts or bundle.facts())
        for _, outcome in steps(state, part, predictor):
            _keep(kept, outcome.forecasts, index, rows.first_tick, counted, actual, np.array(spec.quantile_levels))
            if outcome.scored is not None:
                _keep_scores(kept, outcome.scored, index, rows.first_tick)
    return Served(spec, *(np.concatenate(parts) for parts in vars(kept).values()))


def _keep(
    kept: Published,
    made: Forecasts,
    index: dict[str, int],
    first_tick: int,
    counted: int,
    actual: FloatArray,
    levels: FloatArray,
) -> None:
    origins = made.origins - first_tick
    chosen = np.flatnonzero(origins >= counted)
    if not len(chosen):
        return
    origins, quantiles = origins[chosen], made.quantiles[chosen]  # [n], [n, Q, H]
    series = np.fromiter((index[made.series_ids[row]] for row in chosen.tolist()), np.int64, len(chosen))
    came = actual[origins[:, None] + np.arange(1, quantiles.shape[2] + 1), series[:, None]]  # [n, H]
    nothing = np.isnan(came)
    difference = came[:, None] - quantiles
    loss = np.maximum(levels[:, None] * difference, (levels[:, None] - 1) * difference).mean(axis=1)
    kept.series.append(series)
    kept.origins.append(origins)
    kept.below.append(np.where(nothing, NOTHING_CAME, (difference > 0).sum(axis=1)).astype(np.uint8))
    kept.upto.append(np.where(nothing, NOTHING_CAME, (difference >= 0).sum(axis=1)).astype(np.uint8))
    kept.pinball.append(loss.astype(np.float32))
    kept.rungs.append(made.rungs[chosen])


def _keep_scores(kept: Published, scored: Scored, index: dict[str, int], first_tick: int) -> None:
    kept.scored_series.append(np.array([index[name] for name in scored.series_ids], np.int64))
    kept.scored_origins.append(scored.origins - first_tick)
    kept.scored.append(scored.pinball)
    kept.baselines.append(scored.baselines)


def aliased(bundle: Bundle, names: dict[str, str]) -> ModelFacts:
    """The facts of a model for series that are altered copies: each has the residual table of its original."""
    facts = bundle.facts()
    tables = {copy: facts.series_base[name] for copy, name in names.items() if name in facts.series_base}
    return replace(facts, series_base=tables)
