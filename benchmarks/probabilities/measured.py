"""What is said of published forecasts: coverage by level and bucket, pinball, skill, bytes of state."""

from __future__ import annotations

import numpy as np

from benchmarks.probabilities.streamed import Rows, Served
from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.quantiles import Levels

NAIVE = ("seasonal naive", "last value")  # in the order of Served.baselines


def coverage_by_level(served: Served, mine: BoolArray | None = None) -> FloatArray:
    """float64 [K, Q]: share of actual values at or below each quantile, by bucket of the horizon, series pooled; of the
    forecasts `mine` [n] alone."""
    levels = Levels(served.spec)
    came = served.came if mine is None else served.came & mine[:, None]
    found = np.empty((len(levels.horizons), len(levels.levels)))
    for bucket in range(len(levels.horizons)):
        steps = levels.bucket == bucket
        below = served.below[:, steps][came[:, steps]]
        found[bucket] = [(below <= level).mean() for level in range(len(levels.levels))]
    return found


def coverage_error(served: Served) -> float:
    """Mean over levels × buckets of |coverage − level|."""
    return float(np.abs(coverage_by_level(served) - np.array(served.spec.quantile_levels)).mean())


def coverage_error_of_series(served: Served, count: int) -> float:
    """The same of each series alone, and of that the mean: none makes up for another."""
    levels = np.array(served.spec.quantile_levels)
    found = [coverage_by_level(served, mine) for mine in _by_series(served.series, count)]
    return float(np.mean([np.abs(each - levels).mean() for each in found]))


def mean_pinball(served: Served, spreads: FloatArray) -> float:
    """Over all forecasts and steps, each series in units of its own spread [S]."""
    came = served.came
    scaled = served.pinball / spreads[served.series][:, None]
    return float(scaled[came].mean())


def coverage_of_series(served: Served, count: int) -> FloatArray:
    """float64 [S]: coverage of the widest central interval, all steps."""
    covered, came = served.covered(), served.came
    return np.array([covered[mine].sum() / came[mine].sum() for mine in _by_series(served.series, count)])


def ratios(served: Served, counted: int, count: int) -> tuple[FloatArray, IntArray, FloatArray]:
    """([S] pinball / that of the better naive forecast, [S] which of the two, [K] the geometric mean by horizon).

    Pinball is the mean over the scored horizons; both naive forecasts have tracked intervals too.

    The better one is chosen on origins before row `counted` whose last target came before it too.
    """
    before = served.scored_origins + served.spec.horizon < counted
    after = served.scored_origins >= counted
    found, chosen = np.empty(count), np.empty(count, np.int64)
    by_horizon = np.empty((count, served.scored.shape[1]))
    for column, mine in enumerate(_by_series(served.scored_series, count)):
        chosen[column] = int(np.argmin(np.nanmean(served.baselines[mine & before], axis=(0, 1))))
        own = np.nanmean(served.scored[mine & after], axis=0)
        rival = np.nanmean(served.baselines[mine & after][:, :, chosen[column]], axis=0)
        found[column], by_horizon[column] = own.mean() / rival.mean(), own / rival
    return found, chosen, np.exp(np.log(by_horizon).mean(axis=0))


def against_points(rows: Rows, served: Served, counted: int, chosen: IntArray, season: int) -> FloatArray:
    """[S]: pinball / that of the chosen naive forecast as a mere point, half its absolute error; scored horizons."""
    horizons, found = np.array(served.spec.scored_horizons), np.empty(len(chosen))
    after = served.scored_origins >= counted
    for column, mine in enumerate(_by_series(served.scored_series, len(chosen))):
        origins = served.scored_origins[mine & after][:, None]
        back = -(-horizons // season) * season - horizons if NAIVE[chosen[column]] == "seasonal naive" else 0
        cells = rows.cells[:, column]
        point = np.abs(cells[origins + horizons] - cells[origins - back]) / 2
        found[column] = np.nanmean(served.scored[mine & after], axis=0).mean() / np.nanmean(point, axis=0).mean()
    return found


def _by_series(series: IntArray, count: int) -> list[BoolArray]:
    return [series == column for column in range(count)]
