"""What the worker does when the store goes away, time passes, a model comes, or a person resets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import redis
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from tests.app import forks
from tests.app.running_worker import WorkerProcess, World, readings, wait_until
from tests.app.saved_states import same_state, saved_state
from tests.chaos import faulty_worker

if TYPE_CHECKING:
    from stream_app.local_services import LocalServices

# Each starts several processes, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(300)


def values(rng: np.random.Generator, ticks: int, series: int = 3) -> list[list[float]]:
    return [[round(float(x), 3) for x in row] for row in 10 + rng.normal(0, 1, (ticks, series))]


def journal(world: World, name: str) -> list[dict[str, object]]:
    return [json.loads(message.value())["decision"] for message in world.published(name, "journal")]


def test_a_stop_without_redis_ends_in_time(world: World, services: LocalServices) -> None:
    worker = world.start(world.deployment("a", limits='redis_timeout = "500ms"'))
    world.send(readings([[1.0]]))
    world.wait_for_forecasts("a", 1)
    services.valkey.kill()
    try:
        assert worker.stop(20) == 0
    finally:
        services.valkey.start()


def test_an_idle_partition_closes_and_a_replay_closes_it_at_the_same_place(
    world: World, rng: np.random.Generator
) -> None:
    # Without readings_per_step a tick waits for the watermark, so only idleness closes the newest one.
    stream = 'idle_timeout = "1s"'
    data = values(rng, 12)
    config = world.deployment("a", stream=stream, checkpoint_interval="1h", instance="one")
    config.write_text(config.read_text().replace("readings_per_step = 1\n", ""))
    worker = world.start(config)
    for first in (0, 4, 8):
        world.send(readings(data[first : first + 4], first=first))
        world.wait_for_forecasts("a", (first + 4) * 3)
    assert [decision["kind"] for decision in journal(world, "a")] == ["idle_close"] * 3
    before = world.forecasts("a")
    worker.kill()
    again = world.start(config)  # its only checkpoint is the first one: it replays the rest
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 0
    world.send(readings(values(rng, 1), first=12))
    after = world.wait_for_forecasts("a", 13 * 3)
    assert len(journal(world, "a")) >= 4
    for key in before:
        assert after[key]["quantiles"] == before[key]["quantiles"]
    assert again.stop() == 0
    assert len(world.published("a", "forecasts")) == len(world.forecasts("a")), "none is there twice"


def test_an_idle_partition_closes_behind_the_mark_that_ends_a_transaction(
    world: World, rng: np.random.Generator
) -> None:
    """Nobody can read the mark that stands between the last reading and the end of the log."""
    config = world.deployment("a", stream='idle_timeout = "1s"')
    config.write_text(config.read_text().replace("readings_per_step = 1\n", ""))
    world.start(config)
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": world.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for key, value in readings(values(rng, 4)):
        producer.produce(world.topic, value, key)
    producer.commit_transaction(30)
    world.wait_for_forecasts("a", 4 * 3)
    assert [decision["kind"] for decision in journal(world, "a")] == ["idle_close"]


def test_a_partition_that_was_silent_before_a_restart_closes_after_it(world: World, rng: np.random.Generator) -> None:
    config = world.deployment("a", stream='idle_timeout = "8s"')
    config.write_text(config.read_text().replace("readings_per_step = 1\n", ""))
    worker = world.start(config)
    world.send(readings(values(rng, 4)))
    world.wait_for_forecasts("a", 3 * 3)
    assert worker.stop() == 0
    world.start(config)
    world.wait_for_forecasts("a", 4 * 3)
    assert [decision["kind"] for decision in journal(world, "a")] == ["idle_close"]


def test_an_owner_that_the_store_forgets_during_a_replay_takes_no_offset_back(
    world: World, rng: np.random.Generator
) -> None:
    """It commits once more, to be sure that it owns the partition; a crash must not make it publish again."""
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    worker = world.start(config)
    world.send(readings(values(rng, 200)))
    world.wait_for_forecasts("a", 200 * 3)
    worker.kill()
    before = committed(world)
    often = world.deployment("a", instance="two")
    again = faulty_worker.start(world, often, slow_answers=[0.5] * 8)
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 400
    with redis.Redis.from_url(world.redis_url) as client:
        assert client.delete(*client.scan_iter(f"*{world.topic}.a:tides:*:owner", count=1000))
    found = []
    wait_until(lambda: [found.append(committed(world))] and is_live(again), 60, "the replay's end")
    again.wait_for("ownership taken again")
    assert min(found) == before


def is_live(worker: WorkerProcess) -> bool:
    return 'tidecast_replaying{partition="0",stream="tides"} 0.0' in worker.metrics()


def committed(world: World) -> int:
    """Readings that the group of "a" has committed."""
    group = f"{world.topic}.a"
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    return sum(place.offset for place in asked[group].result(30).topic_partitions)


def test_a_promoted_model_is_swapped_in_and_a_replay_swaps_at_the_same_place(
    world: World, rng: np.random.Generator
) -> None:
    data = values(rng, 90)
    swapped = world.deployment("a", instance="one", checkpoint_interval="1h")
    worker = world.start(swapped)
    world.send(readings(data[:40]))
    world.wait_for_forecasts("a", 40 * 3)
    promote(world, swapped, "first-model")
    worker.wait_for("model swapped")
    world.send(readings(data[40:80], first=40))
    world.wait_for_forecasts("a", 80 * 3)
    before = world.forecasts("a")
    worker.kill()
    again = world.start(swapped)
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 0
    world.send(readings(data[80:], first=80))
    after = world.wait_for_forecasts("a", 90 * 3)
    assert [decision["kind"] for decision in journal(world, "a")] == ["model"]
    assert again.stop() == 0
    state = saved_state(world, swapped, 0)
    assert state.model_version == "first-model"
    assert {key: after[key]["model_version"] for key in before} == {
        key: each["model_version"] for key, each in before.items()
    }


def test_a_model_that_does_not_answer_is_refused(world: World) -> None:
    config = world.deployment("a")
    worker = world.start(config)
    promote(world, config, "mute", weight=float("nan"))
    assert "finite" in worker.wait_for("model refused, the one in charge serves on")["error"]


def test_a_group_that_was_reset_is_refused_until_a_person_says_how_to_go_on(
    world: World, rng: np.random.Generator
) -> None:
    data = values(rng, 30)
    config = world.deployment("a", limits='kafka_timeout = "3s"')
    worker = world.start(config)
    world.send(readings(data))
    world.wait_for_forecasts("a", 30 * 3)
    assert "found 1. Stop them" in forks.run("reset", "--config", str(config), "--to", "earliest").stderr
    assert worker.stop() == 0
    kept = saved_state(world, config, 0)
    forget_offsets(world, config)
    refused = world.start(config)
    assert refused.process.wait(40) == 1
    assert "--resume-from-state" in refused.wait_for("worker ends")["error"]
    done = forks.run("reset", "--config", str(config), "--resume-from-state")
    assert f"offset {30 * 3}" in done.stdout, done.stderr
    resumed = world.start(config)
    resumed.wait_for("assigned")
    assert resumed.stop() == 0
    same_state(kept, saved_state(world, config, 0))
    assert "offset 0" in forks.run("reset", "--config", str(config), "--to", "earliest").stdout
    world.start(config).wait_for("assigned")
    wait_until(lambda: len(world.published("a", "forecasts")) == 2 * 30 * 3, 30, "all forecasts once more")


def test_an_offset_that_kafka_does_not_know_yet_is_waited_for(world: World, rng: np.random.Generator) -> None:
    """As a coordinator answers that has just started and still reads its log."""
    data = values(rng, 30)
    config = world.deployment("a")
    worker = world.start(config)
    world.send(readings(data[:20]))
    world.wait_for_forecasts("a", 20 * 3)
    assert worker.stop() == 0
    known = commit_offset(world, "a", 5)
    again = world.start(config)
    reason = again.wait_for("restoring waits")["reason"]
    assert "found 5" in reason
    assert known == 20 * 3
    commit_offset(world, "a", known)
    again.wait_for("assigned")
    world.send(readings(data[20:], first=20))
    world.wait_for_forecasts("a", 30 * 3)
    assert len(world.published("a", "forecasts")) == 30 * 3
    assert not [line for line in again.lines() if line["event"] == "worker ends"]


@pytest.mark.parametrize("comes_back", [True, False], ids=["for a moment", "for good"])
def test_an_offset_that_kafka_forgets_is_not_published_from_again_by_who_has_committed_it(
    world: World, rng: np.random.Generator, comes_back: bool
) -> None:
    """It is not older than the state: only the worker itself can know that it has published what follows."""
    config = world.deployment("a", instance="one", checkpoint_interval="1h", limits='kafka_timeout = "3s"')
    worker = world.start(config)
    world.send(readings(values(rng, 40)))
    world.wait_for_forecasts("a", 40 * 3)
    wait_until(lambda: committed(world) == 40 * 3, 30, "the commit of all readings")
    commit_offset(world, "a", 20 * 3)
    fence_producer(world, "a", "one")
    world.send(readings(values(rng, 1), first=40))
    worker.wait_for("rewound")
    if comes_back:
        commit_offset(world, "a", 40 * 3)
    world.wait_for_forecasts("a", 41 * 3)
    assert worker.stop() == 0
    assert len(world.published("a", "forecasts")) == 41 * 3
    assert committed(world) == 41 * 3


def fence_producer(world: World, name: str, instance: str) -> None:
    """What its worker sends next fails: it needs a new producer, and rewinds."""
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": f"{world.topic}.{name}-{instance}"})
    producer.init_transactions(30)


@pytest.mark.parametrize("has_state", [True, False])
def test_a_log_that_ends_before_what_was_committed_is_refused_and_never_taken_for_answered(
    world: World, rng: np.random.Generator, has_state: bool
) -> None:
    """Brokers that lost acknowledged readings give their offsets to others, and those were published by nobody."""
    config = world.deployment("a", limits='kafka_timeout = "3s"')
    worker = world.start(config)
    world.send(readings(values(rng, 10)))
    world.wait_for_forecasts("a", 10 * 3)
    assert worker.stop() == 0
    if not has_state:
        with redis.Redis.from_url(world.redis_url) as client:
            assert client.delete(*client.scan_iter(f"*{world.topic}.a:tides:*", count=1000))
    commit_offset(world, "a", 10 * 3 + 5)
    refused = world.start(config)
    world.send(readings(values(rng, 1), first=10))
    assert refused.process.wait(60) == 1
    error = refused.wait_for("worker ends")["error"]
    assert "found its end at" in error
    assert "tidecast reset --stream tides --to" in error


def commit_offset(world: World, name: str, offset: int) -> int:
    """Of the input's only partition, for a deployment's group, whether or not it has members. The one before.

    Only a transaction may do that with a group in use, as one that knows of no members.
    """
    group = f"{world.topic}.{name}"
    stranger = Consumer({"bootstrap.servers": world.bootstrap, "group.id": group})
    before = stranger.committed([TopicPartition(world.topic, 0)], 30)[0].offset
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": f"{group}-stranger"})
    producer.init_transactions(30)
    producer.begin_transaction()
    at = [TopicPartition(world.topic, 0, offset)]
    producer.send_offsets_to_transaction(at, stranger.consumer_group_metadata(), 30)
    producer.commit_transaction(30)
    stranger.close()
    return int(before)


def promote(world: World, config: Path, version: str, *, weight: float = 0.1) -> None:
    """Any model that fits; what it says does not matter here."""
    spec = Settings.load(config, {}).streams["tides"]
    registry = ModelRegistry(str(world.folder / "models"))
    registry.publish("tides", untrained(spec, version, weight), {})
    registry.promote("tides", version)


def forget_offsets(world: World, config: Path) -> None:

    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    group = Settings.load(config, {}).application_id
    admin.delete_consumer_groups([group])[group].result(20)
