"""Windows with holes that the ladder still gives to the model: it must not fall apart there.

Up to a fifth of a context may be missing before the ladder stops asking the model. A model that relies on cells which
cancel each other answers whole windows well and these badly, though not so far outside that stress.py would notice. So
its errors are compared with those of the naive forecasts, which would answer instead.

The newest cells are a different matter: of a series that repeats itself closely seasonal naive needs none of them,
while any model is misled without them. Training learns how many a model can do without (`longest_gap`); beyond that the
ladder answers.
"""

from dataclasses import dataclass, replace

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.ladder import Rung
from model_core.predictor import Predictor
from model_core.sight import CONTEXT_SHARE_MIN, SEASON_SHARE_MIN
from model_core.training.dataset import TrainingWindows

WINDOWS, SERIES_MAX = 1024, 64
WINDOWS_MIN = 100  # fewer say nothing
GAP_WORSE_MAX = 1.1  # times the error of the naive forecasts: up to the longest gap that a model can do without
WORSE_MAX = 1.25  # times the same with holes, or times what the model has without where that is more


@dataclass(frozen=True)
class Holed:
    """Mean absolute error of the model over that of the better naive forecast, of windows with as many holes as the
    ladder allows, and of the same windows without; NaN where too few were answered."""

    windows: int
    worse: float
    whole: float

    @property
    def passed(self) -> bool:
        return not self.worse > WORSE_MAX * max(1.0, self.whole)


def with_holes(
    windows: TrainingWindows, predictor: Predictor, season: int, span: tuple[int, int], seed: int
) -> Holed | None:
    """A candidate at origins of rows `span` of the history, which it has not learned from."""
    sample = _Sample.of(windows, predictor, season, span)
    if sample is None:
        return None
    seen = np.isfinite(sample.batch.windows[:, :, 0])
    order = np.where(seen, np.random.default_rng(seed).random(seen.shape), -1.0).argsort(axis=1).argsort(axis=1)
    return sample.held(order < _most(seen.shape[1]))


def longest_gap(windows: TrainingWindows, predictor: Predictor, season: int, span: tuple[int, int]) -> int | None:
    """Cells missing at the end of a window up to which a model is hardly worse than the naive forecasts, at origins of
    rows `span`, which it has not learned from. None: there is no telling."""
    sample = _Sample.of(windows, predictor, season, span)
    if sample is None:
        return None
    shape = sample.batch.windows.shape[:2]
    most, gap = _longest(shape[1], season), 0
    while gap < most:
        longer = min(max(1, 2 * gap), most)
        # Where others are missing too the ladder may answer: such a window does not count.
        ends = np.broadcast_to(np.arange(shape[1]) >= shape[1] - longer, shape)
        worse = sample.held(ends).worse
        if np.isnan(worse):
            return gap or None
        if worse > GAP_WORSE_MAX:
            return gap
        gap = longer
    return gap


def _most(length: int) -> int:
    """The most cells of a window that may be missing."""
    return int((1.0 - CONTEXT_SHARE_MIN) * length)


def _longest(length: int, season: int) -> int:
    """The most cells at its end that may be missing."""
    return min(_most(length), int((1.0 - SEASON_SHARE_MIN) * season))


@dataclass(frozen=True)
class _Sample:
    """n windows, what came after them, and how both sides answer them as they are."""

    predictor: Predictor
    batch: WindowBatch
    actual: FloatArray  # float64 [n, H]
    usual: FloatArray  # float64 [n, 3], errors of each rung
    better: IntArray  # int64 [n], the naive rung that errs less in the series
    unit: FloatArray  # float64 [n], by how much, NaN where unknown

    @classmethod
    def of(cls, windows: TrainingWindows, predictor: Predictor, season: int, span: tuple[int, int]) -> "_Sample | None":
        """None for demand, of which nothing is ever missing."""
        if windows.spec.is_demand or not len(windows) or span[1] <= span[0]:
            return None
        series, rows = _places(len(windows), span)
        batch, actual = windows.batch(series, rows, season), windows.targets(series, rows)
        usual = _errors(predictor, batch, actual)
        better, unit = _rival(usual, series, len(windows))
        return cls(predictor, batch, actual, usual, better[series], unit[series])

    def held(self, lost: BoolArray) -> Holed:
        """The findings with these cells missing, bool [n, L]."""
        errors = _errors(self.predictor, _without(self.batch, lost), self.actual)
        both = np.stack([self._beside(errors), self._beside(self.usual)])  # [2, 2, n]
        known = np.isfinite(both).all(axis=(0, 1))
        count = int(known.sum())
        if count < WINDOWS_MIN:
            return Holed(count, float("nan"), float("nan"))
        sums = both[:, :, known].sum(axis=2)
        worse, whole = (sums[:, 0] / sums[:, 1]).tolist()
        return Holed(count, worse, whole)

    def _beside(self, errors: FloatArray) -> FloatArray:
        """float64 [2, n]: the model's errors and the rival's, in units of the series. Where the better naive forecast
        has no answer the last value has one."""
        rival = errors[np.arange(len(errors)), self.better]
        rival = np.where(np.isfinite(rival), rival, errors[:, Rung.LAST_VALUE])
        return np.stack([errors[:, Rung.MODEL], rival]) / self.unit


def _places(series: int, span: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """(series [n], rows [n]): some series at origins all over the span."""
    some = np.unique(np.linspace(0, series - 1, min(SERIES_MAX, series)).astype(np.int64))
    origins = np.unique(np.linspace(span[0], span[1] - 1, WINDOWS // len(some)).astype(np.int64))
    return np.repeat(some, len(origins)), np.tile(origins, len(some))


def _errors(predictor: Predictor, batch: WindowBatch, actual: FloatArray) -> FloatArray:
    """float64 [n, 3], mean absolute error of each rung over the steps that came; NaN where it has no answer."""
    error = np.abs(predictor.raw(batch).locations - actual[:, None])  # [n, 3, H]
    came = np.isfinite(actual)[:, None]
    return np.where(came, error, 0.0).sum(axis=2) / np.where(came.any(axis=2), came.sum(axis=2), np.nan)


def _rival(usual: FloatArray, of: IntArray, series: int) -> tuple[IntArray, FloatArray]:
    """Of each series: which naive forecast errs less, int64 [S], and by how much, NaN where unknown."""
    better, unit = np.full(series, Rung.LAST_VALUE, np.int64), np.full(series, np.nan)
    for column in np.unique(of).tolist():
        known = usual[of == column, 1:]
        known = known[np.isfinite(known).all(axis=1)]
        if len(known):
            means = known.mean(axis=0)
            better[column], unit[column] = 1 + means.argmin(), means.min()
    return better, np.where(unit > 0, unit, np.nan)


def _without(batch: WindowBatch, lost: BoolArray) -> WindowBatch:
    """The same windows, and the part of their last season within them, with these cells missing."""
    windows, season = batch.windows.copy(), batch.season.copy()
    windows[:, :, 0][lost] = np.nan
    inside = min(season.shape[1], windows.shape[1])
    season[:, season.shape[1] - inside :][lost[:, windows.shape[1] - inside :]] = np.nan
    return replace(batch, windows=windows, season=season)
