"""Candidates in the shadow: each runs on the live windows of every partition, beside the model in charge.

Only their scores are published, bin by bin, to the control topic. A partition has no shadow while it is replayed, or
when the candidate is its model already. Used by the pipeline's thread only; candidates come from the watcher.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from model_core.shadow_offsets import ShadowOffsets
from stream_app.models.loaded import LoadedModel
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import ForecastBatches

if TYPE_CHECKING:
    from model_core.arrays import IntArray
    from model_core.outcomes import Observed
    from model_core.predictor import Predictor
    from model_core.shadow import Shadow
    from stream_app.observability.metrics import Metrics
    from stream_app.pipeline.leaving import Leaving

log = structlog.get_logger(__name__)


class Shadows:
    """`candidates`: streams → the candidate that the watcher has ready; empty while there is none to run."""

    def __init__(
        self,
        forecasts: ForecastBatches,
        candidates: Mapping[str, LoadedModel],
        leaving: Leaving,
        metrics: Metrics,
        series_max: int,
    ) -> None:
        self._forecasts = forecasts
        self._candidates = candidates
        self._leaving = leaving
        self._metrics = metrics
        self._series_max = series_max

    def __bool__(self) -> bool:
        return bool(self._candidates)

    def follow(self, observed: Mapping[Owned, Observed]) -> None:
        """After the models in charge have settled all of it."""
        going: dict[str, list[tuple[Owned, Shadow, IntArray]]] = {}
        candidates = dict(self._candidates)  # another may come in at any moment
        for owned, seen in observed.items():
            shadow = self._shadow(owned, candidates.get(owned.at.stream))
            if shadow is not None:
                going.setdefault(owned.at.stream, []).append((owned, shadow, shadow.rows(seen)))
        for stream, some in going.items():
            self._settle(stream, candidates[stream].predictor, some, observed)

    def _shadow(self, owned: Owned, candidate: LoadedModel | None) -> Shadow | None:
        """The shadow that was there before these windows, if it is still wanted. A new one begins with the next."""
        wanted = candidate.facts.version if candidate is not None and owned.is_live else None
        if wanted == owned.state.model_version:
            wanted = None
        shadow = owned.shadow
        if shadow is not None and shadow.version == wanted:
            return shadow
        if shadow is not None:
            self.end(owned)
        if candidate is not None and wanted is not None:
            owned.shadow = owned.state.begin_shadow(candidate.facts, self._series_max)
            log.info("shadow begins", partition=str(owned.at), version=wanted, series=len(owned.shadow))
        return None

    def _settle(
        self,
        stream: str,
        predictor: Predictor,
        some: list[tuple[Owned, Shadow, IntArray]],
        observed: Mapping[Owned, Observed],
    ) -> None:
        """The models in charge are done with their answers: the candidate's may take their place."""
        answers = self._forecasts.answer_again(stream, predictor, {owned: rows for owned, _, rows in some})
        for owned, shadow, rows in some:
            for score in shadow.settle(observed[owned], rows, answers.get(owned), owned.state.take_losses()):
                self._leaving.add_shadow_score(owned, shadow, score)
                self._metrics.count("shadow_scored", stream, by=score.scored)
                self._metrics.shadow_ratio.labels(stream).set(score.candidate / max(score.champion, 1e-12))

    def learned(self, owned: Owned, version: str | None) -> ShadowOffsets | None:
        """What the model that takes charge has learned in the shadow; None when it did not run there."""
        shadow = owned.shadow
        if shadow is None or shadow.version != version:
            return None
        # As the journal will have it: what does not fit into a record is not taken over here either.
        return ShadowOffsets.from_json(shadow.learned().to_json())

    def end(self, owned: Owned) -> None:
        if owned.shadow is not None:
            owned.shadow = None
            owned.state.end_shadow()
