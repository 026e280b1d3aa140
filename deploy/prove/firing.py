"""Whether an alert fires under its fault and ends after it, as the real Prometheus says; durations scaled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from deploy.prometheus.alerts import LATE_S
from deploy.prove.programs import REPOSITORY, Unproven
from deploy.prove.watched import Watched

RULES = REPOSITORY / "deploy" / "prometheus" / "rules" / "tidecast.yml"
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FIRE_S, CLEAR_S = 60, 90


def scaled(by: int) -> str:
    """The rules; each `for`, each window and the minute of the objective divided, and nothing else changed."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, round(int(found[2]) * SECONDS[found[3]] / by))}s{found[4]}"

    rules = re.sub(r"(\[)(\d+)([smhd])(\])", shorter, RULES.read_text())
    rules = re.sub(r"(for: )([1-9]\d*)([smhd])()", shorter, rules)
    return rules.replace(f"> bool {LATE_S}", f"> bool {LATE_S / by:g}")


def fires(stage: Watched, *alerts: str, cause: Callable[[], None] = lambda: None, within_s: float = FIRE_S) -> float:
    """Seconds until all of them have fired; `cause` goes on meanwhile."""
    began, seen = time.monotonic(), set[str]()
    while time.monotonic() - began < within_s:
        cause()
        seen |= stage.firing()
        if seen >= set(alerts):
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to fire within {within_s} s, found {seen}")


def clears(stage: Watched, *alerts: str, within_s: float = CLEAR_S) -> float:
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        if not set(alerts) & stage.firing():
            return time.monotonic() - began
        time.sleep(0.5)
    raise Unproven(f"expected {', '.join(alerts)} to end within {within_s} s, found {stage.firing()}")


def told(what: str, alerts: tuple[str, ...], fired_s: float, cleared_s: float) -> str:
    verb = "fires" if len(alerts) == 1 else "fire"
    return f"{what}: {', '.join(alerts)} {verb} after {fired_s:.0f} s, and end {cleared_s:.0f} s after it is over"
