"""Thresholds of the detectors, learned from a run of the model over its stream: so many false alarms a million ticks.

A Gaussian threshold is useless, because real residuals have heavy tails, and bad hours come together. Here the
residuals of the stream itself are drawn in blocks (moving-block bootstrap, Künsch 1989), and the detectors run over
them as they would in a worker, with the frozen unit: while a decision is under way the unit stays behind its series.

Errors measured by tables that were learned from those same errors have a median of zero in every series. Later errors
do not: a few weeks of history determine the median badly, and a CUSUM adds up the difference. So each part of the run
is measured by tables of the other parts (cross-fitting); where history is short or wanders, thresholds become higher.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray
from model_core.calibration import WINSOR as UNIT_WINSOR
from model_core.drift.cusum import DRIFT_SLACK, WINSOR
from model_core.drift.level_limits import learn_level
from model_core.drift.storm import STORM_SHARE_MIN
from model_core.grid import WEEK_MS
from model_core.ladder import Rung
from model_core.quantiles import Levels
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.residuals import Run, Tables

NEAR_MIN, FAR_MIN = 2_000, 400  # residuals from which a threshold is learned
PATHS, STEPS = 256, 4096
THRESHOLD_MIN, THRESHOLD_MAX, CANDIDATES = 1.0, 400.0, 16
FOLDS = 4  # parts of the run, each of which is held against the others
STORM_QUANTILE = 0.999
LEVEL_SHARE = 0.8  # of the false alarms: what stays of a change is seen there, mostly (decision 25)


@dataclass(frozen=True)
class Limits:
    """`far`, `level` None: too few residuals a horizon ahead, too few seasons to learn it."""

    near: float
    far: float | None
    level: float | None  # of what level_limits.py learns
    alarms_per_million: float  # of all of them, a million ticks of a series
    storm_share: float


@dataclass(frozen=True)
class Residuals:
    """Of n looks at S series, `every` ticks apart: in units of u, and by what u grew until the next look."""

    z: FloatArray  # float64 [n, S], NaN where there is none
    growth: FloatArray  # float64 [n, S]
    decay: float  # of u from look to look; 1: it is never frozen
    every: int
    season: int  # looks in a season, which an alarm rests


def learn_limits(
    done: Run,
    tables: Tables,
    spec: StreamSpec,
    season: int,
    windows: TrainingWindows,
    alarms_per_million: float,
    seed: int,
) -> Limits | None:
    """Levels get LEVEL_SHARE of the false alarms where they are watched, each CUSUM half of what they leave.

    `windows`: the history of which `done` is a run; `tables`: what was learned of all of it, and which series have
    their own.

    None with too few residuals, and of demand: there the CUSUM is of normal scores (settle.c), whatever the model.
    """
    if spec.is_demand:
        return None
    ids = windows.series_ids
    near, far = one_step(done, tables, spec, season, ids), ahead(done, tables, spec, season, ids)
    of_level = learn_level(windows, season, LEVEL_SHARE * alarms_per_million)
    share = (alarms_per_million - (of_level[1] if of_level else 0.0)) / 2
    rng = np.random.default_rng(seed)
    of_near = _threshold(near, share, NEAR_MIN, spec, rng)
    if of_near is None:
        return None
    of_far = _threshold(far, share, FAR_MIN, spec, rng) if far is not None else None
    rate = of_near[1] + sum(each[1] for each in (of_far, of_level) if each)
    return Limits(of_near[0], of_far and of_far[0], of_level and of_level[0], rate, storm_share(near, of_near[0]))


def one_step(done: Run, tables: Tables, spec: StreamSpec, season: int, series_ids: list[str]) -> Residuals:
    unit = done.units[:, :, Rung.MODEL]
    every = spec.forecast_every
    growth = np.ones_like(unit)
    growth[:-1] = unit[1:] / unit[:-1]
    scaled = done.residuals[:, :, Rung.MODEL, 0] / unit
    median, _ = _unseen(scaled, _have_own(done, tables, series_ids), spec)
    return Residuals(scaled - median, growth, 0.5 ** (every / season), every, -(-season // every))


def ahead(done: Run, tables: Tables, spec: StreamSpec, season: int, series_ids: list[str]) -> Residuals | None:
    """At every forecast whose span begins where the last one ended; the unit is that of the time at which it ends."""
    if spec.horizon == 1:
        return None
    stride = -(-spec.horizon // spec.forecast_every)
    unit = done.units[:, :, Rung.MODEL]
    later = unit[np.minimum(np.arange(len(unit)) + stride, len(unit) - 1)]
    scaled = done.residuals[:, :, Rung.MODEL, -1] / unit
    median, spread = _unseen(scaled, _have_own(done, tables, series_ids), spec)
    z = ((scaled - median) * unit / (later * spread))[::stride]
    looks = stride * spec.forecast_every
    return Residuals(z, np.ones_like(z), 1.0, looks, -(-season // looks))


def _have_own(done: Run, tables: Tables, series_ids: list[str]) -> BoolArray:
    """Whether each series of the run has a table of its own: bool [S]."""
    own = set(tables.series)
    return np.array([series_ids[column] in own for column in done.series.tolist()])


def _unseen(scaled: FloatArray, own: BoolArray, spec: StreamSpec) -> tuple[FloatArray, FloatArray]:
    """(median, spread), float64 [n, S] each, that residuals [n, S] in units of u are held against: those of the other
    parts of the run, from origins whose forecasts do not reach into this one. NaN where there are none."""
    levels, of_cohort, gap = Levels(spec), ~own, -(-spec.horizon // spec.forecast_every)
    median, spread = np.full(scaled.shape, np.nan), np.full(scaled.shape, np.nan)
    for first, last in pairwise(np.linspace(0, len(scaled), FOLDS + 1).astype(np.int64).tolist()):
        others = np.concatenate([scaled[: max(first - gap, 0)], scaled[last + gap :]])
        table = np.empty((scaled.shape[1], len(levels.levels)))
        table[of_cohort] = _quantiles(others, levels)
        for column in np.flatnonzero(own).tolist():
            table[column] = _quantiles(others[:, column], levels)
        median[first:last] = table[:, spec.quantile_levels.index(0.5)]
        spread[first:last] = levels.spread(table)[:, 0]
    return median, spread


def _quantiles(cells: FloatArray, levels: Levels) -> AnyArray:
    cells = cells[np.isfinite(cells)]
    return np.quantile(cells, levels.levels) if len(cells) else np.full(len(levels.levels), np.nan)


def storm_share(near: Residuals, threshold: float) -> float:
    """What the share of distinct series that alarm within a season hardly ever exceeded: STORM_QUANTILE of the time."""
    alarms = run_cusum(near.z, near.growth, near, np.array([threshold]))[1]
    newest = np.full(alarms.shape[1], -(2**40))
    shares = np.zeros(len(alarms))
    for row, alarmed in enumerate(alarms):
        newest[alarmed] = row
        shares[row] = (newest > row - near.season).mean()
    return max(STORM_SHARE_MIN, float(np.quantile(shares, STORM_QUANTILE)))


# --- thresholds -----------------------------------------------------------------------------------------------------


def _threshold(
    of: Residuals, alarms_per_million: float, least: int, spec: StreamSpec, rng: np.random.Generator
) -> tuple[float, float] | None:
    """(h, false alarms a million ticks at h) for the smallest h that keeps to the rate."""
    week = WEEK_MS // spec.freq // of.every
    block = max(2, min(max(of.season, week), len(of.z) // 4))
    columns = [column for column in range(of.z.shape[1]) if np.isfinite(of.z[:, column]).sum() >= 2 * block]
    if np.isfinite(of.z[:, columns]).sum() < least:
        return None
    z, growth = _bootstrap(of, columns, block, rng)
    low, high = THRESHOLD_MIN, THRESHOLD_MAX
    best = (high, 0.0)
    for _ in range(2):  # between two candidates of the first round lies the second
        candidates = np.geomspace(low, high, CANDIDATES)
        alarms, _ = run_cusum(z, growth, of, candidates)
        rates = alarms / (z.size * of.every) * 1e6
        kept = np.flatnonzero(rates <= alarms_per_million)
        if len(kept):
            at = int(kept[0])
            best = float(candidates[at]), float(rates[at])
            low, high = float(candidates[max(at - 1, 0)]), best[0]
    return best


def _bootstrap(of: Residuals, columns: list[int], block: int, rng: np.random.Generator) -> tuple[AnyArray, AnyArray]:
    """float64 [steps, paths] z and growth: blocks of looks, each path from one series, drawn with replacement."""
    blocks = -(-STEPS // block)
    paths = [columns[path % len(columns)] for path in rng.permutation(max(PATHS, len(columns)))[:PATHS]]
    starts = rng.integers(0, len(of.z) - block + 1, (blocks, PATHS))
    rows = (starts[:, None, :] + np.arange(block)[None, :, None]).reshape(-1, PATHS)
    return of.z[rows, paths], of.growth[rows, paths]


def run_cusum(z: AnyArray, growth: AnyArray, of: Residuals, thresholds: FloatArray) -> tuple[AnyArray, BoolArray]:
    """Both sides over z [n, P], NaN passed over: (alarms of each of T thresholds [T], where the first of them alarms
    [n, P]). `behind`: the unit that counts over the one that the series has by now."""
    shape, h = (len(thresholds), z.shape[1]), thresholds[:, None]
    up, down, behind = np.zeros(shape), np.zeros(shape), np.ones(shape)
    resting, alarms = np.zeros(shape, np.int64), np.zeros(len(thresholds), np.int64)
    first = np.zeros(z.shape, np.bool_)
    there, z = np.isfinite(z), np.nan_to_num(z)
    for row in range(len(z)):
        size = np.clip(z[row] / behind, -WINSOR, WINSOR)
        frozen = np.maximum(up, down) > h / 2
        looks = (resting <= 0) & there[row]
        up = np.where(looks, np.maximum(0.0, up + size - DRIFT_SLACK), up)
        down = np.where(looks, np.maximum(0.0, down - size - DRIFT_SLACK), down)
        alarm = looks & (np.maximum(up, down) > h)
        if of.decay < 1.0:
            learned = behind**2 + (1.0 - of.decay) * (np.minimum(np.abs(z[row]), UNIT_WINSOR * behind) ** 2 - behind**2)
            learns = there[row] & ~frozen
            behind = np.where(learns, np.sqrt(learned), behind) / growth[row]
        resting -= 1
        if alarm.any():
            alarms += alarm.sum(axis=1)
            first[row] = alarm[0]
            up[alarm], down[alarm], resting[alarm] = 0.0, 0.0, of.season
    return alarms, first
