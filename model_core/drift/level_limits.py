"""The threshold of level.py, learned from the levels of the stream's own history: so many false alarms a million ticks.

A level wanders by itself, for days and for months, so drawing blocks of it at random gives nothing like it. Instead the
detector runs over the history as it came, and every alarm there counts as false. If there are fewer than FEW alarms,
their number is extrapolated: far out, the peaks of a CUSUM thin out exponentially (Siegmund 1985).

A few alarms, or many within a few weeks, say little about how many will come next. So the upper end of what they may
mean is compared with the rate, not their number (`doubt`): a short history gets a higher threshold than a long one.
"""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.calibration import UNIT_FLOOR
from model_core.drift.level import SEASONS_MIN, SLACK, SLOW_SEASONS, THRESHOLD_MIN, WINSOR, decay
from model_core.gate.interval import t_quantile
from model_core.training.dataset import TrainingWindows

JUDGED_MIN = 400  # seasons of all series that are judged, from which a threshold is learned
SERIES_MAX = 256
THRESHOLDS = np.geomspace(THRESHOLD_MIN, 100.0, 48)
FEW, MANY = 4, 40  # alarms between which the tail is fitted
CONFIDENCE = 0.8  # that the rate is not higher
# Alarms halve with every 2 · THRESHOLD_MIN at least: levels that did change alarm at any threshold, which says nothing.
SLOPE_MAX = -float(np.log(2.0)) / (2 * THRESHOLD_MIN)


def learn_level(windows: TrainingWindows, season: int, alarms_per_million: float) -> tuple[float, float] | None:
    """(h, false alarms a million ticks at h), None with too few seasons."""
    some = np.unique(np.linspace(0, len(windows) - 1, min(SERIES_MAX, len(windows))).round().astype(np.int64))
    cells = windows.target_cells()[some].T
    means = season_means(cells, windows.first_tick, season)
    judged = int(np.maximum(np.isfinite(means).sum(axis=0) - SEASONS_MIN, 0).sum())
    if judged < JUDGED_MIN:
        return None
    alarms = run_level(means, UNIT_FLOOR * windows.spreads()[some], THRESHOLDS)
    number, ticks = alarms.sum(axis=(1, 2)), judged * season
    near = int(np.argmin(number > max(alarms_per_million * ticks / 1e6, FEW)))
    return threshold_for(number, ticks, alarms_per_million / doubt(alarms[near, SEASONS_MIN:]))


def doubt(alarms: BoolArray) -> float:
    """How many times as many alarms as these [n, P] are possible, with CONFIDENCE.

    Levels of all series wander together, and for weeks: what is independent are blocks of a half-life of the reference.
    Their mean is off by its standard error (Student); that of none is taken as that of a single one.
    """
    blocks = max(2, round(len(alarms) / SLOW_SEASONS))
    each = np.array([block.sum() for block in np.array_split(alarms, blocks)], np.float64)
    error = each.std(ddof=1) / np.sqrt(blocks) / each.mean() if each.any() else 1.0
    return 1.0 + t_quantile(CONFIDENCE, blocks - 1) * float(error)


def season_means(cells: AnyArray, first_tick: int, season: int) -> FloatArray:
    """[ticks, P] → float64 [seasons, P], NaN where less than half of a season is there; the last one is not over."""
    number = (first_tick + np.arange(len(cells))) // season
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    there = np.isfinite(cells)
    count = np.add.reduceat(there, starts, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(there, cells, 0.0), starts, axis=0, dtype=np.float64)
    return np.where(2 * count >= season, total / np.maximum(count, 1), np.nan)[:-1]


def run_level(means: FloatArray, floor: FloatArray, thresholds: FloatArray) -> AnyArray:
    """level_step of compiled/level.h over means [n, P] with T thresholds: where they alarm, bool [T, n, P]."""
    shape, h, keep = (len(thresholds), means.shape[1]), thresholds[:, None], decay()
    reference, square, seasons = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    up, down = np.zeros(shape), np.zeros(shape)
    alarms = np.zeros((len(thresholds), *means.shape), np.bool_)
    for row, mean in enumerate(means):
        there = np.isfinite(mean)
        off = np.where(there, mean, 0.0) - reference
        unit = np.maximum(np.sqrt(square), floor)
        judges = there & (seasons >= SEASONS_MIN)
        learns = there & ~(judges & (np.maximum(up, down) > h / 2))
        z = np.clip(off / np.where(unit > 0, unit, np.inf), -WINSOR, WINSOR)
        up = np.where(judges & (unit > 0), np.maximum(0.0, up + z - SLACK), up)
        down = np.where(judges & (unit > 0), np.maximum(0.0, down - z - SLACK), down)
        alarm = judges & (np.maximum(up, down) > h)
        alarms[:, row] = alarm
        learned = np.where(judges, np.clip(off, -WINSOR * unit, WINSOR * unit), off)
        share = np.maximum(1.0 - keep, 1.0 / np.maximum(seasons, 1.0))
        square = np.where(learns & (seasons > 0), square + share * (learned**2 - square), square)
        reference += np.where(learns, np.maximum(1.0 - keep, 1.0 / (seasons + 1.0)) * learned, 0.0)
        seasons += learns
        up[alarm], down[alarm], seasons[alarm] = 0.0, 0.0, 0.0
    return alarms


def threshold_for(alarms: IntArray, ticks: int, alarms_per_million: float) -> tuple[float, float]:
    """(h, alarms a million at h) from the alarms [T] at THRESHOLDS in so many ticks: as many as asked for, at most."""
    wanted = alarms_per_million * ticks / 1e6
    enough = np.flatnonzero(alarms <= max(wanted, FEW))
    if not len(enough):
        return float(THRESHOLDS[-1]), float(alarms[-1] / ticks * 1e6)
    at = int(enough[0])
    if wanted >= FEW or alarms[at] <= wanted:
        return float(THRESHOLDS[at]), float(alarms[at] / ticks * 1e6)
    tail = (alarms >= FEW) & (alarms <= MANY)
    slope = SLOPE_MAX
    if tail.sum() >= 2:
        slope = min(slope, float(np.polyfit(THRESHOLDS[tail], np.log(alarms[tail]), 1)[0]))
    beyond = float(np.log(alarms[at] / wanted) / -slope)
    return min(float(THRESHOLDS[at]) + beyond, float(THRESHOLDS[-1])), alarms_per_million
