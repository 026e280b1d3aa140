"""Which alert was seen to fire under which fault, and in which step: for docs/ALERTS.md."""

from __future__ import annotations

from deploy.prove import faults, quality, slowly, training

Seen = tuple[str, str]  # what happens, name of the step


def seen() -> dict[str, Seen]:
    """Alert → the fault that makes it fire."""
    found: dict[str, Seen] = {}
    for step, some in faults.FAULTS.items():
        found |= {alert: (each.what, step) for each in some for alert in each.alerts}
    found |= {alert: (what, "faults-quality") for what, alert in quality.FAULTS.values()}
    found[slowly.SLOW] = (slowly.FAULT, "faults-slowly")
    found[training.ALERT] = (training.FAULT, "faults-training")
    return found
