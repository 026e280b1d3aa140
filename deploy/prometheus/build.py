"""The table of alerts as Prometheus' rules, as the prometheus-operator's object, and as a page for people."""

from __future__ import annotations

from typing import Any

import yaml

from deploy.prometheus.alerts import ALERTS, RECORDED, Alert

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


def page() -> str:
    """docs/ALERTS.md."""
    lines = [
        "# Alerts",
        "",
        "What fires, why, and what to do. A *page* wakes somebody, a *ticket* waits for a working day. Rules: "
        "[deploy/prometheus/rules](../deploy/prometheus/rules), on Kubernetes the PrometheusRule of the "
        "component `monitoring`; dashboards: "
        "[deploy/grafana](../deploy/grafana).",
        "This page is made from the table in `deploy/prometheus/alerts.py` by `python -m deploy`.",
    ]
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
        lines += [f"**Why.** {alert.cause}", "", f"**Do.** {alert.action}"]
    return "\n".join(lines) + "\n"
