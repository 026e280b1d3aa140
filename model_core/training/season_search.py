"""Which season a stream has, if any: calendar candidates and hints, judged on cycles that were held out."""

import warnings
from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, FloatArray
from model_core.grid import DAY_MS, WEEK_MS
from model_core.spec import StreamSpec

CYCLES_MIN = 3
GAIN_MIN = 0.05  # by which the seasonal naive forecast must beat the last value
HELD_OUT_CYCLES = 2
HORIZONS_MAX = 48  # horizons the comparison looks at, spread evenly


@dataclass(frozen=True)
class SeasonSearch:
    """The answer. `gains`: ticks of a candidate → 1 − MAE(seasonal naive) / MAE(last value), averaged over series."""

    ticks: int  # the season in force; the stream's default when none was found
    found: bool
    gains: dict[int, float]


def candidates(spec: StreamSpec) -> list[int]:
    """A day, a week and the hints, in ticks: those that the ring can hold."""
    calendar = [period // spec.step_ms for period in (DAY_MS, WEEK_MS) if period % spec.step_ms == 0]
    return sorted({c for c in (*calendar, *spec.season_ticks) if 2 <= c <= spec.longest_season})


def find_season(cells: FloatArray, spec: StreamSpec) -> SeasonSearch:
    """cells float32 [S, ticks]. The candidate that gains most over the last value on its newest cycles, from 5 % on."""
    gains = {}
    for season in candidates(spec):
        if cells.shape[1] >= CYCLES_MIN * season + spec.horizon:
            gains[season] = _gain(cells.astype(np.float64), season, spec.horizon)
    best = max(gains, key=lambda season: gains[season], default=None)
    if best is None or gains[best] < GAIN_MIN:
        return SeasonSearch(spec.default_season, False, gains)
    return SeasonSearch(best, True, gains)


def _gain(cells: AnyArray, season: int, horizon: int) -> float:
    horizons = np.unique(np.linspace(1, horizon, min(horizon, HORIZONS_MAX)).round().astype(int))
    held_out = min(max(HELD_OUT_CYCLES * season, 2 * horizon), cells.shape[1] - season - horizon)
    origins = np.arange(cells.shape[1] - held_out, cells.shape[1] - horizon)
    naive, last = [], []
    for h in horizons.tolist():
        actual = cells[:, origins + h]
        wraps = -(-h // season)
        seasonal, newest = cells[:, origins + h - wraps * season], cells[:, origins]
        both = np.isfinite(actual) & np.isfinite(seasonal) & np.isfinite(newest)
        naive.append(_mean(np.abs(actual - seasonal), both))
        last.append(_mean(np.abs(actual - newest), both))
    seasonal_error, last_error = _column_mean(naive), _column_mean(last)
    judged = np.isfinite(seasonal_error) & np.isfinite(last_error) & (last_error > 0)
    if not judged.any():
        return 0.0
    return float(1.0 - (seasonal_error[judged] / last_error[judged]).mean())


def _mean(values: AnyArray, where: AnyArray) -> AnyArray:
    """Mean of each row over the cells that count, NaN where none does."""
    count = where.sum(axis=1)
    total = np.where(where, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _column_mean(rows: list[AnyArray]) -> AnyArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a series without any pair is NaN, and passed over
        return np.nanmean(np.array(rows), axis=0)
