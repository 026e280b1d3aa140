"""What is fitted for intermittent demand: the usual season of sales, and how fast both means forget."""

from itertools import product

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.libraries import CPU
from model_core.models.intermittent import OCCURRENCE, RATES, SIZE, Intermittent
from model_core.quantiles import pinball
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows, origin_chunks
from model_core.training.season_search import SeasonSearch

CHOICES = (0.02, 0.05, 0.1, 0.2)  # of both rates
WINDOWS_TRIED = 3_000
SALES_MIN = 30  # at a step of the season, from which its sizes are told from those of the others
SHARE_MIN = 0.01  # of the usual: what was never sold may be one day


def fit_demand(
    windows: TrainingWindows, season: SeasonSearch, fit: tuple[int, int], validation: tuple[int, int]
) -> dict[str, AnyArray]:
    """The tensors: the season from rows before the end of `fit`, the rates from origins in `validation`."""
    # Whether a season shows in single forecasts or not: of all series together it is known well.
    usual = _usual(windows, season.ticks, fit[1])
    losses = dict.fromkeys(product(CHOICES, CHOICES), 0.0)
    spec = windows.spec
    models = {
        rates: Intermittent(
            usual | {RATES: np.array(rates)}, spec.quantile_levels, CPU, whole=spec.aggregate == "count"
        )
        for rates in losses
    }
    spreads = windows.spreads()
    stride = max(1, (validation[1] - validation[0]) * len(windows) // WINDOWS_TRIED)
    for series, origins in origin_chunks(len(windows), *validation, stride, 512):
        batch = windows.batch(series, origins, 1)
        actual = windows.targets(series, origins)
        for rates, model in models.items():
            losses[rates] += _loss(model, spec, batch.windows, batch.origins, actual, spreads[series])
    best = min(losses, key=lambda rates: losses[rates])
    return usual | {RATES: np.array(best)}


def _usual(windows: TrainingWindows, season: int, end: int) -> dict[str, AnyArray]:
    """How often and how much is sold at each step of the season, as multiples of the average."""
    cells = windows.target_cells()[:, :end].astype(np.float64)
    phase = (windows.first_tick + np.arange(cells.shape[1])) % season
    seen, sold = np.isfinite(cells), cells > 0
    amount = np.where(sold, cells, 0.0)
    steps, sales, amounts = (
        np.array([part[:, phase == j].sum() for j in range(season)], np.float64) for part in (seen, sold, amount)
    )
    if not sales.any():
        return {OCCURRENCE: np.ones(season), SIZE: np.ones(season)}
    share, size = sales / np.maximum(steps, 1), amounts / np.maximum(sales, 1)
    return {
        OCCURRENCE: np.maximum(share * steps.sum() / sales.sum(), SHARE_MIN),
        SIZE: np.where(sales >= SALES_MIN, size * sales.sum() / amounts.sum(), 1.0),
    }


def _loss(
    model: Intermittent, spec: StreamSpec, raw: FloatArray, origins: IntArray, actual: FloatArray, spread: FloatArray
) -> float:
    """Pinball of the steps that are intermittent, in spreads of their series."""
    made = model(raw[:, :, 0], origins % model.season, spec.horizon)
    quantiles = published(made.quantiles[:, :, told_levels(model, spec)], spec)
    loss = pinball(actual, quantiles, np.array(spec.quantile_levels)) / np.maximum(spread, 1e-9)[:, None]
    return float(np.nansum(loss[made.intermittent & (spread > 0)[:, None]]))


def told_levels(model: Intermittent, spec: StreamSpec) -> IntArray:
    """The positions of the stream's levels among those of the distribution: int64 [Q]."""
    return np.searchsorted(model.levels, np.array(spec.quantile_levels))


def published(quantiles: AnyArray, spec: StreamSpec) -> FloatArray:
    """Quantiles of the continuous value → those of demand (compiled/demand.h: shown)."""
    if spec.aggregate == "count":
        quantiles = np.ceil(quantiles - 1e-6 * np.maximum(1.0, np.abs(quantiles)))
    return np.maximum(quantiles, 0.0)
