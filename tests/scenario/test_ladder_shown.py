"""The ladder, shown: for each rung what leads to it, that it comes back, and that one sick series costs no other its
model. Driven through the worker's own core, tick by tick; two of them through a worker, in what it publishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_core.backtest import steps
from model_core.bundle import BASE, SERIES_TABLES, Bundle, ModelFacts
from model_core.ladder import REASON_NAMES, RUNG_NAMES
from model_core.models import MODELS
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from tests.app.running_worker import World, readings, wait_until
from tests.core.partition_run import stopped_and_restored

HOUR_MS, START = 3_600_000, 1000
LENGTH, SEASON, TICKS = 24, 6, 240
SPEC = StreamSpec(
    topic="t", freq=HOUR_MS, context_length=LENGTH, horizon=4, seasonality=(SEASON * HOUR_MS,), min_readings=3,
    readings_per_step=None, max_out_of_orderness=0, dormant_after=60,
)  # fmt: skip
Said = list[tuple[str, str, int, int]]  # (rung, reason, first origin, last origin), as long as they stay the same


class Shown:
    """Three series of a partition with a model; `spoil` changes what s0 says, NaN: nothing."""

    def __init__(self, rng: np.random.Generator, spoil: Callable[[int, float], float] = lambda _, value: value) -> None:
        ticks = np.arange(TICKS)[:, None]
        self.values = 20 + 3 * np.sin(2 * np.pi * ticks / SEASON + np.arange(3)) + rng.normal(0, 0.3, (TICKS, 3))
        for tick in range(TICKS):
            self.values[tick, 0] = spoil(tick, self.values[tick, 0])
        self.bundle = untrained(SPEC, "m1", 0.05)
        self.state = PartitionState(SPEC, 0, self.bundle.facts())
        self.predictor = Predictor(SPEC, self.bundle, device="cpu")
        self.forecasts: dict[str, dict[int, tuple[str, str]]] = {}
        self.quantiles: dict[str, dict[int, np.ndarray]] = {}
        self.drift: list[tuple[str, str, int]] = []
        self.offset = 0

    def run(self, first: int = 0, last: int = TICKS) -> Shown:
        rows, columns = np.nonzero(np.isfinite(self.values[first:last]))
        rows += first
        offsets = self.offset + np.arange(len(rows))
        self.offset += len(rows)
        names = [f"s{column}" for column in columns.tolist()]
        stamps = (START + rows) * HOUR_MS
        log = Readings(names, stamps, self.values[rows, columns], offsets)
        for _, outcome in steps(self.state, log, self.predictor):
            made = outcome.forecasts
            for i, name in enumerate(made.series_ids):
                origin = int(made.origins[i]) - START
                said = RUNG_NAMES[made.rungs[i]], REASON_NAMES[made.reasons[i]]
                self.forecasts.setdefault(name, {})[origin] = said
                self.quantiles.setdefault(name, {})[origin] = made.quantiles[i]
            self.drift += [(d.series_id, d.detector, d.since - START) for d in outcome.drift if d.series_id]
        return self

    def said(self, name: str) -> Said:
        parts = groupby(sorted(self.forecasts[name].items()), key=lambda each: each[1])
        runs = [(rung, reason, [origin for origin, _ in group]) for (rung, reason), group in parts]
        return [(rung, reason, origins[0], origins[-1]) for rung, reason, origins in runs]

    def reasons(self, name: str) -> list[str]:
        return [reason for reason, _ in groupby(reason for _, reason, _, _ in self.said(name))]

    def assert_others_keep_their_model(self) -> None:
        for name in ("s1", "s2"):
            assert self.reasons(name) == ["too_short", "ok"]
        for quantiles in self.quantiles.values():
            assert all(np.isfinite(each).all() for each in quantiles.values()), "every rung answers with numbers"


def test_a_cold_start_is_silent_then_naive_then_the_model(rng: np.random.Generator) -> None:
    """s0 speaks for the first time at tick 100: three readings until a forecast, 80 % of a context until the model."""
    shown = Shown(rng, lambda tick, value: value if tick >= 100 else np.nan).run()
    origins = shown.forecasts["s0"]
    assert min(origins) == 102
    short = [origin for origin, (_, reason) in origins.items() if reason == "too_short"]
    assert (min(short), max(short)) == (102, 118)  # the 20th reading, of 24, is at 119
    assert {origins[origin][0] for origin in short} <= {"seasonal_naive", "last_value"}
    assert origins[119] == ("model", "ok")
    assert shown.reasons("s0") == ["too_short", "ok"]
    shown.assert_others_keep_their_model()


def test_with_forty_percent_missing_naive_forecasts_answer_until_windows_are_full_again(
    rng: np.random.Generator,
) -> None:
    shown = Shown(rng, lambda tick, value: np.nan if 80 <= tick < 140 and tick % 5 in (1, 3) else value).run()
    holes = [origin for origin, (_, reason) in shown.forecasts["s0"].items() if reason == "too_many_holes"]
    assert {shown.forecasts["s0"][origin][0] for origin in holes} <= {"seasonal_naive", "last_value"}
    # The fifth cell of 24 that is missing is that of tick 91; the last but four leave the window with 148.
    assert (min(holes), max(holes)) == (91, 151)
    assert shown.forecasts["s0"][TICKS - 2] == ("model", "ok")
    shown.assert_others_keep_their_model()


def test_in_a_gap_of_more_than_a_season_the_level_answers(rng: np.random.Generator) -> None:
    shown = Shown(rng, lambda tick, value: np.nan if 80 <= tick < 95 else value).run()
    rungs = shown.forecasts["s0"]
    assert [rungs[origin] for origin in (85, 94)] == [("level", "too_many_holes")] * 2
    level, spread = shown.quantiles["s0"][94][4], shown.quantiles["s0"][94][8] - shown.quantiles["s0"][94][0]
    np.testing.assert_allclose(level, 20, atol=3)
    assert (spread > 4).all(), "the level's quantiles are wide"
    assert rungs[96][0] in ("seasonal_naive", "last_value")
    assert rungs[TICKS - 2] == ("model", "ok")
    shown.assert_others_keep_their_model()


def test_a_flatline_is_out_of_distribution_and_told_and_the_model_comes_back_after_a_season(
    rng: np.random.Generator,
) -> None:
    shown = Shown(rng, lambda tick, value: 21.0 if 80 <= tick < 130 else value).run()
    flat = [origin for origin, (_, reason) in shown.forecasts["s0"].items() if reason == "out_of_distribution"]
    assert {shown.forecasts["s0"][origin][0] for origin in flat} <= {"seasonal_naive", "last_value"}
    assert ("s0", "flatline", 85) in shown.drift  # a season of equal values
    assert min(flat) <= 80 + LENGTH
    assert min(flat) + SEASON <= max(flat)
    assert shown.forecasts["s0"][TICKS - 2] == ("model", "ok")
    assert not [each for each in shown.drift if each[1] == "flatline" and each[0] != "s0"]
    shown.assert_others_keep_their_model()


def test_values_ten_times_as_large_are_out_of_distribution_until_a_season_after_the_last(
    rng: np.random.Generator,
) -> None:
    shown = Shown(rng, lambda tick, value: 10 * value if 120 <= tick < 123 else value).run()
    odd = sorted(origin for origin, (_, reason) in shown.forecasts["s0"].items() if reason == "out_of_distribution")
    assert odd[0] == 120
    assert odd == list(range(odd[0], odd[-1] + 1)), "without a break: the model does not flicker"
    assert odd[-1] >= 122 + SEASON
    assert shown.forecasts["s0"][TICKS - 2] == ("model", "ok")
    shown.assert_others_keep_their_model()


def test_a_model_that_answers_nan_for_one_series_is_replaced_there_and_asked_again(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, build = Shown(rng), MODELS["ridge"]

    def spoiled(*arguments: Any) -> Callable[[Any], np.ndarray]:
        model = build(*arguments)

        def answer(inputs: Any) -> np.ndarray:
            outputs = model(inputs)
            outputs[0] = np.nan  # s0 comes first in every batch
            return outputs

        return answer

    shown.run(0, 100)
    sound = shown.predictor
    with monkeypatch.context() as patch:
        patch.setitem(MODELS, "ridge", spoiled)
        shown.predictor = Predictor(SPEC, shown.bundle, device="cpu")
    shown.run(100, 130)
    shown.predictor = sound
    shown.run(130)
    nan = [origin for origin, (_, reason) in shown.forecasts["s0"].items() if reason == "non_finite"]
    assert nan
    assert len(nan) == nan[-1] - nan[0] + 1
    assert {shown.forecasts["s0"][origin][0] for origin in nan} <= {"seasonal_naive", "last_value"}
    assert shown.forecasts["s0"][TICKS - 2] == ("model", "ok")
    shown.assert_others_keep_their_model()


def test_what_waits_for_a_model_whose_files_are_gone_is_learned_from_without_its_tables(
    rng: np.random.Generator,
) -> None:
    """Series with tables of their own: a worker that starts without the model has none, and gets them back with it."""
    shown = Shown(rng)
    made = shown.bundle
    tables = np.repeat(made.tensors[BASE][:1], 3, axis=0) * np.array([1.0, 1.5, 0.7])[:, None, None]
    fields = made.manifest.model_dump(exclude={"tensors", "sha256", "series"})
    shown.bundle = bundle = Bundle.sealed(made.tensors | {SERIES_TABLES: tables}, **fields, series=("s0", "s1", "s2"))
    shown.state, shown.predictor = PartitionState(SPEC, 0, bundle.facts()), Predictor(SPEC, bundle, device="cpu")
    shown.run(0, 120)
    own = shown.state.columns.flat("base_row")[:3].tolist()
    assert own == [0, 1, 2]
    offsets = shown.state.columns.flat("offsets")[:3].copy()
    gone = replace(ModelFacts.none(SPEC), version=bundle.manifest.version)
    shown.state = stopped_and_restored(shown.state, SPEC, gone)
    assert (shown.state.columns.flat("base_row")[:3] == -1).all()
    shown.predictor = Predictor(SPEC, None, gone=True)
    shown.run(120, 150)
    np.testing.assert_allclose(shown.state.columns.flat("offsets")[:3], offsets, atol=0.1)  # four forecasts waited
    shown.state.swap_model(bundle.facts())
    shown.predictor = Predictor(SPEC, bundle, device="cpu")
    assert shown.state.columns.flat("base_row")[:3].tolist() == own
    shown.run(150)
    for name in ("s0", "s1", "s2"):
        assert shown.reasons(name)[-3:] == ["ok", "model_failed", "ok"]
        assert all(np.isfinite(each).all() for each in shown.quantiles[name].values())


# --- through a worker -------------------------------------------------------------------------------------------------

STREAM = "context_length = 24\nmin_readings = 3"


@pytest.fixture
def partitions() -> int:
    return 1


def waves(rng: np.random.Generator, ticks: int) -> np.ndarray:
    return 20 + 3 * np.sin(np.arange(ticks)[:, None] / 2 + np.arange(3)) + rng.normal(0, 0.3, (ticks, 3))


def of(world: World, series: str) -> list[tuple[str, str | None, str]]:
    """(status, reason, model) of its forecasts, in order."""
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    return [(each["status"], each["reason"], each["model"]) for each in found if each["series_id"] == series]


def promoted(world: World, config: Path) -> Path:
    """The folder of a model that is in charge."""
    registry = ModelRegistry(str(world.folder / "models"))
    spec = Settings.load(config, {}).streams["tides"]
    registry.publish("tides", untrained(spec, "m1", 0.05), {})
    registry.promote("tides", "m1")
    return world.folder / "models" / "tides" / "versions" / "m1"


def test_a_worker_publishes_the_rung_and_its_reason_of_the_one_sick_series(
    world: World, rng: np.random.Generator
) -> None:
    config = world.deployment("a")
    promoted(world, config)
    values = waves(rng, 130)
    values[60:63, 0] *= 10
    world.start(config)
    world.send(readings(np.round(values, 3).tolist()))
    world.wait_for_forecasts("a", 130 * 3)
    sick = of(world, "s0")
    assert {reason for _, reason, _ in sick} == {"too_short", "out_of_distribution", None}
    assert all((status == "ok") == (reason is None) == (model == "ridge") for status, reason, model in sick)
    assert sick[60][1] == "out_of_distribution"
    assert sick[-1] == ("ok", None, "ridge")
    for name in ("s1", "s2"):
        assert {reason for _, reason, _ in of(world, name)} == {"too_short", None}


def test_a_worker_whose_model_file_is_gone_goes_on_and_takes_it_back_when_it_is_there_again(
    world: World, rng: np.random.Generator
) -> None:
    config = world.deployment("a")
    folder = promoted(world, config)
    values = np.round(waves(rng, 70), 3).tolist()
    worker = world.start(config)
    world.send(readings(values[:40]))
    world.wait_for_forecasts("a", 40 * 3)
    assert worker.stop() == 0
    shutil.move(folder, world.folder / "aside")
    worker = world.start(config)
    world.send(readings(values[40:50], first=40))
    world.wait_for_forecasts("a", 50 * 3)
    assert worker.wait_for("model is gone, the ladder answers")["version"] == "m1"
    shutil.move(world.folder / "aside", folder)
    worker.wait_for("model swapped")
    world.send(readings(values[50:], first=50))
    world.wait_for_forecasts("a", 70 * 3)
    for name in ("s0", "s1", "s2"):
        said = of(world, name)
        assert set(said[40:50]) <= {("fallback", "model_failed", rung) for rung in ("seasonal_naive", "last_value")}
        assert set(said[50:]) == {("ok", None, "ridge")}
    assert worker.stop() == 0
    assert wait_until(lambda: len(of(world, "s0")) == 70, 10, "each forecast once")
