"""A failed transaction goes again when nothing of it counts; otherwise everything rewinds, and nothing is doubled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_app.local_services import LocalServices
from stream_app.rewinds import Rewinds
from tests.app.running_worker import World, readings, wait_until
from tests.app.saved_states import same_state, saved_state
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.timeout(300)
SERIES = 4


def test_a_rewind_waits_for_the_publishers_word() -> None:
    rewinds = Rewinds()
    number = rewinds.ask("partitions were lost")
    assert rewinds.is_asked
    assert rewinds.take() is None
    rewinds.clear(number)
    assert rewinds.take() == number
    assert not rewinds.is_asked


def test_a_rewind_that_is_asked_for_again_needs_the_word_again() -> None:
    rewinds = Rewinds()
    rewinds.clear(rewinds.ask("first"))
    second = rewinds.ask("second")
    assert rewinds.take() is None
    rewinds.clear(second)
    assert rewinds.take() == second


@pytest.fixture
def own_services(tmp_path: Path) -> Iterator[LocalServices]:
    """A broker that may be killed without disturbing the others."""
    with LocalServices(
        tmp_path / "services", free_ports=True, downloads=REPOSITORY / ".tidecast" / "kafka-jars"
    ) as running:
        yield running


@pytest.fixture
def world(own_services: LocalServices, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    made = World(own_services.kafka_bootstrap, own_services.redis_url, f"{topic_prefix}.in", 2, tmp_path)
    made.create(made.topic)
    yield made
    for worker in made.workers:
        worker.kill()


def times_published(world: World, name: str) -> Counter[tuple[str, str, int]]:
    found = [json.loads(message.value()) for message in world.published(name, "forecasts")]
    return Counter((each["series_id"], each["origin"], each["revision"]) for each in found)


def test_a_broker_that_was_killed_costs_a_new_producer_and_doubles_nothing(
    world: World, own_services: LocalServices, rng: np.random.Generator
) -> None:
    values = [[round(float(x), 3) for x in row] for row in 10 + rng.normal(0, 1, (80, SERIES))]
    config = world.deployment("a", instance="one", limits='transaction_timeout = "2s"')
    worker = world.start(config)
    world.send(readings(values[:30]))
    world.wait_for_forecasts("a", 30 * SERIES)
    world.send(readings(values[30:40], first=30))  # some of it is in a transaction now
    own_services.kafka.kill()
    wait_until(lambda: "publisher" in worker.readyz()[1] or worker.process.poll(), 60, "unready: Kafka is away")
    own_services.kafka.start()
    world.send(readings(values[40:], first=40))
    world.wait_for_forecasts("a", 80 * SERIES, timeout_s=120)
    wait_until(lambda: worker.readyz() == (200, {}), 60, "ready again")
    assert worker.stop() == 0
    assert set(times_published(world, "a").values()) == {1}
    undisturbed = world.deployment("b", instance="two")
    other = world.start(undisturbed)
    world.wait_for_forecasts("b", 80 * SERIES, timeout_s=120)
    assert other.stop() == 0
    for partition in range(world.partitions):
        same_state(saved_state(world, config, partition), saved_state(world, undisturbed, partition))
