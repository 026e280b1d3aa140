"""A model's errors: every rung run over a span of origins, residuals in units of u, and the tables made of them.

Units, quantiles and pinball are those of the worker (compiled/settle.c, issue.c), without what it learns online.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.bundle import ModelFacts
from model_core.calibration import UNIT_FLOOR
from model_core.calibration import WINSOR as UNIT_WINSOR
from model_core.ladder import TRACKED_RUNGS, Rung
from model_core.models.intermittent import fine_levels
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows

RUN_CELLS_MAX = 12_000_000  # origins × series × horizons of one run; beyond, series are left out evenly
WARM_SEASONS = 2  # seasons for which units learn before the first origin that counts
CHUNK_ROWS = 4096
OWN_TABLE_MIN = 500  # residuals of a series from which it gets quantiles of its own


@dataclass(frozen=True)
class Run:
    """Every rung's forecasts at n origins of S series against what came. H horizons."""

    series: IntArray  # int64 [S], series of the windows
    targets: FloatArray  # float64 [n, S, H], NaN where missing
    residuals: FloatArray  # float64 [n, S, 3, H], actual − location, NaN where there is none
    units: FloatArray  # float64 [n, S, 3], u as it stands at each origin
    # float32 [n, S, H, Q], the model's own quantiles of demand (models/intermittent.py), NaN where tables count; None:
    # everywhere
    own: FloatArray | None = None

    def part(self, first: int, last: int) -> "Run":
        cut = slice(first, last)
        own = None if self.own is None else self.own[cut]
        return Run(self.series, self.targets[cut], self.residuals[cut], self.units[cut], own)

    def where(self, there: BoolArray) -> "Run":
        """The same without the errors at which not there [n, S, H]."""
        residuals = np.where(there[:, :, None], self.residuals, np.nan)
        return Run(self.series, self.targets, residuals, self.units, self.own)

    def by_table(self, spec: StreamSpec) -> FloatArray:
        """The residuals without those of the model that tables have nothing to do with; of demand, those of the
        continuous value (compiled/demand.h), at places drawn with a fixed seed."""
        if not spec.is_demand:
            return self.residuals
        residuals = self.residuals - lowered(self.targets, spec, 0)[:, :, None] * width_below(self.units, spec)
        if self.own is None:
            return residuals
        residuals[:, :, Rung.MODEL][np.isfinite(self.own[..., 0])] = np.nan
        return residuals

    def __add__(self, other: "Run") -> "Run":
        assert np.array_equal(self.series, other.series), "runs of different series are not one run"
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("targets", "residuals", "units"))
        assert (self.own is None) == (other.own is None), "runs of one model are one run"
        own = None if self.own is None or other.own is None else np.concatenate([self.own, other.own])
        targets, residuals, units = (np.concatenate(pair) for pair in pairs)
        return Run(self.series, targets, residuals, units, own)


def lowered(targets: FloatArray, spec: StreamSpec, seed: int) -> FloatArray:
    """float64, as `targets`: how far below itself a value of demand stands, in widths. A count anywhere within one, a
    sum only where it is zero (compiled/demand.h)."""
    drawn = np.random.default_rng(seed).random(targets.shape)
    return drawn if spec.aggregate == "count" else np.where(targets <= 0, drawn, 0.0)


def width_below(units: FloatArray, spec: StreamSpec) -> FloatArray:
    """float64 […, 1], of units […]: one of a count, a unit of a sum."""
    return np.ones((*units.shape, 1)) if spec.aggregate == "count" else units[..., None]


def run_origins(spec: StreamSpec, windows: TrainingWindows, first: int, last: int) -> IntArray:
    """Rows in [first, last) at which the worker would forecast."""
    rows = np.arange(first, last)
    return rows[(rows + windows.first_tick) % spec.forecast_every == 0]


def run_series(windows: TrainingWindows, rows: int) -> IntArray:
    """As many series, evenly spread, as a run over that many rows may hold: int64 [S]."""
    origins = -(-(rows + WARM_SEASONS * windows.spec.longest_season) // windows.spec.forecast_every)
    fit = max(1, RUN_CELLS_MAX // max(1, origins * windows.spec.horizon))
    if windows.spec.is_demand:  # beside each residual its quantiles are kept
        fit = max(1, fit // (1 + len(windows.spec.quantile_levels) // 2))
    return np.unique(np.linspace(0, len(windows) - 1, min(fit, len(windows))).round().astype(np.int64))


def run(
    windows: TrainingWindows,
    predictor: Predictor,
    season: int,
    first: int,
    last: int,
    series: IntArray | None = None,
    *,
    stride: int = 1,
) -> Run:
    """Forecasts of `series` [S] at every `stride`-th origin of rows [first, last); the units have been learning before.

    Runs that are added or compared are of the same series: whoever begins asks `run_series`, once.
    """
    series = run_series(windows, last - first) if series is None else series
    before = run_origins(windows.spec, windows, max(first - WARM_SEASONS * season, windows.first_origin()), first)
    origins = np.concatenate([before[::stride], run_origins(windows.spec, windows, first, last)[::stride]])
    horizon = windows.spec.horizon
    residuals = np.empty((len(origins), len(series), TRACKED_RUNGS, horizon))
    targets = np.empty((len(origins), len(series), horizon))
    told = np.searchsorted(fine_levels(windows.spec.quantile_levels), np.array(windows.spec.quantile_levels))
    own: FloatArray | None = None
    step = max(1, CHUNK_ROWS // len(series))
    for start in range(0, len(origins), step):
        rows = origins[start : start + step]
        of_series, at = np.tile(series, len(rows)), np.repeat(rows, len(series))
        raw = predictor.raw(windows.batch(of_series, at, season))
        actual = windows.targets(of_series, at)
        targets[start : start + step] = actual.reshape(len(rows), len(series), -1)
        error = actual[:, None] - raw.locations
        residuals[start : start + step] = error.reshape(len(rows), len(series), TRACKED_RUNGS, -1)
        if raw.own is not None:
            if own is None:
                own = np.full((*targets.shape, len(told)), np.nan, np.float32)
            own[start : start + step] = raw.own[:, :, told].reshape(len(rows), len(series), horizon, -1)
    floor = UNIT_FLOOR * windows.spreads()[series]
    units = _units(residuals[..., 0], 0.5 ** (windows.spec.forecast_every * stride / season), floor)
    kept = int(np.searchsorted(origins, first))
    return Run(series, targets[kept:], residuals[kept:], units[kept:], None if own is None else own[kept:])


def _units(one_step: FloatArray, decay: float, floor: FloatArray) -> FloatArray:
    """One-step residuals [n, S, 3] in the order of origins → units [n, S, 3] as they stand before each is known."""
    square, updates = np.zeros(one_step.shape[1:]), np.zeros(one_step.shape[1:])
    units = np.empty_like(one_step)
    least = np.maximum(floor, 1e-9)[:, None]
    for row, residual in enumerate(one_step):
        units[row] = np.sqrt(square)
        there = np.isfinite(residual)
        learned, counted = update_unit(square, updates, np.where(there, residual, 0.0), decay, least)
        square, updates = np.where(there, learned, square), np.where(there, counted, updates)
    return np.maximum(units, least)


def update_unit(
    square: FloatArray, updates: FloatArray, residual: FloatArray, decay: float, floor: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Exponentially weighted mean square of one-step residuals, innovations winsorised at 8 units.

    All arrays of one shape; `updates` counts them so that the first ones average plainly. `floor` is the smallest unit:
    a series that stood still so long that its unit is nothing must be able to move again. Returns both, updated.
    """
    unit = np.maximum(np.sqrt(square), floor)
    size = np.where(updates >= 1, np.minimum(np.abs(residual), UNIT_WINSOR * unit), np.abs(residual))
    gain = np.maximum(1.0 - decay, 1.0 / (updates + 1.0))
    return square + gain * (size * size - square), updates + 1.0


# --- quantiles ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tables:
    """Residual quantiles in units of u, of the cohort and of single series, for each rung.

    The worker gets single series' tables for the model only; with all of them the naive forecasts are judged fairly.
    """

    base: FloatArray  # float64 [3, H, Q]
    series: tuple[str, ...]  # N series ids
    own: FloatArray  # float64 [N, 3, H, Q]

    def of(self, series_ids: list[str]) -> FloatArray:
        """float64 [S, 3, H, Q], of each of these series its own where there is one."""
        tables = np.repeat(self.base[None], len(series_ids), axis=0)
        rows = {name: row for row, name in enumerate(self.series)}
        for position, name in enumerate(series_ids):
            if name in rows:
                tables[position] = self.own[rows[name]]
        return tables

    @classmethod
    def of_facts(cls, facts: ModelFacts) -> "Tables":
        own = np.repeat(facts.base[None], len(facts.series_tables), axis=0)
        own[:, Rung.MODEL] = facts.series_tables
        return cls(facts.base, tuple(facts.series_base), own)


def learn_tables(done: Run, spec: StreamSpec, series_ids: list[str]) -> Tables:
    """Quantiles of the run's residuals; a rung or horizon without any keeps the Gaussian ones.

    The cohort learns nothing of a series that stood still: its residuals are what rounding leaves, in units of that.
    """
    levels = np.array(spec.quantile_levels)
    base, residuals = ModelFacts.none(spec).base, done.by_table(spec)
    moved = (np.nan_to_num(done.residuals[:, :, Rung.LAST_VALUE]) != 0).any(axis=(0, 2))  # [S]
    for rung in range(TRACKED_RUNGS):
        scaled = residuals[:, moved, rung] / done.units[:, moved, rung, None]  # [n, s, H]
        for h in range(spec.horizon):
            cells = scaled[:, :, h]
            cells = cells[np.isfinite(cells)]
            if len(cells) >= len(levels):
                base[rung, h] = np.quantile(cells, levels)
    scaled = residuals / done.units[..., None]  # [n, S, 3, H]
    enough = np.isfinite(scaled[:, :, Rung.MODEL]).sum(axis=0).min(axis=1) >= OWN_TABLE_MIN  # [S]
    own = np.flatnonzero(enough)
    tables = np.repeat(base[None], len(own), axis=0)
    for row, column in enumerate(own.tolist()):
        for rung in range(TRACKED_RUNGS):
            cells = scaled[:, column, rung]  # [n, H]
            cells = cells[np.isfinite(cells).all(axis=1)]
            if len(cells) >= OWN_TABLE_MIN // 2:
                tables[row, rung] = np.quantile(cells, levels, axis=0).T
    return Tables(base, tuple(series_ids[done.series[column]] for column in own), tables)
