"""Owns the device: gathers the windows that are due in all partitions and streams, and answers them in large batches.

A partition is answered by the model that its state names as the one in charge. During a replay that may be an older
version, which the registry still has. Used by the pipeline's thread only; new models come from the watcher
(models/watcher.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from model_core.arrays import BoolArray, IntArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.errors import CorruptBundle
from model_core.ladder import Reason, Rung
from model_core.outcomes import Observed
from model_core.predictor import Predictor
from model_core.sight import Sight, look
from model_core.spec import StreamSpec
from stream_app.models.loaded import LoadedModel, device_turn
from stream_app.partitions.owned import Owned

if TYPE_CHECKING:
    from stream_app.models.registry import ModelRegistry
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LookedAt:
    """Windows of some partitions of a stream, one partition after the other; `counts` of each."""

    sights: list[Sight]
    counts: dict[Owned, int]

    def some(self, wanted: Mapping[Owned, IntArray]) -> LookedAt:
        """The same for some windows of each partition."""
        first, index, counts = 0, [], {}
        for owned, count in self.counts.items():
            if owned in wanted and len(wanted[owned]):
                index.append(first + wanted[owned])
                counts[owned] = len(wanted[owned])
            first += count
        if not counts:
            return LookedAt([], {})
        if sum(counts.values()) == first:
            return self
        every, sights, start = np.concatenate(index), [], 0
        for sight in self.sights:
            inside = every[(every >= start) & (every < start + len(sight))] - start
            if len(inside):
                sights.append(sight.rows(inside))
            start += len(sight)
        return LookedAt(sights, counts)


class ForecastBatches:
    """`answer` and `answer_again` are the only places where models run."""

    def __init__(self, settings: Settings, registry: ModelRegistry, metrics: Metrics) -> None:
        self._streams: Mapping[str, StreamSpec] = settings.streams
        self._device, self._strict = settings.device, settings.is_strict
        self._windows_max = settings.limits.forecast_batch_max
        self._registry = registry
        self._metrics = metrics
        self._loaded: dict[tuple[str, str | None], LoadedModel] = {}
        self._looked_at: list[LookedAt] = []  # by the newest `answer`

    def load(self, stream: str, version: str | None) -> LoadedModel:
        """The model of a version, from memory or the registry. Version None: no model yet, naive rungs answer."""
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
            # Whatever happened to the registry, the partitions that this model is in charge of go on.
            log.error("model is gone, the ladder answers", stream=stream, version=version, error=str(error))
            self._metrics.models_refused.labels(stream).inc()
            facts = replace(ModelFacts.none(spec), version=version)
            return LoadedModel(Predictor(spec, None, gone=True), facts, gone=True)
        with device_turn:
            predictor = Predictor(spec, bundle, device=self._device, strict=self._strict)
        return LoadedModel(predictor, bundle.facts() if bundle else ModelFacts.none(spec))

    def adopt(self, stream: str, loaded: LoadedModel) -> None:
        """A model that the watcher has loaded and tried."""
        self._loaded[stream, loaded.facts.version] = loaded

    def forget_unused(self, in_use: set[tuple[str, str | None]]) -> None:
        for key in self._loaded.keys() - in_use:
            del self._loaded[key]

    def answer(self, observed: Mapping[Owned, Observed]) -> dict[Owned, RawForecast | None]:
        """One RawForecast for each partition's windows; None where none is due.

        Where a candidate runs in the shadow, `answer_again` lets it answer the same windows afterwards.
        """
        answers: dict[Owned, RawForecast | None] = dict.fromkeys(observed)
        by_model: dict[tuple[str, str | None], list[Owned]] = {}
        for owned, seen in observed.items():
            if seen.windows is not None and len(seen.windows):
                by_model.setdefault((owned.at.stream, owned.state.model_version), []).append(owned)
        self._looked_at = []
        for (stream, version), partitions in by_model.items():
            batches = [windows for owned in partitions if (windows := observed[owned].windows) is not None]
            windows, counts = WindowBatch.concatenate(batches), dict(zip(partitions, map(len, batches), strict=True))
            again = any(owned.shadow is not None for owned in partitions)
            predictor, sights, parts = self.load(stream, version).predictor, [], []
            for at in range(0, len(windows), self._windows_max):
                with self._measured(stream, predictor, min(self._windows_max, len(windows) - at)):
                    some = windows.rows(slice(at, at + self._windows_max))
                    sights.append(look(some, predictor.spec.horizon, again=again))
                    parts.append(predictor.answer(sights[-1]))
            answers |= _by_partition(parts, counts)
            if again:
                self._looked_at.append(LookedAt(sights, counts))
        return answers

    def answer_again(
        self, stream: str, predictor: Predictor, wanted: Mapping[Owned, IntArray]
    ) -> dict[Owned, RawForecast]:
        """The answers of another model to windows that were answered last: `wanted` are rows of each partition's
        windows. It may overwrite the answers that were given before."""
        answers: dict[Owned, RawForecast] = {}
        for looked_at in self._looked_at:
            some = looked_at.some(wanted)
            parts = []
            for sight in some.sights:
                with self._measured(stream, predictor, len(sight)):
                    parts.append(predictor.answer(sight))
            answers |= _by_partition(parts, some.counts)
        return answers

    @contextmanager
    def _measured(self, stream: str, predictor: Predictor, windows: int) -> Iterator[None]:
        with self._metrics.forecast_seconds.time(), device_turn:
            yield
        self._metrics.forecast_batch_windows.observe(windows)
        for fallback in predictor.take_fallbacks():
            self._metrics.count("device_fallbacks", stream)
            log.error(fallback, stream=stream, version=predictor.version)


def _by_partition(parts: list[RawForecast], counts: Mapping[Owned, int]) -> dict[Owned, RawForecast]:
    if not parts:
        return {}
    raw, first, answers = RawForecast.concatenate(parts), 0, {}
    for owned, count in counts.items():
        answers[owned] = raw.rows(slice(first, first + count))
        first += count
    return answers


def model_failed_in(raw: RawForecast, rows: BoolArray | slice = slice(None)) -> bool:
    return bool((raw.reason[rows] == Reason.MODEL_FAILED).any())


def without_model(raw: RawForecast, rows: IntArray | slice) -> RawForecast:
    """The forecast as if the model had failed on these rows: the next rung of the ladder answers them."""
    locations, reason = raw.locations.copy(), raw.reason.copy()
    locations[rows, Rung.MODEL] = np.nan
    reason[rows] = np.where(reason[rows] == Reason.OK, Reason.MODEL_FAILED, reason[rows])
    return replace(raw, locations=locations, reason=reason)


def window_offsets(observed: Observed) -> IntArray:
    """Input offset that caused each window, in the order of the windows."""
    return np.concatenate([wave.offsets[wave.due] for wave in observed.waves] or [np.empty(0, np.int64)])
