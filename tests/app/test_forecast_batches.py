"""A candidate answers the windows that the models in charge have just answered, whichever of them it has to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from model_core.batches import RawForecast, WindowBatch
from model_core.outcomes import Observed
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.observability.metrics import Metrics
from stream_app.partitions.journaled import Journaled
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import ForecastBatches
from stream_app.polling.poll_batch import StreamPartition
from stream_app.settings import Settings

SERIES, TICKS, FIRST = (5, 1, 9), 40, 2_953_000
STREAM = {"topic": "in", "freq": "10min", "context_length": 24, "horizon": 6, "readings_per_step": 1}


class Place:
    """Three partitions with full windows, a champion and a candidate of theirs."""

    def __init__(self, folder: Path, windows_max: int) -> None:
        limits: Any = {"forecast_batch_max": windows_max}
        self.settings = Settings(
            models={"registry": str(folder)}, streams={"tides": STREAM}, device="cpu", limits=limits
        )
        self.spec, registry = self.settings.streams["tides"], ModelRegistry(str(folder))
        bundles = [untrained(self.spec, version, 0.05 * k) for k, version in enumerate(("first", "second"), 1)]
        for bundle in bundles:
            registry.publish("tides", bundle, {})
        self.predictors = [Predictor(self.spec, bundle, device="cpu") for bundle in bundles]
        self.forecasts = ForecastBatches(self.settings, registry, Metrics())
        self.observed: dict[Owned, Observed] = {}
        for number, series in enumerate(SERIES):
            state = PartitionState(self.spec, number, bundles[0].facts())
            owned = Owned(StreamPartition("tides", number), self.spec, state, cast(Any, None), 0, 0, Journaled())
            owned.shadow = state.begin_shadow(bundles[1].facts(), 100)
            *_, self.observed[owned] = self.feed(state, number, series)

    def feed(self, state: PartitionState, number: int, series: int) -> list[Observed]:
        """Of all polls but the last the forecasts are made, as an owner would."""
        rng, seen = np.random.default_rng(number), []
        for tick in range(FIRST, FIRST + TICKS):
            ids = [f"s{number}-{each}" for each in range(series)]
            values = 20 + rng.normal(size=series)
            offsets = np.arange(series) + state.next_offset
            for observed in state.observe(Readings(ids, np.full(series, tick * self.spec.step_ms), values, offsets)):
                seen.append(observed)
                if tick < FIRST + TICKS - 1:
                    windows = observed.windows
                    state.settle_and_issue(observed, None if windows is None else self.predictors[0].raw(windows))
        return seen


def windows_of(observed: Observed) -> WindowBatch:
    assert observed.windows is not None, "the newest tick has forecasts"
    return observed.windows


def same(found: RawForecast | None, expected: RawForecast) -> None:
    assert found is not None
    np.testing.assert_array_equal(found.locations, expected.locations)
    np.testing.assert_array_equal(found.reason, expected.reason)


@pytest.mark.parametrize("windows_max", [1000, 4])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_both_say_what_they_say_alone(tmp_path: Path, rng: np.random.Generator, windows_max: int, share: float) -> None:
    place = Place(tmp_path, windows_max)
    given = place.forecasts.answer(place.observed)
    for owned, seen in place.observed.items():
        same(given[owned], place.predictors[0].raw(windows_of(seen)))
    wanted = {
        owned: np.flatnonzero(rng.random(len(windows_of(seen))) < share) for owned, seen in place.observed.items()
    }
    found = place.forecasts.answer_again("tides", place.predictors[1], wanted)
    assert found.keys() == {owned for owned, rows in wanted.items() if len(rows)}
    for owned, raw in found.items():
        same(raw, place.predictors[1].raw(windows_of(place.observed[owned]).rows(wanted[owned])))


def test_windows_of_partitions_without_a_shadow_are_not_kept(tmp_path: Path) -> None:
    place = Place(tmp_path, 1000)
    for owned in place.observed:
        owned.shadow = None
    place.forecasts.answer(place.observed)
    assert not place.forecasts.answer_again(
        "tides", place.predictors[1], {owned: np.arange(1) for owned in place.observed}
    )
