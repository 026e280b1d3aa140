"""Alerts that really fire: each fault is caused in a process, the real Prometheus sees it, and the alert ends with it.

Three steps, each with a worker of its own and under four minutes; each page says by what durations were divided.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.prove.firing import clears, fires, scaled, told
from deploy.prove.programs import Unproven, expect, get, wait_for
from deploy.prove.watched import READY_S, Watched

RATE = 2_000
MALFORMED = ("{", '{"series_id":1}', "[1,2]")
LATE_READING = '{"series_id":"late","timestamp":0,"value":1}'  # the only fault of it is its time: it holds no partition
BACKLOG = 110_000
# Weeks of readings pass in a minute: what drifts in a season drifts at once. And a second in which a worker begins is
# more than a day's lateness may be.
IN_TIME_LAPSE = {"TidecastDriftStorm", "TidecastForecastsLateSlowly"}
CALM_S, CALM_WITHIN_S = 20, 60
SHORT = {"TIDECAST__LIMITS__PUBLISH_DEADLINE": "1s", "TIDECAST__LIMITS__TRANSACTION_TIMEOUT": "1s"}
Fault = Callable[[Watched], str]


def prove_servers(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 30, redis_dies, input_spoils)


def prove_kafka(folder: Path) -> Iterator[str]:
    """Here limits.publish_deadline and limits.transaction_timeout are as much shorter as the rules."""
    yield from _prove(folder, 30, kafka_stutters, kafka_dies, more=SHORT)


def prove_workers(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 30, worker_is_gone, worker_is_killed_again_and_again)


def prove_late(folder: Path) -> Iterator[str]:
    yield from _prove(folder, 60, partition_is_held)


def _prove(folder: Path, scale: int, *faults: Fault, more: Mapping[str, str] | None = None) -> Iterator[str]:
    with begun(folder, scale, more) as stage:
        stage.begin_worker()
        stage.begin_producer(RATE)
        stays_calm(stage)
        yield (
            f"durations divided by {scale}; while all is well nothing fires "
            "(drift and the lateness of a whole day left out: weeks pass in a minute)"
        )
        for fault in faults:
            yield fault(stage)


def stays_calm(stage: Watched) -> None:
    """For CALM_S in a row; a worker that has just begun may be late first."""
    began = calm_since = time.monotonic()
    while time.monotonic() - calm_since < CALM_S:
        if found := stage.firing() - IN_TIME_LAPSE:
            calm_since = time.monotonic()
            expect(calm_since - began < CALM_WITHIN_S, f"expected no alert while all is well, found {found}")
        time.sleep(0.5)


@contextmanager
def begun(folder: Path, scale: int, more: Mapping[str, str] | None = None) -> Iterator[Watched]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    with Watched(folder, scaled(scale), variables=more) as stage:
        yield stage


def redis_dies(stage: Watched) -> str:
    alerts = ("TidecastRedisAway",)
    stage.services.valkey.kill()
    fired_s = fires(stage, *alerts)
    stage.services.valkey.start()
    return told("Valkey is killed", alerts, fired_s, clears(stage, *alerts))


def input_spoils(stage: Watched) -> str:
    alerts = ("TidecastDeadLetters",)
    fired_s = fires(stage, *alerts, cause=lambda: stage.send(*MALFORMED, times=200))
    return told("one message in ten is malformed", alerts, fired_s, clears(stage, *alerts))


def kafka_stutters(stage: Watched) -> str:
    """Each time for longer than an output may take to be delivered, and not away for long."""
    alerts = ("TidecastPublishingFails",)

    def again() -> None:
        stage.services.kafka.pause()
        time.sleep(2.5)
        stage.services.kafka.resume()
        time.sleep(1)

    fired_s = fires(stage, *alerts, cause=again)
    return told("Kafka stands still again and again", alerts, fired_s, clears(stage, *alerts))


def kafka_dies(stage: Watched) -> str:
    alerts = ("TidecastNotReady",)
    stage.services.kafka.kill()
    fired_s = fires(stage, *alerts)
    stage.services.kafka.start()
    return told("Kafka is killed", alerts, fired_s, clears(stage, *alerts))


def worker_is_gone(stage: Watched) -> str:
    alerts = ("TidecastWorkersGone",)
    if code := stage.end("worker"):
        raise Unproven(f"expected the worker to end with 0, found {code}")
    fired_s = fires(stage, *alerts)
    stage.begin_worker()
    return told("the only worker is stopped", alerts, fired_s, clears(stage, *alerts))


def worker_is_killed_again_and_again(stage: Watched) -> str:
    alerts = ("TidecastCrashLoop",)

    def began() -> float:
        """When the worker that Prometheus has seen last began."""
        found = stage.query("process_start_time_seconds")
        return float(found[0]["value"][1]) if found else 0.0

    def again() -> None:
        before = began()
        stage.end("worker", signal.SIGKILL)
        stage.launch_worker()
        wait_for(lambda: began() > before, "Prometheus sees the next worker")

    fired_s = fires(stage, *alerts, cause=again)
    cleared_s = clears(stage, *alerts)
    wait_for(stage.is_ready, "the last worker is ready", READY_S)
    return told("kill -9 of a worker that comes back each time", alerts, fired_s, cleared_s)


def partition_is_held(stage: Watched) -> str:
    alerts = ("TidecastPartitionHeld", "TidecastForecastsLate", "TidecastLagGrowing")
    stage.send(*MALFORMED, times=20_000)
    fires(stage, "TidecastPartitionHeld")
    stage.send(LATE_READING, times=BACKLOG)
    fired_s = fires(stage, *alerts)
    stage.tidecast("dead-letters", "accept")
    what = "a flood of malformed input, while readings go on"
    return told(what, alerts, fired_s, clears(stage, *alerts))
