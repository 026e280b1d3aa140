"""How good published forecasts were, computed from the file and the messages alone.

It is deliberately plain, and independent of the worker's own scoring: nothing here comes from model_core. Arrays have
one row a forecast [n, …] or one row a series [S, …].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from stream_app.errors import TidecastError
from stream_app.tables import Table

CHUNK_FORECASTS = 512  # of a series, scored at once
CELLS_MAX = 200_000_000
STRIP_POINTS = 600  # of a series, kept for the long chart
SEASONS_BACK = 3  # seasonal naive looks back so far over missing cells


@dataclass(frozen=True)
class Happened:
    """The cells of the file on the grid. Each has its first reading, as that settles a cell that expects one."""

    series_ids: list[str]
    first_tick: int
    values: FloatArray  # float64 [S, T], NaN where nothing was read

    @classmethod
    def of(cls, table: Table, step_ms: int) -> "Happened":
        ticks = table.timestamps_ms // step_ms
        first, last = int(ticks[0]), int(ticks[-1])
        if (last - first + 1) * len(table.series_ids) > CELLS_MAX:
            raise TidecastError(
                f"The file spans {last - first + 1:,} steps of {len(table.series_ids):,} series, more than the demo "
                f"can hold ({CELLS_MAX:,} cells). Is --freq right?"
            )
        values = np.full((len(table.series_ids), last - first + 1), np.nan)
        # Backwards, so that of several readings the first one stays.
        values[table.series[::-1], ticks[::-1] - first] = table.values[::-1]
        return cls(table.series_ids, first, values)

    @property
    def last_tick(self) -> int:
        return self.first_tick + self.values.shape[1] - 1

    def at(self, series: int, ticks: IntArray) -> FloatArray:
        """Values [same shape as ticks]; NaN outside the file."""
        index = ticks - self.first_tick
        inside = (index >= 0) & (index < self.values.shape[1])
        return np.where(inside, self.values[series][np.where(inside, index, 0)], np.nan)

    def last_values(self) -> FloatArray:
        """[S, T], for each cell the newest value read until then."""
        index = np.where(np.isnan(self.values), 0, np.arange(self.values.shape[1]))
        return np.take_along_axis(self.values, np.maximum.accumulate(index, axis=1), axis=1)


@dataclass
class Kept:
    """A whole forecast, kept for the page."""

    origin: int
    quantiles: FloatArray  # float32 [Q, H]


@dataclass
class SeriesScores:
    """Sums of one series over the scored span, by horizon; H horizons, Q levels."""

    pinball: FloatArray  # [H], mean over levels
    error: FloatArray  # [H], |actual − median|
    seasonal_error: FloatArray  # [H], |actual − seasonal naive|
    last_error: FloatArray  # [H], |actual − last value|
    covered: FloatArray  # [H], widest central interval
    below: FloatArray  # [Q], actual ≤ quantile
    judged: FloatArray  # [H]
    naive_judged: FloatArray  # [H], where both naive forecasts exist too
    kept: list[Kept] = field(default_factory=list)
    strip_origins: list[int] = field(default_factory=list)
    strip: list[FloatArray] = field(default_factory=list)  # float64 [3], lower, median, upper at the last horizon

    @classmethod
    def empty(cls, horizon: int, levels: int) -> "SeriesScores":
        sums = np.zeros((7, horizon))
        return cls(
            pinball=sums[0],
            error=sums[1],
            seasonal_error=sums[2],
            last_error=sums[3],
            covered=sums[4],
            judged=sums[5],
            naive_judged=sums[6],
            below=np.zeros(levels),
        )


class Scorer:
    """Forecasts in the order of their publication → SeriesScores. Scores origins in [first_origin, …]."""

    def __init__(
        self,
        happened: Happened,
        *,
        levels: list[float],
        horizon: int,
        season: int,
        first_origin: int,
        kept_origins: IntArray,
    ) -> None:
        """`kept_origins`: ticks whose forecasts are kept whole."""
        self.happened = happened
        self.levels = np.array(levels)
        self.horizon = horizon
        self.season = season
        self.first_origin = first_origin
        self._middle = int(np.argmin(np.abs(self.levels - 0.5)))
        self._strip_every = max(1, (happened.last_tick - first_origin) // STRIP_POINTS)
        self._kept_origins = {int(origin) for origin in kept_origins}
        self._newest_values = happened.last_values()
        series = len(happened.series_ids)
        self.scores = [SeriesScores.empty(horizon, len(levels)) for _ in range(series)]
        self._waiting: list[dict[int, FloatArray]] = [{} for _ in range(series)]  # origin → float32 [Q, H]
        self._newest_origin = np.full(series, -1, np.int64)

    def add(self, series: int, origin: int, revision: int, quantiles: Sequence[Sequence[float | None]]) -> None:
        """Add a published forecast. A revision counts for the horizons whose target had not settled when it came."""
        if origin < self.first_origin:
            return
        array = np.array(quantiles, np.float32)
        waiting = self._waiting[series]
        if revision and origin in waiting:
            settled = int(np.clip(self._newest_origin[series] - origin, 0, self.horizon))
            waiting[origin][:, settled:] = array[:, settled:]
            return
        if origin <= self._newest_origin[series]:
            return  # published twice: a series' origins rise
        waiting[origin] = array
        self._newest_origin[series] = origin
        if len(waiting) >= CHUNK_FORECASTS + self.horizon:
            self._score(series, [each for each in waiting if each + self.horizon <= self._newest_origin[series]])

    def finish(self) -> list[SeriesScores]:
        """Score what is left; targets after the end of the file have no actual value and are not judged."""
        for series, waiting in enumerate(self._waiting):
            for start in range(0, len(waiting), CHUNK_FORECASTS):
                self._score(series, list(waiting)[: CHUNK_FORECASTS if start else None])
        return self.scores

    def scales(self) -> FloatArray:
        """[S] mean |y_t − y_{t−m}| before the scored span: the unit of errors in MASE."""
        before = self.happened.values[:, : max(0, self.first_origin - self.happened.first_tick)]
        if before.shape[1] <= self.season:
            return np.full(len(before), np.nan)
        steps = np.abs(before[:, self.season :] - before[:, : -self.season])
        known = ~np.isnan(steps)
        return np.where(known, steps, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)

    def _score(self, series: int, origins: list[int]) -> None:
        if not origins:
            return
        waiting, scores = self._waiting[series], self.scores[series]
        quantiles = np.stack([waiting.pop(origin) for origin in origins]).astype(np.float64)  # [n, Q, H]
        at = np.array(origins)
        actual = self.happened.at(series, at[:, None] + np.arange(1, self.horizon + 1))  # [n, H]
        known = ~np.isnan(actual)
        distance = actual[:, None, :] - quantiles
        levels = self.levels[None, :, None]
        pinball = np.maximum(levels * distance, (levels - 1) * distance).mean(axis=1)
        median = quantiles[:, self._middle]
        seasonal, last = self._naive(series, at)
        naive_known = known & ~np.isnan(seasonal) & ~np.isnan(last)
        inside = (quantiles[:, 0] <= actual) & (actual <= quantiles[:, -1])
        scores.pinball += _sums(pinball, known)
        scores.error += _sums(np.abs(actual - median), known)
        scores.seasonal_error += _sums(np.abs(actual - seasonal), naive_known)
        scores.last_error += _sums(np.abs(actual - last), naive_known)
        scores.covered += _sums(inside.astype(float), known)
        scores.below += (distance <= 0).sum(axis=(0, 2))  # NaN is never below
        scores.judged += known.sum(axis=0)
        scores.naive_judged += naive_known.sum(axis=0)
        for row, origin in enumerate(origins):
            if origin in self._kept_origins:
                scores.kept.append(Kept(origin, quantiles[row].astype(np.float32)))
            if origin % self._strip_every == 0:
                scores.strip_origins.append(origin)
                scores.strip.append(quantiles[row, [0, self._middle, -1], -1])

    def _naive(self, series: int, origins: IntArray) -> tuple[FloatArray, FloatArray]:
        """Seasonal naive and last value [n, H] each, from what was read until each origin."""
        steps = np.arange(1, self.horizon + 1)
        last = self._newest_values[series][np.clip(origins - self.happened.first_tick, 0, None)]
        lags = -(-steps // self.season) * self.season  # whole seasons, not before the origin
        seasonal = np.full((len(origins), self.horizon), np.nan)
        for back in range(SEASONS_BACK):
            older = self.happened.at(series, origins[:, None] + steps - lags - back * self.season)
            seasonal = np.where(np.isnan(seasonal), older, seasonal)
        return seasonal, np.repeat(last[:, None], self.horizon, axis=1)


def _sums(values: FloatArray, known: BoolArray) -> FloatArray:
    return np.where(known, values, 0.0).sum(axis=0)
