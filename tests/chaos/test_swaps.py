"""Models change hands while a worker is fed: nothing is missing or doubled, and a replay swaps where it did."""

from __future__ import annotations

from itertools import groupby

import pytest
import redis
from typer.testing import CliRunner

from stream_app.cli import build_app
from stream_app.model_registry import ModelRegistry
from stream_app.settings import Settings
from tests.app.running_worker import WorkerProcess, World, wait_until
from tests.app.saved_states import saved_state
from tests.app.small_bundle import small_bundle
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


def in_charge(run: Disturbed, worker: WorkerProcess, version: str, times: int = 1) -> None:
    """The worker has gone over to it in each partition, and forecasts go on after it."""

    def swaps() -> int:
        lines = [line for line in worker.lines() if line["event"] == "model swapped"]
        return sum(line["version"] == version for line in lines)

    wait_until(lambda: swaps() >= times * run.world.partitions, PATIENT_S, f"{version} in charge: {run.logs()}")
    arrived = len(run.arrivals.cells)
    wait_until(lambda: len(run.arrivals.cells) > arrived + 5 * run.feeder.series, PATIENT_S, "forecasts of it")


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


def test_promotion_and_rollback_under_way_change_the_model_once_and_lose_nothing(world: World) -> None:
    run = Disturbed(world, seed=11, checkpoint_interval="1h")
    spec = Settings.load(run.config("one"), {}).streams["tides"]
    registry = ModelRegistry(str(world.folder / "models"))
    for number, version in enumerate(("first", "second")):
        registry.publish("tides", small_bundle(spec, version, 0.05 * (1 + number)), {})
    tidecast(run, "models", "promote", "first")
    worker = run.start("one")
    in_charge(run, worker, "first")
    wait_until(lambda: run.feeder.ticks > 2 * spec.context_length, PATIENT_S, "full windows")
    tidecast(run, "models", "promote", "second")
    in_charge(run, worker, "second")
    tidecast(run, "models", "rollback")
    in_charge(run, worker, "first", times=2)
    worker.kill()  # no checkpoint was written since the start: all of it is replayed, by the journal
    again = run.start("one")
    assert sum(again.wait_for("assigned", PATIENT_S)["to_replay"].values()) > 0
    arrived = len(run.arrivals.cells)
    wait_until(lambda: len(run.arrivals.cells) > arrived + 5 * run.feeder.series, PATIENT_S, run.logs())
    verdict = run.judge([again], reference=False)
    assert not verdict.violations, verdict
    published = Published.read(world.bootstrap, world.topic, f"{world.topic}.a")
    assert reigns(published) == {each: ["first", "second", "first"] for each in range(world.partitions)}
    one = run.config("one")
    before = [saved_state(world, one, each) for each in range(world.partitions)]
    redis.Redis.from_url(world.redis_url).flushdb()
    forgetful = run.start("one")  # with an empty store: once more from the start of the log
    wait_until(lambda: sum(forgetful.wait_for("assigned", PATIENT_S)["to_replay"].values()) > 0, PATIENT_S, "a replay")
    wait_until(lambda: forgetful.readyz()[0] == 200, PATIENT_S, run.logs())
    assert forgetful.stop(PATIENT_S) == 0
    for each, state in enumerate(before):
        assert state.model_version == "first"
        assert differences(saved_state(world, one, each), state) == []
    after = Published.read(world.bootstrap, world.topic, f"{world.topic}.a")
    assert len(after.outputs["forecasts"]) == len(published.outputs["forecasts"]), "a replay publishes nothing"
    assert len(after.outputs["journal"]) == len(published.outputs["journal"])
