"""Looks for a new champion in the model registry, and for a candidate to run in the shadow. It loads and tries them off
the hot path, and offers them to the pipeline.

A model that cannot be loaded, or was made for another configuration, is refused loudly; the model in charge goes on
serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from model_core.errors import CoreError, MissingBundle
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.models.loaded import LoadedModel, load_and_try
from stream_app.runtime.watching import Watcher

if TYPE_CHECKING:
    from stream_app.models.registry import ModelRegistry
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

TRAINING_LOOKS = 12  # of so many looks one is at what became of training: a list of files
log = structlog.get_logger(__name__)


class ModelWatcher(Watcher):
    """`offers` maps streams to champions that are ready; the pipeline reads it between transactions. If shadows are
    wanted, `candidates` has the newest candidate of each stream, even if it has taken charge meanwhile."""

    def __init__(self, settings: Settings, registry: ModelRegistry, metrics: Metrics) -> None:
        super().__init__("model-watcher", settings.models.poll_interval / 1000)
        self._streams: Mapping[str, StreamSpec] = settings.streams
        self._device, self._strict = settings.device, settings.is_strict
        self._registry = registry
        self._metrics = metrics
        self._attempts: dict[tuple[str, str], int] = {}
        self._attempts_max = settings.limits.model_attempts_max
        self._said: dict[str, str] = {}  # stream → what is wrong with its registry: said once
        self._looks = 0
        self._shadowed = settings.models.shadow_series_max > 0
        self.offers: dict[str, LoadedModel] = {}
        self.candidates: dict[str, LoadedModel] = {}

    def start(self) -> None:
        self.look()  # so that the first forecast is the champion's already
        super().start()

    def look(self) -> None:
        for stream, spec in self._streams.items():
            try:
                version = self._registry.champion(stream)
                candidate = self._registry.alias(stream, "candidate") if self._shadowed else None
                if version is None and stream in self.offers:  # an empty folder and one that is not mounted look alike
                    had = self.offers[stream].facts.version
                    raise TidecastError(f"expected a champion of {stream}, as {had} was, found none (models.registry)")
                if self._looks % TRAINING_LOOKS == 0:
                    self._metrics.show_training(stream, self._registry.attempts(stream))
            except Exception as error:  # noqa: BLE001 - any file system may be behind the registry; serving goes on
                self._say(stream, str(error))
                self._metrics.champion_refused.labels(stream).set(1)
                continue
            self._said.pop(stream, None)
            self._find(stream, spec, version, self.offers)
            serves = stream in self.offers and self.offers[stream].facts.version == version
            self._metrics.champion_refused.labels(stream).set(version is not None and not serves)
            if candidate != version:
                self._find(stream, spec, candidate, self.candidates)
        self._looks += 1

    def _find(self, stream: str, spec: StreamSpec, version: str | None, found: dict[str, LoadedModel]) -> None:
        """Put a version into `found`, if it is a new one and can be loaded."""
        there = found.get(stream)
        if version is None or (there is not None and there.facts.version == version):
            return
        for other in (self.offers, self.candidates):  # a candidate that takes charge is in memory already
            if stream in other and other[stream].facts.version == version:
                found[stream] = other[stream]
                return
        if self._attempts.get((stream, version), 0) < self._attempts_max:
            self._try(stream, spec, version, found)

    def _say(self, stream: str, error: str) -> None:
        """Log a problem once, until it is mended or another one comes up."""
        if self._said.get(stream) != error:
            self._said[stream] = error
            log.error("model registry cannot be read, the model in charge serves on", stream=stream, error=error)

    def _try(self, stream: str, spec: StreamSpec, version: str, found: dict[str, LoadedModel]) -> None:
        try:
            found[stream] = load_and_try(self._registry, stream, spec, version, self._device, self._strict)
        except (CoreError, TidecastError, OSError, ValueError, RuntimeError) as error:
            tries = self._attempts.get((stream, version))
            self._attempts[stream, version] = (tries or 0) + (not isinstance(error, MissingBundle))
            if tries is None:  # once: what is tried again is a store that may have been away
                self._metrics.models_refused.labels(stream).inc()
                log.error(
                    "model refused, the one in charge serves on", stream=stream, version=version, error=str(error)
                )
        else:
            event = "model offered" if found is self.offers else "candidate found"
            log.info(event, stream=stream, version=version)
