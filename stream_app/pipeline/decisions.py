"""Decisions that the input log does not determine: made and journaled while live, followed during a replay.

There are four: an idle partition closes, a partition goes over to another model, the clock rejects a reading, a model
fails. Used by the pipeline's thread only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from model_core.arrays import IntArray
from model_core.batches import RawForecast
from model_core.bundle import ModelFacts
from model_core.shadow_offsets import ShadowOffsets
from stream_app.models.loaded import LoadedModel
from stream_app.partitions.journaled import Decision, Kind, ModelFailed
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import ForecastBatches, model_failed_in, without_model
from stream_app.pipeline.leaving import Leaving
from stream_app.pipeline.shadows import Shadows

if TYPE_CHECKING:
    from stream_app.observability.metrics import Metrics

log = structlog.get_logger(__name__)


class Decisions:
    """`offers`: streams → the champion that the watcher has ready."""

    def __init__(
        self,
        forecasts: ForecastBatches,
        offers: Mapping[str, LoadedModel],
        shadows: Shadows,
        leaving: Leaving,
        metrics: Metrics,
        *,
        is_transactional: bool,
    ) -> None:
        self._is_transactional = is_transactional
        self._forecasts = forecasts
        self._offers = offers
        self._shadows = shadows
        self._leaving = leaving
        self._metrics = metrics

    def decide(self, owned: Owned, kind: Kind, **detail: object) -> None:
        """Journal a decision that is made here and now; it leaves together with the outputs it leads to."""
        owned.commit_again()
        self._leaving.add_decision(owned, owned.journaled.decide(owned.state.next_offset, kind, **detail))

    def begin(self, owned: Owned) -> None:
        """A partition was restored: show its model, and follow the decisions that are due before its first reading."""
        facts = self.facts(owned)
        self._metrics.show_model(owned.at.stream, facts.name, facts.version)
        self.follow(owned)

    def follow(self, owned: Owned) -> None:
        """Journaled decisions take effect where they did at the time."""
        for decision in owned.journaled.due(owned.state.next_offset):
            if decision.kind == "model":
                learned = decision.detail.get("learned")
                self._swap(owned, decision.detail["version"], learned and ShadowOffsets.from_json(learned))
            else:
                failed = decision.detail.get("model_failed_in", ())
                self._close(owned, published=self._was_published(decision, owned), failed_then=failed)

    def _was_published(self, decision: Decision, owned: Owned) -> bool:
        """Whether the outputs of a decision were published. At the committed offset itself they were, because the
        journal has the decision by the same transaction; without transactions a crash may have come in between."""
        first_open = owned.emit_from + self._is_transactional
        return decision.next_offset < first_open

    def note_failure(self, owned: Owned, offsets: IntArray, raw: RawForecast, *, until: int) -> None:
        """If the model failed on windows that were not published before; `offsets` made them due. What follows up to
        `until` counts as failed too: a replay that is cut differently must fail there."""
        new = offsets >= owned.emit_from
        if model_failed_in(raw, new):
            first = int(offsets[new].min())
            failed = ModelFailed(first, until, owned.journaled.asked_of(first))
            owned.journaled.fail(failed)
            self.decide(owned, "model_failed", **failed.detail)

    def close_idle(self, owned: Owned) -> bool:
        """The partition is at its end and had no reading for idle_timeout: its open cells close. False: none was."""
        if not (owned.is_live and owned.state.has_open_ticks):
            return False
        failed = self._close(owned, published=False)
        # No verdict by offsets: these windows are due by no reading.
        self.decide(owned, "idle_close", **({"model_failed_in": failed} if failed else {}))
        return True

    def swap_models(self, partitions: Collection[Owned]) -> bool:
        """Between two transactions: live partitions go over to a new champion. Returns whether any did."""
        changed = [owned for owned in partitions if self._new_champion(owned) is not None]
        for owned in changed:
            offered = self._offers[owned.at.stream]
            self._forecasts.adopt(owned.at.stream, offered)
            name, version = offered.facts.name, offered.facts.version
            learned = self._shadows.learned(owned, version)
            said = {} if learned is None else {"learned": learned.to_json()}
            self.decide(owned, "model", name=name, version=version, **said)
            self._shadows.end(owned)
            self._swap(owned, version, learned)
            taken = 0 if learned is None else len(learned.series)
            log.info("model swapped", partition=str(owned.at), model=name, version=version, learned_of_series=taken)
        if changed:
            self._forecasts.forget_unused({(each.at.stream, each.state.model_version) for each in partitions})
        return bool(changed)

    def has_swap(self, partitions: Iterable[Owned]) -> bool:
        return any(self._new_champion(owned) is not None for owned in partitions)

    def facts(self, owned: Owned) -> ModelFacts:
        """Of the model in charge of a partition."""
        return self._forecasts.facts(owned.at.stream, owned.state.model_version)

    def _new_champion(self, owned: Owned) -> LoadedModel | None:
        offered = self._offers.get(owned.at.stream)
        version = owned.state.model_version
        if offered is None or not owned.is_live:
            return None
        # The same version takes charge again if its files were gone and are back.
        same = offered.facts.version == version
        return None if same and not self._forecasts.load(owned.at.stream, version).gone else offered

    def _swap(self, owned: Owned, version: str | None, learned: ShadowOffsets | None) -> None:
        facts = self._forecasts.facts(owned.at.stream, version)
        owned.state.swap_model(facts, learned)
        self._metrics.show_model(owned.at.stream, facts.name, facts.version)

    def _close(self, owned: Owned, *, published: bool, failed_then: Collection[int] | None = None) -> list[int]:
        """Returns in which batches of windows the model failed; in a replay it fails where it did then."""
        failed = []
        for number, seen in enumerate(owned.state.close_idle()):
            raw = self._forecasts.answer({owned: seen})[owned]
            if raw is not None and (model_failed_in(raw) if failed_then is None else number in failed_then):
                failed.append(number)
                raw = without_model(raw, slice(None))
            outcome = owned.state.settle_and_issue(seen, raw)
            self._metrics.count_outcome(owned.at.stream, outcome, owned.spec)
            if self._shadows:
                self._shadows.follow({owned: seen})
            if not published:
                self._leaving.add(owned, outcome, self.facts(owned))
        return failed
