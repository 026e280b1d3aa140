"""What happens to single partitions of a running deployment: one is held for its garbage, or a new one appears."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.app import forks
from tests.app.running_worker import START_MS, STEP_MS, WorkerProcess, World, wait_until

PARTITIONS = 2
# Each starts several processes, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return PARTITIONS


def send(world: World, partition: int, values: Sequence[str | bytes]) -> None:
    """To this partition, whatever the key."""
    producer = Producer({"bootstrap.servers": world.bootstrap, "linger.ms": 1})
    for value in values:
        producer.produce(world.topic, value, f"s{partition}", partition)
    assert producer.flush(30) == 0


def ticks(partition: int, first: int, end: int) -> list[str]:
    """One reading a tick of the partition's only series."""
    return [
        json.dumps({"series_id": f"s{partition}", "timestamp": START_MS + tick * STEP_MS, "value": tick})
        for tick in range(first, end)
    ]


def test_a_person_accepts_and_the_same_worker_reads_on_and_counts_anew(world: World) -> None:
    config = world.deployment("a", stream="dead_letter_window = 20")
    worker = world.start(config)
    send(world, 0, ticks(0, 0, 5) + ["garbage"] * 15)
    worker.wait_for("partition held")
    wait_until(lambda: shown_as_held(worker) == 1, 30, "the gauge of the held partition")
    send(world, 0, ticks(0, 5, 10))
    assert accept(config, "--partition", "1") == "No partition of tides is held."
    said = wait_until(lambda: (text := accept(config)) and "reads on" in text and text, 30, "a hold that is known")
    assert said == "tides[0] reads on."
    world.wait_for_forecasts("a", 10)
    assert worker.readyz() == (200, {})
    wait_until(lambda: shown_as_held(worker) == 0, 30, "the gauge of the accepted partition")
    assert accept(config) == "No partition of tides is held."
    send(world, 0, ["garbage"] * 9 + ticks(0, 10, 12))  # with those of before it would be too many
    world.wait_for_forecasts("a", 12)
    assert worker.readyz() == (200, {})
    send(world, 0, ["garbage"] * 15)
    wait_until(lambda: worker.readyz()[0] == 503, 30, "held again")
    assert worker.stop() == 0
    assert [line["event"] for line in worker.lines()].count("assigned") == 1


def shown_as_held(worker: WorkerProcess) -> float | None:
    """Of partition 0, as Prometheus would scrape it."""
    name = 'tidecast_partition_held{partition="0",stream="tides"} '
    found = [line for line in worker.metrics().splitlines() if line.startswith(name)]
    return float(found[0].removeprefix(name)) if found else None


def accept(config: Path, *options: str) -> str:
    done = forks.run("dead-letters", "accept", "--config", str(config), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_worker_that_ended_before_it_read_anything_starts_again(world: World) -> None:
    config = world.deployment("a", instance="one")
    stopped = world.start(config)
    stopped.wait_for("assigned")
    assert stopped.stop() == 0
    killed = world.start(config)
    killed.wait_for("assigned")
    killed.kill()
    world.start(config).wait_for("assigned")
    send(world, 0, ticks(0, 0, 5))
    world.wait_for_forecasts("a", 5)


def test_a_new_partition_stops_the_worker_with_a_clear_sentence_and_loses_nothing(world: World) -> None:
    config = world.deployment("a")
    text = config.read_text()
    config.write_text(
        text.replace("[kafka.consumer]\n", '[kafka.consumer]\n"topic.metadata.refresh.interval.ms" = 500\n')
    )
    worker = world.start(config)
    send(world, 0, ticks(0, 0, 5))
    world.wait_for_forecasts("a", 5)
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    admin.create_partitions([NewPartitions(world.topic, PARTITIONS + 1)])[world.topic].result(30)
    assert worker.process.wait(60) == 1
    sentence = worker.wait_for("worker ends")["error"]
    assert f"have {PARTITIONS} partitions" in sentence
    assert "new application_id" in sentence
    # What came meanwhile stays in the log; a start refuses as well, before it reads anything.
    again = world.start(config)
    assert again.process.wait(60) == 1
    assert "partitions" in again.wait_for("worker ends")["error"]
    assert len(world.forecasts("a")) == 5
    # Under a new application_id the whole log is forecast.
    world.partitions += 1
    send(world, 2, ticks(2, 0, 5))
    world.start(world.deployment("b"))
    world.wait_for_forecasts("b", 10)
