"""Alerts that really fire: each fault is caused in a process, the real Prometheus sees it, and the alert ends with it.

Each step has a worker of its own and takes a few minutes; its page says by what durations were divided.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.prove.firing import Fault, GoesOn, fault, fires, scaled, seen, stays_calm
from deploy.prove.programs import expect, get, wait_for
from deploy.prove.watched import READY_S, Watched

RATE = 2_000
MALFORMED = ("{", '{"series_id":1}', "[1,2]")
LATE_READING = '{"series_id":"late","timestamp":0,"value":1}'  # the only fault of it is its time: it holds no partition
BACKLOG = 110_000
# Weeks of readings pass in a minute: what drifts in a season drifts at once. And a second in which a worker begins is
# more than a day's lateness may be.
IN_TIME_LAPSE = frozenset({"TidecastDriftStorm", "TidecastForecastsLateSlowly"})
CALM_S, CALM_WITHIN_S = 20, 60
SHORT = {"TIDECAST__LIMITS__PUBLISH_DEADLINE": "1s", "TIDECAST__LIMITS__TRANSACTION_TIMEOUT": "1s"}


def prove_servers(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 30, "faults-servers")


def prove_kafka(folder: Path) -> Iterator[str]:
    """Here limits.publish_deadline and limits.transaction_timeout are as much shorter as the rules."""
    yield from _prove(folder, 30, "faults-kafka", more=SHORT)


def prove_workers(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 30, "faults-workers")


def prove_late(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 60, "faults-late")


def _prove(folder: Path, scale: int, step: str, *, more: Mapping[str, str] | None = None) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    with Watched(folder, scaled(scale), variables=more) as stage:
        stage.begin_worker()
        stage.begin_producer(RATE)
        stays_calm(stage, CALM_S, CALM_WITHIN_S, but=IN_TIME_LAPSE)
        yield (
            f"durations divided by {scale}; while all is well nothing fires "
            "(drift and the lateness of a whole day left out: weeks pass in a minute)"
        )
        for each in FAULTS[step]:
            yield seen(stage, each)


@fault("Valkey is killed", "TidecastRedisAway")
def redis_dies(stage: Watched) -> Iterator[GoesOn]:
    stage.services.valkey.kill()
    yield None
    stage.services.valkey.start()


@fault("one message in ten is malformed", "TidecastDeadLetters")
def input_spoils(stage: Watched) -> Iterator[GoesOn]:
    yield lambda: stage.send(*MALFORMED, times=200)


@fault("Kafka stands still again and again", "TidecastPublishingFails")
def kafka_stutters(stage: Watched) -> Iterator[GoesOn]:
    """Each time for longer than an output may take to be delivered, and not away for long."""

    def again() -> None:
        stage.services.kafka.pause()
        time.sleep(2.5)
        stage.services.kafka.resume()
        time.sleep(1)

    yield again


@fault("Kafka is killed", "TidecastNotReady")
def kafka_dies(stage: Watched) -> Iterator[GoesOn]:
    stage.services.kafka.kill()
    yield None
    stage.services.kafka.start()


@fault("the only worker is stopped", "TidecastWorkersGone")
def worker_is_gone(stage: Watched) -> Iterator[GoesOn]:
    code = stage.end("worker")
    expect(code == 0, f"expected the worker to end with 0, found {code}")
    yield None
    stage.begin_worker()


@fault("kill -9 of a worker that comes back each time", "TidecastCrashLoop")
def worker_is_killed_again_and_again(stage: Watched) -> Iterator[GoesOn]:
    def began() -> float:
        """When the worker that Prometheus has seen last began."""
        found = stage.query("process_start_time_seconds")
        return float(found[0]["value"][1]) if found else 0.0

    def again() -> None:
        before = began()
        stage.end("worker", signal.SIGKILL)
        stage.launch_worker()
        wait_for(lambda: began() > before, "Prometheus sees the next worker")

    yield again
    wait_for(stage.is_ready, "the last worker is ready", READY_S)


@fault(
    "a flood of malformed input, while readings go on",
    "TidecastPartitionHeld",
    "TidecastForecastsLate",
    "TidecastLagGrowing",
)
def partition_is_held(stage: Watched) -> Iterator[GoesOn]:
    stage.send(*MALFORMED, times=20_000)
    fires(stage, "TidecastPartitionHeld")
    stage.send(LATE_READING, times=BACKLOG)
    yield None
    stage.tidecast("dead-letters", "accept")


FAULTS: dict[str, tuple[Fault, ...]] = {
    "faults-servers": (redis_dies, input_spoils),
    "faults-kafka": (kafka_stutters, kafka_dies),
    "faults-workers": (worker_is_gone, worker_is_killed_again_and_again),
    "faults-late": (partition_is_held,),
}
