"""Windows → the sums that ridge is solved from, a chunk at a time; and the choice of penalty and prior."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.calendar_features import calendar_features, calendar_of
from model_core.models.ridge import target_features, window_features
from model_core.models.ridge_fit import PRIORS, Design, Sums, design
from model_core.preparation import prepare
from model_core.sight import CONTEXT_SHARE_MIN
from model_core.training.dataset import TrainingWindows, origin_chunks
from model_core.training.past import Past

PRODUCTS_MAX = 1e11  # multiplications that the sums of a whole training may take: windows are thinned out beyond
ROWS_MIN = 2_000  # but never below
ABSENT_BYTES_MAX = 512 * 2**20  # beyond, a window with a missing target is left out whole
ABSENT_COST_MAX = 2.0  # windows with missing targets may cost this many times what the others do
CHUNK_BYTES = 32 * 2**20
VALIDATION_ROWS = 12_000
TARGET_CLIP = 5.0  # standard deviations; a squared error must not follow one spike
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
BESIDE = 10**0.5  # the best of them is tried again, this much stronger and weaker
LAGS = ("blocks", "single")  # how the cells of a window may count; sums of single ones serve both


@dataclass(frozen=True)
class Choice:
    """What the validation span decided. `losses`: (penalty, prior, lags) → mean absolute error in scaled units."""

    penalty: float
    prior: str
    lags: str
    losses: dict[tuple[float, str, str], float]


@dataclass(frozen=True)
class _Rows:
    """Windows ready to be summed: pooled float64 [n, P], target features float32 [n, H, E], targets [n, H] scaled."""

    pooled: FloatArray
    target_features: AnyArray
    targets: FloatArray
    origins: IntArray  # int64 [n], rows of the history
    weight: FloatArray  # float64 [n], scale of the window / spread of its series: errors count in units of the series
    units: FloatArray  # float64 [n], scale of the window / typical step of its series: units of the score

    def as_served(self) -> "_Rows":
        """The same in float32."""
        parts = {name: getattr(self, name).astype(np.float32) for name in ("pooled", "targets", "weight", "units")}
        return replace(self, **parts)


class RidgeTraining:
    """Feeds spans of the history into sums. All on the CPU in float64: the sums must be exact, not fast."""

    def __init__(
        self,
        windows: TrainingWindows,
        season: int,
        origins: int,
        *,
        squared: bool = False,
        constants: bool = True,
        spreads: FloatArray | None = None,
    ) -> None:
        """About `origins` rows will be summed.

        Forecasts are judged by pinball: each window counts the same, and the choice is by absolute error in typical
        steps of the series. With `squared` they are for those who judge by squared error in `spreads`, float64 [S]
        (if not given, the standard deviations of this history): windows count by their own, and so does the choice.
        Without `constants` a window without movement is forecast to stay where it is: no drift is learned.
        Where the stream has a `training_half_life`, squared errors count by their age besides.
        """
        spec = windows.spec
        self._windows = windows
        self._season = season
        features = calendar_features(spec)
        self._calendar = calendar_of(spec.grid, features, spec.holidays)
        covariates = len(spec.past_covariates) + len(spec.future_covariates)
        lag_season = season if season <= spec.context_length else spec.default_season
        known = len(spec.future_covariates)
        shape = (spec.context_length, spec.horizon, covariates, lag_season, known)
        self.designs = {lags: design(*shape, single_cells=lags == "single") for lags in LAGS}
        self.design = self.designs["single"]  # of the sums; the others are made of its columns
        if len(self.design.starts) == len(self.designs["blocks"].starts):
            self.designs = {"single": self.design}
        self._target_width = self._calendar.width + known
        columns = len(self.design.starts)
        products = columns * (columns + spec.horizon * self._target_width)
        rows_max = max(ROWS_MIN, int(PRODUCTS_MAX / products))
        self.stride = max(1, -(-origins * len(windows) // rows_max))
        self._chunk_rows = max(64, CHUNK_BYTES // (8 * self.design.width))
        self._absent_whole = spec.horizon * columns**2 * 8 > ABSENT_BYTES_MAX
        self._steps = typical_steps(windows, season)
        self._squared, self._constants = squared, constants
        self._decay = spec.training_decay
        spreads = windows.spreads() if spreads is None else spreads
        self._spreads = np.where(spreads > 0, spreads, np.inf)

    def sums(self, first: int, last: int) -> Sums:
        """Of the windows whose origin is in rows [first, last); ages count from `last`."""
        total = Sums.empty(len(self.design.starts), self._windows.spec.horizon, self._target_width)
        numbers, first_tick = self._windows.columns, self._windows.first_tick
        chunks = origin_chunks(numbers, first, last, self.stride, self._chunk_rows, first_tick=first_tick)
        for series, origins in chunks:
            rows = self._rows(series, origins)
            if rows is None:
                continue
            kept = self._affordable(np.isfinite(rows.targets))
            if kept.any():
                weight = self._weight(rows, last)
                kept_weight = None if weight is None else weight[kept]
                total.add(rows.pooled[kept], rows.target_features[kept], rows.targets[kept], kept_weight)
        return total

    def takes(self, past: Past) -> bool:
        """Whether windows summed here can be added to those of the past."""
        return past.fits(self.design, self._target_width, self._windows.spec.horizon)

    def before(self, past: Past | None) -> Sums:
        """The sums of the past, as if they had been made here."""
        if past is None or not self.takes(past):
            return Sums.empty(len(self.design.starts), self._windows.spec.horizon, self._target_width)
        return past.sums if self.stride == 1 else past.sums.faded(1.0 / self.stride)

    def grown(self, total: Sums, first: int, last: int) -> Sums:
        """`total`, the sums of what was before row `first`, and those of rows [first, last): as if summed at once."""
        return (total if self._decay == 1.0 else total.faded(self._decay ** (last - first))) + self.sums(first, last)

    def _weight(self, rows: _Rows, now: int) -> FloatArray | None:
        """float64 [n], of errors before they are squared; None: all alike."""
        weight = rows.weight if self._squared else None
        if self._decay == 1.0:
            return weight
        by_age = self._decay ** (0.5 * (now - rows.origins))
        return by_age if weight is None else weight * by_age

    def choose(self, total: Sums, first: int, last: int) -> Choice:
        """The penalty, prior and lags whose weights, solved from `total`, err least in rows [first, last)."""
        stride = max(1, (last - first) * len(self._windows) // VALIDATION_ROWS)
        chunks = origin_chunks(len(self._windows), first, last, stride, self._chunk_rows)
        found = (self._rows(series, origins) for series, origins in chunks)
        judged = [rows.as_served() for rows in found if rows is not None]
        horizon = self._windows.spec.horizon
        losses: dict[tuple[float, str, str], float] = {}
        for lags, layout in self.designs.items():
            candidate = _Candidate(total, self.design.coarser(layout), layout, horizon)
            tried: dict[tuple[float, str], float] = {}
            for penalty in PENALTIES:
                tried |= candidate.losses(penalty, candidate.priors, judged, self._squared)
            best, name = min(tried, key=lambda key: tried[key])
            for penalty in (best / BESIDE, best * BESIDE):
                tried |= candidate.losses(penalty, (name,), judged, self._squared)
            losses |= {(*key, lags): value for key, value in tried.items()}
        return Choice(*min(losses, key=lambda key: losses[key]), losses)

    def solve(self, total: Sums, choice: Choice) -> dict[str, AnyArray]:
        """The model's tensors."""
        layout = self.designs[choice.lags]
        prior = layout.prior(choice.prior, self._windows.spec.horizon)
        assert prior is not None, "only priors that exist are chosen"
        return total.pooled(self.design.coarser(layout)).solve(choice.penalty, prior).tensors(layout)

    def _rows(self, series: IntArray, origins: IntArray) -> _Rows | None:
        """Those of the windows that a model would be asked about, and that vary; None where all of them fell silent."""
        batch = self._windows.batch(series, origins, 1)
        usable = np.isfinite(batch.windows[:, :, 0]).mean(axis=1) >= CONTEXT_SHARE_MIN
        targets = self._windows.targets(series, origins)
        usable &= np.isfinite(targets).any(axis=1)
        index = np.flatnonzero(usable)
        if not len(index):
            return None
        prepared = prepare(batch.rows(index), self._calendar)
        varied = ~prepared.constant
        center, scale = prepared.center[varied], prepared.scale[varied]
        index = index[varied]
        scaled = (targets[index] - center[:, None]) / scale[:, None]
        pooled = self.design.pool(window_features(prepared.inputs)[varied])
        if not self._constants:
            pooled[:, :2] = 0.0  # one, and roughness itself
        return _Rows(
            pooled,
            target_features(prepared.inputs)[varied],
            np.clip(scaled, -TARGET_CLIP, TARGET_CLIP),
            origins[index],
            scale / self._spreads[series[index]],
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


class _Candidate:
    """One way for lags to count: the sums as if its columns had been summed, and the priors it can have."""

    def __init__(self, total: Sums, into: FloatArray, layout: Design, horizon: int) -> None:
        self._sums = total.pooled(into)
        self._into = into
        self.priors = {name: prior for name in PRIORS if (prior := layout.prior(name, horizon)) is not None}

    def losses(
        self, penalty: float, names: Collection[str], judged: list[_Rows], squared: bool
    ) -> dict[tuple[float, str], float]:
        """Of each prior the mean error, each row in units of its series."""
        solved = self._sums.solve_each(penalty, [self.priors[name] for name in names])
        every = [weights.finer(self._into).as_served() for weights in solved]
        total, count = np.zeros(len(every)), 0
        for rows in judged:
            unit = (rows.weight if squared else rows.units)[:, None]
            for number, weights in enumerate(every):
                error = np.abs(rows.targets - weights.apply(rows.pooled, rows.target_features)) * unit
                total[number] += np.nansum(error**2 if squared else error, dtype=np.float64)
            count += int(np.isfinite(rows.targets * unit).sum())
        return {(penalty, name): float(loss) for name, loss in zip(names, total / max(count, 1), strict=True)}


def typical_steps(windows: TrainingWindows, season: int) -> FloatArray:
    """float64 [S], mean |y_t − y_{t−m}| of each series; infinite (no weight) where it never moves."""
    cells = windows.target_cells().astype(np.float64)
    change = np.abs(cells[:, season:] - cells[:, :-season])
    seen = np.isfinite(change)
    mean = np.where(seen, change, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.where(mean > 0, mean, np.inf)
