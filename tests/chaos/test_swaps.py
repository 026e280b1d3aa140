"""Models change hands while a worker is fed: nothing is missing or doubled, and a replay swaps where it did."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from typer.testing import CliRunner

from model_core.shadow_offsets import ShadowOffsets
from stream_app.cli.command_line import build_app
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from tests.app.running_worker import World, wait_until
from tests.app.saved_states import saved_state
from tests.chaos.checker import Published
from tests.chaos.disturbed import PATIENT_S, Disturbed
from tests.chaos.saved import differences

pytestmark = pytest.mark.timeout(300)


def tidecast(run: Disturbed, *words: str) -> None:
    """As a person types it."""

    result = CliRunner().invoke(
        build_app(words[0]), [*words, "--config", str(run.config("one"))], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output


def in_charge(run: Disturbed, version: str) -> None:
    """The newest forecasts of every partition are its."""

    def newest() -> set[str | None]:
        published = Published.read(run.world.bootstrap, run.world.topic, f"{run.world.topic}.a")
        return {versions[-1] for versions in reigns(published).values()}

    wait_until(lambda: newest() == {version}, PATIENT_S, f"{version} in charge: {run.logs()}")


def reigns(published: Published) -> dict[int, list[str | None]]:
    """Partition of the input → the versions in charge of it, in the order of the readings that forecasts came of."""
    seen = sorted(
        (body["input"]["partition"], body["input"]["offset"], body["model_version"])
        for _, body in published.bodies("forecasts")
        if body["status"] == "ok"
    )
    return {
        partition: [version for version, _ in groupby(version for _, _, version in some)]
        for partition, some in groupby(seen, lambda each: each[0])
    }


class Shadowed(Disturbed):
    """Workers of it run the candidate in the shadow."""

    def config(self, instance: str, name: str = "a") -> Path:
        path = super().config(instance, name)
        path.write_text(path.read_text().replace("[limits]", "shadow_series_max = 100\n[limits]"))
        return path

    def control(self) -> list[dict[str, Any]]:
        return [json.loads(message.value()) for message in self.world.published("a", "control")]


def test_a_shadow_a_promotion_and_a_rollback_under_way_lose_nothing_and_are_replayed(world: World) -> None:
    run = Shadowed(world, seed=11, checkpoint_interval="1h")
    spec = Settings.load(run.config("one"), {}).streams["tides"]
    registry = ModelRegistry(str(world.folder / "models"))
    for number, version in enumerate(("first", "second")):
        registry.publish("tides", untrained(spec, version, 0.05 * (1 + number)), {})
    tidecast(run, "models", "promote", "first")
    worker = run.start("one")
    in_charge(run, "first")
    wait_until(lambda: run.feeder.ticks > 2 * spec.context_length, PATIENT_S, "full windows")
    wait_until(lambda: len(run.control()) >= 2 * world.partitions, PATIENT_S, f"scores of the shadow: {run.logs()}")
    tidecast(run, "models", "promote", "second")
    in_charge(run, "second")
    tidecast(run, "models", "rollback")
    in_charge(run, "first")
    worker.kill()  # no checkpoint was written since the start: all of it is replayed, by the journal
    again = run.start("one")
    assert sum(again.wait_for("assigned", PATIENT_S)["to_replay"].values()) > 0
    arrived = len(run.arrivals.cells)
    wait_until(lambda: len(run.arrivals.cells) > arrived + 5 * run.feeder.series, PATIENT_S, run.logs())
    verdict = run.judge([again], reference=False)
    assert not verdict.violations, verdict
    published = Published.read(world.bootstrap, world.topic, f"{world.topic}.a")
    assert reigns(published) == {each: ["first", "second", "first"] for each in range(world.partitions)}
    assert_taken_over(published, run.feeder.series)
    for _, score in published.bodies("control"):
        assert (score["kind"], {score["candidate"], score["champion"]}) == ("shadow", {"first", "second"})
        assert 0 < score["candidate_pinball"] < float("inf")
    assert_a_replay_from_nothing_is_the_same(run, published)


def assert_taken_over(published: Published, series: int) -> None:
    """What the second learned in the shadow is in the journal, where it took charge and nowhere else."""
    decisions = [body["decision"] for _, body in published.bodies("journal")]
    learned = [decision["learned"] for decision in decisions if decision["version"] == "second"]
    assert sum(len(each["series"]) for each in learned) == series
    assert all(np.abs(ShadowOffsets.from_json(each).offsets).max() > 0 for each in learned)
    assert not any("learned" in decision for decision in decisions if decision["version"] == "first")


def assert_a_replay_from_nothing_is_the_same(run: Disturbed, published: Published) -> None:
    world, one = run.world, run.config("one")
    before = [saved_state(world, one, each) for each in range(world.partitions)]
    redis.Redis.from_url(world.redis_url).flushdb()
    forgetful = run.start("one")
    assert sum(forgetful.wait_for("assigned", PATIENT_S)["to_replay"].values()) > 0
    live = re.compile(r"^tidecast_replaying\{.*\} 0\.0$", re.MULTILINE)
    wait_until(lambda: len(live.findall(forgetful.metrics())) == world.partitions, PATIENT_S, "an end of the replay")
    assert forgetful.stop(PATIENT_S) == 0
    for each, state in enumerate(before):
        assert state.model_version == "first"
        assert differences(saved_state(world, one, each), state) == []
    after = Published.read(world.bootstrap, world.topic, f"{world.topic}.a")
    for kind in ("forecasts", "journal", "control"):
        assert len(after.outputs[kind]) == len(published.outputs[kind]), f"a replay publishes no {kind}"
