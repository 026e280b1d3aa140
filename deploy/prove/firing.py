"""Whether an alert fires under its fault and ends after it, as the real Prometheus says; durations scaled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from deploy.prometheus.alerts import LATE_S
from deploy.prove.programs import REPOSITORY, Unproven, expect
from deploy.prove.watched import Watched

RULES = REPOSITORY / "deploy" / "prometheus" / "rules" / "tidecast.yml"
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FIRE_S, CLEAR_S = 60, 90
GoesOn = Callable[[], None] | None


@dataclass(frozen=True)
class Fault:
    """`cause` does the harm and, when it is left, mends it; what it yields is done again and again in between."""

    what: str
    alerts: tuple[str, ...]
    cause: Callable[[Watched], AbstractContextManager[GoesOn]]


def fault(what: str, *alerts: str) -> Callable[[Callable[[Watched], Iterator[GoesOn]]], Fault]:
    return lambda cause: Fault(what, alerts, contextmanager(cause))


def scaled(by: int) -> str:
    """The rules; each `for`, each window and the minute of the objective divided, and nothing else changed."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, round(int(found[2]) * SECONDS[found[3]] / by))}s{found[4]}"

    rules = re.sub(r"(\[)(\d+)([smhd])(\])", shorter, RULES.read_text())
    rules = re.sub(r"(for: )([1-9]\d*)([smhd])()", shorter, rules)
    return rules.replace(f"> bool {LATE_S}", f"> bool {LATE_S / by:g}")


def seen(stage: Watched, fault: Fault) -> str:
    """That its alerts fire under it and end after it."""
    with fault.cause(stage) as goes_on:
        fired_s = fires(stage, *fault.alerts, goes_on=goes_on)
    cleared_s = clears(stage, *fault.alerts)
    verb, end = ("fires", "ends") if len(fault.alerts) == 1 else ("fire", "end")
    after = f"{verb} after {fired_s:.0f} s, and {end} {cleared_s:.0f} s after it is over"
    return f"{fault.what}: {', '.join(fault.alerts)} {after}"


def fires(stage: Watched, *alerts: str, goes_on: GoesOn = None, within_s: float = FIRE_S) -> float:
    """Seconds until all of them have fired."""
    began, fired = time.monotonic(), set[str]()
    while time.monotonic() - began < within_s:
        if goes_on is not None:
            goes_on()
        fired |= stage.firing()
        if fired >= set(alerts):
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to fire within {within_s:g} s, found {fired}")


def clears(stage: Watched, *alerts: str, within_s: float = CLEAR_S) -> float:
    """Seconds until none of them fires any more."""
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        if not set(alerts) & stage.firing():
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to end within {within_s:g} s, found {stage.firing()}")


def stays_calm(stage: Watched, calm_s: float, within_s: float, *, but: frozenset[str] = frozenset()) -> None:
    """Nothing (`but` these) fires for calm_s in a row; a worker that has just begun may be late first."""
    began = calm_since = time.monotonic()
    while time.monotonic() - calm_since < calm_s:
        if found := {(alert, stream) for alert, stream in stage.firing_of_streams() if alert not in but}:
            calm_since = time.monotonic()
            expect(calm_since - began < within_s, f"expected no alert while all is well, found {sorted(found)}")
        time.sleep(0.5)
