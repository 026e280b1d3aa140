"""The table of alerts as Prometheus' rules, as the prometheus-operator's object, and as a page for people."""

from __future__ import annotations

from typing import Any

import yaml

from deploy.prometheus.alerts import ALERTS, RECORDED, Alert
from deploy.prove.programs import PAGES
from deploy.prove.seen import seen

MADE = "# Made from deploy/prometheus/alerts.py by `python -m deploy`.\n"


def groups() -> list[dict[str, Any]]:
    recorded = [{"record": each.name, "expr": each.expr} for each in RECORDED]
    return [{"name": "tidecast-recorded", "rules": recorded}, {"name": "tidecast", "rules": [_rule(a) for a in ALERTS]}]


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.cause,
            "action": alert.action,
            "runbook_url": f"docs/ALERTS.md#{alert.name.lower()}",
        },
    }


def rules() -> str:
    return MADE + _yaml({"groups": groups()})


def operator_object() -> str:
    head = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "tidecast"}}
    return MADE + _yaml(head | {"spec": {"groups": groups()}})


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=118, allow_unicode=True)


def _proof(what: str, step: str) -> str:
    """What the page of a step is there for was seen."""
    if not (PAGES / f"{step}.md").exists():
        return f"**Seen** by promtool alone; `make prove-deploy ARGS={step}` has not been run."
    return f"**Seen** to fire, and to end after it: {what} ([{step}](proofs/deploy/{step}.md))."


def page() -> str:
    """docs/ALERTS.md."""
    lines = [
        "# Alerts",
        "",
        "What fires, why, and what to do. A *page* wakes somebody, a *ticket* waits for a working day. Rules: "
        "[deploy/prometheus/rules](../deploy/prometheus/rules), on Kubernetes the PrometheusRule of the "
        "component `monitoring`; dashboards: "
        "[deploy/grafana](../deploy/grafana).",
        "This page is made from the table in `deploy/prometheus/alerts.py` by `python -m deploy`. Each alert was seen "
        "to fire under a real fault of real processes, and to end after it, with the real Prometheus and all durations "
        "divided by a number that the linked page names (`make prove-deploy`).",
    ]
    found = seen()
    for alert in ALERTS:
        waits = "at once" if alert.wait == "0m" else f"after {alert.wait}"
        lines += [
            "",
            f"## {alert.name}",
            "",
            f"*{alert.severity}*, {waits}, when",
            "",
            "```promql",
            alert.expr,
            "```",
            "",
        ]
        lines += [f"**Why.** {alert.cause}", "", f"**Do.** {alert.action}", ""]
        lines.append(_proof(*found[alert.name]))
    return "\n".join(lines) + "\n"
