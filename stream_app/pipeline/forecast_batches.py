"""Owns the device: gathers the windows that are due in all partitions and streams, and answers them in large batches.

A partition is answered by the model that its state says is in charge; during a replay that may be an older one, which
the registry still has. Used by the pipeline's thread only; candidates come in from the watcher (models/watcher.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from model_core.arrays import IntArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.errors import CorruptBundle
from model_core.ladder import Reason, Rung
from model_core.outcomes import Observed
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from stream_app.models.loaded import LoadedModel
from stream_app.partitions.owned import Owned

if TYPE_CHECKING:
    from stream_app.models.registry import ModelRegistry
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)


class ForecastBatches:
    """`answer` is the only place where models run."""

    def __init__(self, settings: Settings, registry: ModelRegistry, metrics: Metrics) -> None:
        self._streams: Mapping[str, StreamSpec] = settings.streams
        self._device, self._strict = settings.device, settings.is_strict
        self._windows_max = settings.limits.forecast_batch_max
        self._registry = registry
        self._metrics = metrics
        self._loaded: dict[tuple[str, str | None], LoadedModel] = {}

    def load(self, stream: str, version: str | None) -> LoadedModel:
        """The model of a version, from memory or the registry; None: no model yet, naive rungs answer."""
        key = (stream, version)
        if key not in self._loaded:
            self._loaded[key] = self._from_registry(stream, version)
        return self._loaded[key]

    def facts(self, stream: str, version: str | None) -> ModelFacts:
        """What a partition's state needs to know of that model."""
        return self.load(stream, version).facts

    def _from_registry(self, stream: str, version: str | None) -> LoadedModel:
        spec = self._streams[stream]
        try:
            bundle = self._registry.load(stream, version) if version is not None else None
        except CorruptBundle as error:
            # Whatever somebody did to the registry, a partition that it was in charge of goes on.
            log.error("model is gone, the ladder answers", stream=stream, version=version, error=str(error))
            self._metrics.models_refused.labels(stream).inc()
            facts = replace(ModelFacts.none(spec), version=version)
            return LoadedModel(Predictor(spec, None, gone=True), facts, gone=True)
        predictor = Predictor(spec, bundle, device=self._device, strict=self._strict)
        return LoadedModel(predictor, bundle.facts() if bundle else ModelFacts.none(spec))

    def adopt(self, stream: str, loaded: LoadedModel) -> None:
        """A model that the watcher has loaded and tried."""
        self._loaded[stream, loaded.facts.version] = loaded

    def forget_unused(self, in_use: set[tuple[str, str | None]]) -> None:
        for key in self._loaded.keys() - in_use:
            del self._loaded[key]

    def answer(self, observed: Mapping[Owned, Observed]) -> dict[Owned, RawForecast | None]:
        """One RawForecast for each partition's windows; None where none is due."""
        answers: dict[Owned, RawForecast | None] = dict.fromkeys(observed)
        by_model: dict[tuple[str, str | None], list[Owned]] = {}
        for owned, seen in observed.items():
            if seen.windows is not None and len(seen.windows):
                by_model.setdefault((owned.at.stream, owned.state.model_version), []).append(owned)
        for (stream, version), partitions in by_model.items():
            windows = [batch for owned in partitions if (batch := observed[owned].windows) is not None]
            raw = self.in_chunks(stream, self.load(stream, version).predictor, WindowBatch.concatenate(windows))
            first = 0
            for owned, batch in zip(partitions, windows, strict=True):
                answers[owned] = raw.rows(slice(first, first + len(batch)))
                first += len(batch)
        return answers

    def in_chunks(self, stream: str, predictor: Predictor, windows: WindowBatch) -> RawForecast:
        """At most `forecast_batch_max` windows at once."""
        parts, fallbacks = [], predictor.fallbacks
        for first in range(0, len(windows), self._windows_max):
            chunk = windows.rows(slice(first, first + self._windows_max))
            with self._metrics.forecast_seconds.time():
                parts.append(predictor.raw(chunk))
            self._metrics.forecast_batch_windows.observe(len(chunk))
        if predictor.fallbacks > fallbacks:
            self._metrics.count("device_fallbacks", stream, by=predictor.fallbacks - fallbacks)
            log.error("out of memory on the device: smaller batches, in the end the CPU", stream=stream)
        return RawForecast.concatenate(parts)


def model_failed_in(raw: RawForecast) -> bool:
    return bool((raw.reason == Reason.MODEL_FAILED).any())


def without_model(raw: RawForecast, rows: IntArray | slice) -> RawForecast:
    """As if the model had failed on these rows: the next rung of the ladder answers them."""
    locations, reason = raw.locations.copy(), raw.reason.copy()
    locations[rows, Rung.MODEL] = np.nan
    reason[rows] = np.where(reason[rows] == Reason.OK, Reason.MODEL_FAILED, reason[rows])
    return replace(raw, locations=locations, reason=reason)


def window_offsets(observed: Observed) -> IntArray:
    """Input offset that caused each window, in the order of the windows."""
    return np.concatenate([wave.offsets[wave.due] for wave in observed.waves] or [np.empty(0, np.int64)])
