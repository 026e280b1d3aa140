"""Alerts that really fire: each fault is caused in a process, the real Prometheus sees it, and the alert ends with it.

Every duration of the rules, and the minute of the objective, is divided by SCALE, and nothing else is changed.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.prometheus.alerts import LATE_S
from deploy.prove.programs import REPOSITORY, Unproven, get
from deploy.prove.watched import Watched

SCALE = 30
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
RATE = 2_000
MALFORMED = ("{", '{"series_id":1}', "[1,2]")
# Weeks of readings pass in a minute: what drifts in a season drifts at once.
IN_TIME_LAPSE = {"TidecastDriftStorm"}
FIRE_S, CLEAR_S, CALM_S = 60, 90, 25


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    rules = scaled((REPOSITORY / "deploy" / "prometheus" / "rules" / "tidecast.yml").read_text())
    with Watched(folder, rules) as stage:
        stage.begin_worker()
        stage.begin_producer(RATE)
        time.sleep(CALM_S)
        if found := stage.firing() - IN_TIME_LAPSE:
            raise Unproven(f"expected no alert while all is well, found {found}")
        yield f"durations divided by {SCALE}; while all is well nothing fires (but drift: weeks pass in a minute)"
        for fault in (redis_dies, input_spoils, partition_is_held, worker_is_killed_again_and_again, worker_is_gone):
            yield fault(stage)


def scaled(rules: str) -> str:
    """Of each `for` and each window."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, round(int(found[2]) * SECONDS[found[3]] / SCALE))}s{found[4]}"

    rules = re.sub(r"(\[)(\d+)([smhd])(\])", shorter, rules)
    rules = re.sub(r"(for: )(\d+)([smhd])()", shorter, rules)
    return rules.replace(f"> bool {LATE_S}", f"> bool {LATE_S // SCALE}")


def fires(stage: Watched, *alerts: str, cause: Callable[[], None] = lambda: None, within_s: float = FIRE_S) -> float:
    """Seconds until all of them fire; `cause` goes on meanwhile."""
    began, seen = time.monotonic(), set[str]()
    while time.monotonic() - began < within_s:
        cause()
        seen |= stage.firing()
        if seen >= set(alerts):
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to fire within {within_s} s, found {seen}")


def clears(stage: Watched, *alerts: str) -> float:
    began = time.monotonic()
    while time.monotonic() - began < CLEAR_S:
        if not set(alerts) & stage.firing():
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to end within {CLEAR_S} s, found {stage.firing()}")


def told(what: str, alerts: tuple[str, ...], fired_s: float, cleared_s: float) -> str:
    return f"{what}: {', '.join(alerts)} fires after {fired_s:.0f} s, and ends {cleared_s:.0f} s after it is over"


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


def partition_is_held(stage: Watched) -> str:
    alerts = ("TidecastPartitionHeld", "TidecastForecastsLate")
    stage.send(*MALFORMED, times=20_000)
    fired_s = fires(stage, *alerts, within_s=90)
    stage.tidecast("dead-letters", "accept")
    return told("a flood of malformed input, while readings go on", alerts, fired_s, clears(stage, *alerts))


def worker_is_killed_again_and_again(stage: Watched) -> str:
    alerts = ("TidecastCrashLoop",)

    def again() -> None:
        stage.end("worker", signal.SIGKILL)
        stage.begin_worker()
        time.sleep(1.5)  # so that Prometheus sees this one

    fired_s = fires(stage, *alerts, cause=again)
    return told("kill -9 of a worker that comes back each time", alerts, fired_s, clears(stage, *alerts))


def worker_is_gone(stage: Watched) -> str:
    alerts = ("TidecastWorkersGone",)
    if code := stage.end("worker"):
        raise Unproven(f"expected the worker to end with 0, found {code}")
    fired_s = fires(stage, *alerts)
    stage.begin_worker()
    return told("the only worker is stopped", alerts, fired_s, clears(stage, *alerts))
