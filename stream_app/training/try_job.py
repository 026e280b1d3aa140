"""`tidecast models try` without its terminal: a model's forecasts of the newest windows, and of the same windows with
covariates set to other values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.errors import CoreError
from model_core.gate.stress import with_covariate
from model_core.ladder import Rung
from model_core.models.intermittent import fine_levels
from model_core.predictor import Predictor
from model_core.quantiles import place
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.demand import published
from model_core.training.residuals import Tables, run
from stream_app.errors import TidecastError
from stream_app.models.registry import finite
from stream_app.tables import TableFile
from stream_app.training.train_job import read_history

if TYPE_CHECKING:
    from stream_app.settings import Settings

SERIES_MAX, PAST_HORIZONS = 6, 3  # series that are shown, horizons drawn before the forecast

OnProgress = Callable[[str, float], None]


def try_model(
    settings: Settings,
    stream: str,
    bundle: Bundle,
    values: Mapping[str, float],
    *,
    series: Sequence[str] = (),
    file: TableFile | None = None,
    until_ms: int | None = None,
    on_progress: OnProgress = lambda _what, _share: None,
) -> dict[str, Any]:
    """The report, JSON-able. The newest cell of a covariate gets the value, and of a future one all that is ahead.

    TidecastError when a variable is no covariate, or no window is one that the model answers.
    """
    spec = settings.streams[stream]
    covariates = spec.past_covariates + spec.future_covariates
    if unknown := sorted(set(values) - set(covariates)):
        known = ", ".join(covariates) or "none"
        raise TidecastError(f"--set: {unknown[0]!r} is no covariate of stream {stream}; its covariates: {known}")
    windows = TrainingWindows(spec, read_history(settings, spec, file, until_ms, on_progress).history)
    try:
        predictor = Predictor(spec, bundle, device=settings.device)
    except CoreError as error:
        raise TidecastError(str(error)) from error
    origin = _newest_origin(windows)
    chosen = _chosen(windows, series, origin)
    usual = windows.batch(chosen, np.full(len(chosen), origin), bundle.manifest.season)
    altered = usual
    for variable, value in values.items():
        altered = with_covariate(altered, spec, variable, value)
    units = run(windows, predictor, bundle.manifest.season, origin, origin + 1, chosen).units[0, :, Rung.MODEL]
    before, after = (_quantiles(windows, predictor, bundle, chosen, units, batch) for batch in (usual, altered))
    answered = np.isfinite(before).all(axis=(1, 2)) & np.isfinite(after).all(axis=(1, 2))
    if not answered.any():
        raise TidecastError(
            f"model {bundle.manifest.version} does not answer the newest windows of {stream}: they need "
            f"{spec.context_length} steps with at least 80 % observed"
        )
    report = {
        "stream": stream,
        "version": bundle.manifest.version,
        "set": dict(values),
        "set_ahead": [name for name in values if name in spec.future_covariates],
        "quantile_levels": list(spec.quantile_levels),
        "step_ms": spec.step_ms,
        "origin_ms": spec.grid.start_ms(origin + windows.first_tick),
        "drawn": [
            {
                "series_id": windows.series_ids[chosen[row]],
                "past": usual.windows[row, -PAST_HORIZONS * spec.horizon :, 0].tolist(),
                "instead_of": {name: float(usual.windows[row, -1, 1 + covariates.index(name)]) for name in values},
                "before": before[row].T.tolist(),
                "after": after[row].T.tolist(),
            }
            for row in np.flatnonzero(answered).tolist()
        ],
    }
    told: dict[str, Any] = finite(report)
    return told


def _newest_origin(windows: TrainingWindows) -> int:
    """The newest row with a target at which the worker would forecast; those of future covariates run ahead of it."""
    there = np.flatnonzero(np.isfinite(windows.target_cells()).any(axis=0))
    rows = there[(there + windows.first_tick) % windows.spec.forecast_every == 0]
    if not len(rows) or rows[-1] < windows.first_origin():
        raise TidecastError(
            f"expected {windows.spec.context_length} steps of readings (context_length) and more, found {windows.ticks}"
        )
    return int(rows[-1])


def _chosen(windows: TrainingWindows, series: Sequence[str], origin: int) -> IntArray:
    if unknown := sorted(set(series) - set(windows.series_ids)):
        raise TidecastError(
            f"--series: {unknown[0]!r} has no readings; there are {', '.join(windows.series_ids[:5])}, …"
        )
    if series:
        return np.array([windows.series_ids.index(name) for name in series], np.int64)
    there = np.flatnonzero(np.isfinite(windows.target_cells()[:, origin]))
    return there[:SERIES_MAX].astype(np.int64)


def _quantiles(
    windows: TrainingWindows,
    predictor: Predictor,
    bundle: Bundle,
    series: IntArray,
    units: FloatArray,
    batch: WindowBatch,
) -> FloatArray:
    """float64 [B, H, Q], of tables alone (without what a worker has learned since); NaN where the model is silent."""
    spec: StreamSpec = windows.spec
    raw = predictor.raw(batch)
    tables = Tables.of_facts(bundle.facts()).of([windows.series_ids[s] for s in series.tolist()])[:, Rung.MODEL]
    location = raw.locations[:, Rung.MODEL]
    found = place(location, units[:, None], tables, windows.bounds[series][:, None])
    if raw.own is not None:
        told = np.searchsorted(fine_levels(spec.quantile_levels), np.array(spec.quantile_levels))
        own = raw.own[:, :, told]
        found = np.where(np.isfinite(own), own, found)
    return published(found, spec) if spec.is_demand else found
