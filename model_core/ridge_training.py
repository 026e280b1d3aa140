"""Windows → the sums that ridge is solved from, a chunk at a time; and the choice of penalty and prior."""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.calendar_features import calendar_features, calendar_of
from model_core.dataset import TrainingWindows, origin_chunks
from model_core.libraries import CPU
from model_core.models.ridge import target_features, window_features
from model_core.models.ridge_fit import PRIORS, Sums, Weights, design
from model_core.predictor import CONTEXT_SHARE_MIN
from model_core.preparation import prepare

PRODUCTS_MAX = 2e10  # multiplications that the sums of a whole training may take: windows are thinned out beyond
ROWS_MIN = 2_000  # but never below
ABSENT_BYTES_MAX = 512 * 2**20  # beyond, a window with a missing target is left out whole
ABSENT_COST_MAX = 2.0  # windows with missing targets may cost this many times what the others do
CHUNK_BYTES = 32 * 2**20
VALIDATION_ROWS = 12_000
TARGET_CLIP = 5.0  # standard deviations; a squared error must not follow one spike
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Choice:
    """What the validation span decided. `losses`: (penalty, prior) → mean absolute error in scaled units."""

    penalty: float
    prior: str
    losses: dict[tuple[float, str], float]


@dataclass(frozen=True)
class _Rows:
    """Windows ready to be summed: pooled float64 [n, P], target features float32 [n, H, E], targets [n, H] scaled."""

    pooled: FloatArray
    target_features: AnyArray
    targets: FloatArray
    weight: FloatArray  # float64 [n], scale of the window / typical step of its series: units of the score


class RidgeTraining:
    """Feeds spans of the history into sums. All on the CPU in float64: the sums must be exact, not fast."""

    def __init__(self, windows: TrainingWindows, season: int, origins: int) -> None:
        spec = windows.spec
        self._windows = windows
        self._season = season
        features = calendar_features(spec)
        self._calendar = calendar_of(spec.grid, features, spec.holidays)
        covariates = len(spec.past_covariates) + len(spec.future_covariates)
        lag_season = season if season <= spec.context_length else spec.default_season
        known = len(spec.future_covariates)
        self.design = design(spec.context_length, spec.horizon, covariates, lag_season, known)
        self._target_width = self._calendar.width + known
        columns = len(self.design.starts)
        products = columns * (columns + spec.horizon * self._target_width)
        rows_max = max(ROWS_MIN, int(PRODUCTS_MAX / products))
        self.stride = max(1, -(-origins * len(windows) // rows_max))
        self._chunk_rows = max(64, CHUNK_BYTES // (8 * self.design.width))
        self._absent_whole = spec.horizon * columns**2 * 8 > ABSENT_BYTES_MAX
        self._steps = _typical_steps(windows, season)

    def sums(self, first: int, last: int) -> Sums:
        """Of the windows whose origin is in rows [first, last)."""
        total = Sums.empty(len(self.design.starts), self._windows.spec.horizon, self._target_width)
        chunks = origin_chunks(len(self._windows), first, last, self.stride, self._chunk_rows)
        for series, origins in chunks:
            rows = self._rows(series, origins)
            kept = self._affordable(np.isfinite(rows.targets))
            if kept.any():
                total.add(rows.pooled[kept], rows.target_features[kept], rows.targets[kept])
        return total

    def choose(self, total: Sums, first: int, last: int) -> Choice:
        """The penalty and prior whose weights, solved from `total`, err least in rows [first, last)."""
        stride = max(1, (last - first) * len(self._windows) // VALIDATION_ROWS)
        chunks = origin_chunks(len(self._windows), first, last, stride, self._chunk_rows)
        every = [self._rows(series, origins) for series, origins in chunks]
        losses: dict[tuple[float, str], float] = {}
        for penalty in PENALTIES:
            for name in PRIORS:
                prior = self.design.prior(name, self._windows.spec.horizon)
                if prior is not None:
                    losses[penalty, name] = _loss(total.solve(penalty, prior), every)
        penalty, name = min(losses, key=lambda key: losses[key])
        return Choice(penalty, name, losses)

    def solve(self, total: Sums, choice: Choice) -> dict[str, AnyArray]:
        """The model's tensors."""
        prior = self.design.prior(choice.prior, self._windows.spec.horizon)
        assert prior is not None, "only priors that exist are chosen"
        return total.solve(choice.penalty, prior).tensors(self.design)

    def _rows(self, series: IntArray, origins: IntArray) -> _Rows:
        """Those of the windows that a model would be asked about, and that vary."""
        batch = self._windows.batch(series, origins, 1)
        usable = np.isfinite(batch.windows[:, :, 0]).mean(axis=1) >= CONTEXT_SHARE_MIN
        targets = self._windows.targets(series, origins)
        usable &= np.isfinite(targets).any(axis=1)
        index = np.flatnonzero(usable)
        prepared = prepare(batch.rows(index), self._calendar, CPU)
        varied = ~prepared.constant
        center, scale = prepared.center[varied], prepared.scale[varied]
        index = index[varied]
        scaled = (targets[index] - center[:, None]) / scale[:, None]
        return _Rows(
            self.design.pool(window_features(prepared.inputs)[varied]),
            target_features(prepared.inputs)[varied],
            np.clip(scaled, -TARGET_CLIP, TARGET_CLIP),
            scale / self._steps[series[index]],
        )

    def _affordable(self, seen: AnyArray) -> AnyArray:
        """bool [n]: of the windows with missing targets, bool [n, H], as many as the budget allows, evenly."""
        holed: AnyArray = np.logical_not(np.all(seen, axis=1))
        if self._absent_whole:
            return ~holed
        masks = seen.shape[1]
        allowed = int(ABSENT_COST_MAX * len(seen) / masks) + 1
        number = np.flatnonzero(holed)
        kept = ~holed
        if len(number) > allowed:
            number = number[np.linspace(0, len(number) - 1, allowed).astype(int)]
        kept[number] = True
        return kept


def _loss(weights: Weights, every: list[_Rows]) -> float:
    """Mean absolute error, each row in units of its series' typical step."""
    total, count = 0.0, 0
    for rows in every:
        error = np.abs(rows.targets - weights.apply(rows.pooled, rows.target_features)) * rows.weight[:, None]
        total += float(np.nansum(error))
        count += int(np.isfinite(error).sum())
    return total / max(count, 1)


def _typical_steps(windows: TrainingWindows, season: int) -> FloatArray:
    """float64 [S], mean |y_t − y_{t−m}| of each series; infinite (no weight) where it never moves."""
    cells = windows.target_cells().astype(np.float64)
    change = np.abs(cells[:, season:] - cells[:, :-season])
    seen = np.isfinite(change)
    mean = np.where(seen, change, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.where(mean > 0, mean, np.inf)
