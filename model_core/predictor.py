"""Windows → uncalibrated locations of the model and both naive forecasts. A pure function of the batch and the model.

Used by the worker, the trainer and the backtest alike, so that what is served is what was judged.
"""

import numpy as np

from model_core.arrays import BoolArray, CodeArray, FloatArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import Bundle
from model_core.ladder import TRACKED_RUNGS, Reason, Rung
from model_core.models.naive import last_value, seasonal_naive
from model_core.spec import StreamSpec


class Predictor:
    """The raw part of a forecast."""

    def __init__(
        self, spec: StreamSpec, bundle: Bundle | None, *, device: str = "auto", strict: bool = False
    ) -> None:
        self.spec = spec
        self.name = bundle.manifest.model if bundle else None
        self.version = bundle.manifest.version if bundle else None

    def raw(self, batch: WindowBatch) -> RawForecast:
        """One row for each window. Never raises for bad rows: they say with `reason` why the model does not answer."""
        target = batch.windows[:, :, 0]
        observed_share = np.isfinite(target).mean(axis=1, dtype=np.float64).astype(np.float32)
        locations = np.full((len(batch), TRACKED_RUNGS, self.spec.horizon), np.nan)
        last = last_value(target, batch.season.shape[1])
        locations[:, Rung.LAST_VALUE] = last[:, None]
        locations[:, Rung.SEASONAL_NAIVE] = seasonal_naive(batch.season, last, self.spec.horizon)
        reason = np.full(len(batch), Reason.NO_MODEL, np.int8)
        return RawForecast(locations, reason, observed_share, np.zeros(len(batch), np.bool_))


__all__ = ["BoolArray", "CodeArray", "FloatArray", "Predictor"]
