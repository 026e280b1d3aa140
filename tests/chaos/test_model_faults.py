"""A forecaster that is slow, that raises, or that is swapped as the worker dies: forecasts go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream_app.model_registry import ModelRegistry
from stream_app.settings import Settings
from tests.app.running_worker import World, readings
from tests.app.saved_states import saved_state
from tests.app.small_bundle import small_bundle
from tests.chaos.faulty_worker import start

if TYPE_CHECKING:
    from stream_app.local_services import LocalServices

SERIES = 3
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(services: LocalServices, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    made = World(services.kafka_bootstrap, services.redis_url, f"{topic_prefix}.in", 1, tmp_path)
    made.create(made.topic)
    yield made
    for worker in made.workers:
        worker.kill()


def values(rng: np.random.Generator, ticks: int) -> list[list[float]]:
    return np.round(10 + rng.normal(0, 1, (ticks, SERIES)), 3).tolist()


def registry(world: World) -> ModelRegistry:
    return ModelRegistry(str(world.folder / "models"))


def promote(world: World, config: Path, version: str) -> None:
    """Publish a model and make it the champion."""
    spec = Settings.load(config, {}).streams["tides"]
    registry(world).publish("tides", small_bundle(spec, version, 0.1), {})
    registry(world).promote("tides", version)


def once(world: World) -> list[dict[str, Any]]:
    """All forecasts; none may be there twice."""
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert len({(each["series_id"], each["origin"], each["revision"]) for each in found}) == len(found)
    return found


def test_a_forecaster_slower_than_the_poll_interval_is_not_evicted(world: World, rng: np.random.Generator) -> None:
    config = world.deployment("a")
    slow = '"session.timeout.ms" = 6000\n"max.poll.interval.ms" = 6000'
    config.write_text(config.read_text().replace('"session.timeout.ms" = 6000', slow))
    # longer than the poll interval, then longer than the transaction timeout too
    worker = start(world, config, slow_forecasts=[0.0, 8.0, 13.0])
    data = values(rng, 30)
    for first in (0, 10, 20):
        world.send(readings(data[first : first + 10], first=first))
        world.wait_for_forecasts("a", (first + 10) * SERIES, timeout_s=90)
    events = [line["event"] for line in worker.lines()]
    assert events.count("assigned") == 1
    assert not {"lost", "rewound", "released too late: uncommitted work is discarded, its owner does it again"} & {
        *events
    }
    assert len(once(world)) == 30 * SERIES
    assert worker.stop() == 0


@pytest.mark.parametrize("error", ["RuntimeError", "TypeError"])
def test_while_the_model_raises_the_ladder_answers_and_a_replay_says_the_same(
    world: World, rng: np.random.Generator, error: str
) -> None:
    data = values(rng, 60)
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    promote(world, config, "first")
    worker = start(world, config, failing_model={"first": 3, "last": 6, "error": error})
    worker.wait_for("model swapped")
    for first in range(0, 50, 5):  # small polls, so that the failure begins and ends among them
        world.send(readings(data[first : first + 5], first=first))
        world.wait_for_forecasts("a", (first + 5) * SERIES)
    failed = {each["origin"] for each in once(world) if each["reason"] == "model_failed"}
    assert 0 < len(failed) < 50
    assert {each["status"] for each in once(world) if each["origin"] in failed} == {"fallback"}
    assert max(each["origin"] for each in once(world) if each["model"] == "ridge") > max(failed), "it serves again"
    worker.kill()
    again = world.start(config)  # without the fault: what it replays must fail all the same
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 0
    world.send(readings(data[50:], first=50))
    world.wait_for_forecasts("a", 60 * SERIES)
    assert len(once(world)) == 60 * SERIES
    assert again.stop() == 0
    replayed = saved_state(world, config, 0)
    assert replayed.next_offset == 60 * SERIES
    assert replayed.model_version == "first"


def test_a_swap_under_way_when_the_worker_dies_is_found_again(world: World, rng: np.random.Generator) -> None:
    data = values(rng, 60)
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    worker = world.start(config)
    world.send(readings(data[:40]))
    world.wait_for_forecasts("a", 40 * SERIES)
    promote(world, config, "second")
    worker.wait_for("model swapped")
    worker.kill()  # perhaps before the decision was committed: then it is made anew
    again = world.start(config)
    world.send(readings(data[40:], first=40))
    world.wait_for_forecasts("a", 60 * SERIES)
    assert len(once(world)) == 60 * SERIES
    assert again.stop() == 0
    assert saved_state(world, config, 0).model_version == "second"
