"""Candidate and rival at the same origins, on the targets that both have answered.

The rival is the champion, or without one the naive forecasts: in each series the one that did better before. Quantiles
are those of the tables alone, without what the worker learns online, on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.ladder import Rung
from model_core.predictor import Predictor
from model_core.quantiles import Levels, pinball, place
from model_core.training.dataset import TrainingWindows
from model_core.training.demand import published
from model_core.training.residuals import Run, Tables, lowered, run, width_below

WORST_KEPT = 6  # series whose worst forecast is kept for the report
RATIO_ORIGINS_MIN = 200  # scored origins from which a series' ratio says something
PART_CELLS = 500_000  # quantiles that are looked at together
NAIVE = (Rung.SEASONAL_NAIVE, Rung.LAST_VALUE)


@dataclass(frozen=True)
class Contender:
    """A model as it would serve. `season` in ticks."""

    predictor: Predictor
    season: int
    tables: Tables


@dataclass(frozen=True)
class Worst:
    """The forecast of a series that lost the most against the rival's."""

    series: int
    row: int  # of the duel
    ratio: float  # of the whole series' losses
    actual: FloatArray  # float64 [H]
    candidate: FloatArray  # float64 [H, Q]
    rival: FloatArray  # float64 [H, Q]


@dataclass(frozen=True)
class Duel:
    """n origins, S series, K buckets of horizons."""

    series: IntArray  # int64 [S], of the windows
    candidate: FloatArray  # float64 [n, S], pinball, mean over levels and horizons; NaN where not both answered
    rival: FloatArray  # float64 [n, S]
    # Of series that move: an interval around a constant is a point, and rounding decides.
    inside: FloatArray  # float64 [2, n, K], targets within the widest central interval: candidate, rival
    counted: FloatArray  # float64 [n, K], targets
    worst: tuple[Worst, ...]  # worst first

    def ratios(self) -> FloatArray:
        """float64 [S], candidate's loss / rival's, NaN with fewer than RATIO_ORIGINS_MIN scored origins."""
        scored = np.isfinite(self.candidate).sum(axis=0)
        mine, theirs = (np.nansum(losses, axis=0) for losses in (self.candidate, self.rival))
        known = (scored >= RATIO_ORIGINS_MIN) & (theirs > 0)
        return np.where(known, mine / np.where(known, theirs, 1.0), np.nan)


def against_champion(
    late: Run, tables: Tables, champion: Contender, windows: TrainingWindows, served: Run, moving: BoolArray
) -> Duel:
    """`late`: the candidate over the slices; `served`: the champion over the same; `moving` bool [S]."""
    return _duel(late, tables, windows, moving, _Model(served, champion.tables, windows))


def against_naive(late: Run, tables: Tables, windows: TrainingWindows, errors: Run, moving: BoolArray) -> Duel:
    """`errors`: the run before the slices, which tells each series' better naive forecast and how far off it is."""
    return _duel(late, tables, windows, moving, _Naive(errors, late, windows))


def run_over(
    windows: TrainingWindows, contender: Contender, span: tuple[int, int], series: IntArray, stride: int = 1
) -> Run:
    """A contender's forecasts at every `stride`-th origin of rows `span`."""
    return run(windows, contender.predictor, contender.season, *span, series, stride=stride)


class _Model:
    """Quantiles of a model's run."""

    def __init__(self, done: Run, tables: Tables, windows: TrainingWindows) -> None:
        self._done, self._bounds, self._spec = done, windows.bounds[done.series], windows.spec
        self._tables = tables.of([windows.series_ids[s] for s in done.series.tolist()])[:, Rung.MODEL]  # [S, H, Q]

    def quantiles(self, some: slice) -> FloatArray:
        """float64 [n, s, H, Q] of some of its series; NaN without an answer."""
        done = self._done
        location = done.targets[:, some] - done.residuals[:, some, Rung.MODEL]
        unit = done.units[:, some, Rung.MODEL, None]
        bounds = self._bounds[some, None]
        if not self._spec.is_demand:
            return place(location, unit, self._tables[some], bounds)
        lower, width = bounds[..., :1], self.width(some)[..., None]  # [s, 1, 1], [n, s, 1, 1]
        upper = np.broadcast_to(bounds[..., 1:], width.shape)
        by_table = place(location, unit, self._tables[some], np.concatenate([lower - width, upper], axis=-1))
        if done.own is None:
            return by_table
        own = done.own[:, some].astype(np.float64)
        return np.where(np.isfinite(own), np.where(own < 0, lower + own * width, own), by_table)

    def width(self, some: slice) -> FloatArray:
        """float64 [n, s, 1], how far below its lowest value demand may stand."""
        return width_below(self._done.units[:, some, Rung.MODEL], self._spec)


class _Naive:
    """Quantiles of the naive forecasts from their own errors in the run before.

    In units of the series, not of u: the one-step error of a last value says little about its later ones (a sensor of
    coarse steps has none for hours), and a rival must not be weakened by that.
    """

    def __init__(self, errors: Run, late: Run, windows: TrainingWindows) -> None:
        self._late, self._levels = late, np.array(windows.spec.quantile_levels)
        self._widths = np.ones((len(NAIVE), errors.targets.shape[1]))  # in which zeros stand below themselves
        if windows.spec.aggregate == "sum":
            self._widths[:] = [errors.units[:, :, rung].mean(axis=0) for rung in NAIVE]
        below = lowered(errors.targets, windows.spec, 0) if windows.spec.is_demand else None
        series, horizon = late.targets.shape[1:]
        self._tables = np.full((len(NAIVE), series, horizon, len(self._levels)), np.nan)
        before = np.full((len(NAIVE), series), np.inf)  # pinball then
        for row, rung in enumerate(NAIVE):
            for column in range(series):
                known = errors.residuals[:, column, rung]
                if below is not None:
                    known = known - below[:, column] * self._widths[row, column]
                known = known[np.isfinite(known).all(axis=1)]
                if len(known):
                    table = self._tables[row, column] = np.quantile(known, self._levels, axis=0).T
                    before[row, column] = pinball(known, table, self._levels).mean()
        self._better = before.argmin(axis=0)  # int64 [S]

    def quantiles(self, some: slice) -> FloatArray:
        """float64 [n, s, H, Q] of the one that did better in each series."""
        return np.where(self._better[some, None, None] == 0, self.of(0, some), self.of(1, some))

    def of(self, row: int, some: slice) -> FloatArray:
        """float64 [n, s, H, Q] of NAIVE[row]."""
        location = self._late.targets[:, some] - self._late.residuals[:, some, NAIVE[row]]
        return location[..., None] + self._tables[row, some]

    def width(self, some: slice) -> FloatArray:
        """float64 [1, s, 1], how far below its lowest value demand may stand."""
        return self._widths[self._better[some], np.arange(len(self._better))[some]][None, :, None]


def naive_losses(late: Run, errors: Run, windows: TrainingWindows, judged: BoolArray) -> FloatArray:
    """float64 [2, S], mean pinball of both naive forecasts at the origins [n, S] that are judged; for people."""
    naive, levels = _Naive(errors, late, windows), np.array(windows.spec.quantile_levels)
    losses = np.full((len(NAIVE), len(late.series)), np.nan)
    for some in _parts(late, len(levels)):
        for row in range(len(NAIVE)):
            quantiles = naive.of(row, some)
            if windows.spec.is_demand:
                quantiles = published(quantiles, windows.spec)
            loss = pinball(late.targets[:, some], quantiles, levels)
            there = np.isfinite(loss) & judged[:, some, None]
            losses[row, some] = _mean(loss, there, (0, 2))
    return losses


def _duel(late: Run, tables: Tables, windows: TrainingWindows, moving: BoolArray, rival: _Model | _Naive) -> Duel:
    levels = Levels(windows.spec)
    sides = (_Model(late, tables, windows), rival)
    n, series, horizon = late.targets.shape
    losses = np.full((2, n, series), np.nan)
    inside, counted = np.zeros((2, n, horizon)), np.zeros((n, horizon))
    worst: list[Worst] = []
    for some in _parts(late, len(levels.levels)):
        actual = late.targets[:, some]
        both = [side.quantiles(some) for side in sides]  # [n, s, H, Q] each
        below = lowered(actual, windows.spec, some.start) if windows.spec.is_demand else None
        there = np.isfinite(actual) & np.isfinite(both[0][..., 0]) & np.isfinite(both[1][..., 0])
        for side, quantiles in enumerate(both):
            # Of demand where an actual value stands is drawn by its place (compiled/demand.h).
            stands = actual if below is None else actual - below * sides[side].width(some)
            for low, high in levels.intervals[:1]:
                within = (quantiles[..., low] <= stands) & (stands <= quantiles[..., high])
                inside[side] += (within & there)[:, moving[some]].sum(axis=1)
        if windows.spec.is_demand:
            both = [np.where(np.isfinite(quantiles), published(quantiles, windows.spec), np.nan) for quantiles in both]
        for side, quantiles in enumerate(both):
            losses[side, :, some] = _mean(pinball(actual, quantiles, levels.levels), there, 2)
        counted += there[:, moving[some]].sum(axis=1)
        worst = _worst(worst, late.series[some], losses[:, :, some], actual, both)
    starts = np.concatenate([[0], levels.horizons[:-1]])  # of buckets, among the horizons
    inside, counted = (np.add.reduceat(counts, starts, axis=-1) for counts in (inside, counted))
    return Duel(late.series, losses[0], losses[1], inside, counted, tuple(worst))


def _worst(
    worst: list[Worst], series: IntArray, losses: FloatArray, actual: FloatArray, both: list[FloatArray]
) -> list[Worst]:
    """The list with the worst of some more series in their places; losses float64 [2, n, s]."""
    totals = np.nansum(losses, axis=1)  # [2, s]
    ratios = np.where(totals[1] > 0, totals[0] / np.where(totals[1] > 0, totals[1], 1.0), 0.0)
    kept = list(worst)
    for place_of in np.argsort(-ratios)[:WORST_KEPT].tolist():
        if ratios[place_of] > 0:
            behind = losses[0, :, place_of] - losses[1, :, place_of]
            row = int(np.nanargmax(behind))
            forecasts = (quantiles[row, place_of].copy() for quantiles in both)
            found = Worst(int(series[place_of]), row, float(ratios[place_of]), actual[row, place_of].copy(), *forecasts)
            kept.append(found)
    return sorted(kept, key=lambda each: -each.ratio)[:WORST_KEPT]


def _parts(done: Run, levels: int) -> Iterator[slice]:
    """Series, as many at a time as make arrays of PART_CELLS."""
    n, series, horizon = done.targets.shape
    step = max(1, PART_CELLS // max(1, n * horizon * levels))
    for first in range(0, series, step):
        yield slice(first, first + step)


def _mean(loss: AnyArray, there: BoolArray, axes: int | tuple[int, ...]) -> FloatArray:
    """Mean over axes where there; NaN where nowhere."""
    count = there.sum(axis=axes)
    total = np.where(there, loss, 0.0).sum(axis=axes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
