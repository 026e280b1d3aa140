"""Dashboards and alerts: made by code, every name in them exists, and every metric is looked at somewhere."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml

from deploy import __main__ as deploy
from deploy.grafana.content import DASHBOARDS, EVENTS
from deploy.prometheus.alerts import ALERTS, RECORDED
from deploy.promql import Queries, selector
from deploy.prove.__main__ import STEPS
from deploy.prove.seen import seen
from stream_app.observability.metric_table import TABLE
from tests.conftest import REPOSITORY

# Of Prometheus' client in every process, and of kube-state-metrics.
ELSEWHERE = {
    "process_start_time_seconds": {"instance"},
    "process_resident_memory_bytes": {"instance"},
    "process_cpu_seconds_total": {"instance"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
    "kube_cronjob_created": {"cronjob"},
}
# Looked at by nobody for a reason.
UNWATCHED: dict[str, str] = {}
PANELS = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]
QUERIES = [query.expr for panel in PANELS for query in panel.queries]
RULES = [each.expr for each in (*RECORDED, *ALERTS)]


def exposed() -> dict[str, set[str]]:
    """Name of a time series → its labels, as Prometheus would scrape them."""
    found: dict[str, set[str]] = {name: set(labels) for name, labels in ELSEWHERE.items()}
    for metric in TABLE.values():
        labels = {*metric.labels, "instance"}
        if metric.kind == "histogram":
            found |= {
                f"{metric.name}_sum": labels,
                f"{metric.name}_count": labels,
                f"{metric.name}_bucket": {*labels, "le"},
            }
        else:
            found[metric.name] = labels
    return found | {each.name: {"stream"} for each in RECORDED}


def plain(expr: str) -> str:
    """Without Grafana's variables."""
    return expr.replace("$__rate_interval", "5m").replace("$stream", ".*").replace("$instance", ".*")


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """(name, labels that are matched) of every series that a query asks for, by Prometheus' grammar."""
    found = []

    def walk(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        for child in ("expr", "lhs", "rhs", "vector_selector", "param"):
            if (inner := getattr(node, child, None)) is not None and not isinstance(inner, str | int | float):
                walk(inner)
        for inner in getattr(node, "args", None) or ():
            walk(inner)

    walk(promql_parser.parse(plain(expr)))
    return found


@pytest.mark.parametrize("name", deploy.made())
def test_what_is_committed_is_what_the_code_makes(name: str) -> None:
    assert (REPOSITORY / name).read_text() == deploy.made()[name], "run `python -m deploy`"


@pytest.mark.parametrize("expr", sorted({*QUERIES, *RULES, *EVENTS.values()}))
def test_each_query_is_promql_over_series_that_exist(expr: str) -> None:
    known = exposed()
    asked = selectors(expr)
    assert asked
    for name, labels in asked:
        assert name in known, f"{name} is exposed by nobody"
        assert labels <= known[name], f"{name} has no label {sorted(labels - known[name])}"


@pytest.mark.parametrize("expr", ["sum by (stream (tidecast_skill_ratio)", "rate(tidecast_lag_messages)", "1 +"])
def test_what_is_no_promql_is_refused(expr: str) -> None:
    with pytest.raises(ValueError):
        promql_parser.parse(expr)


def test_a_metric_or_label_that_does_not_exist_cannot_be_asked_for() -> None:
    queries = Queries("5m")
    with pytest.raises(KeyError):
        queries.rate("frecasts")
    with pytest.raises(ValueError, match="series_id"):
        queries.rate("forecasts", "series_id")
    with pytest.raises(ValueError, match="is a gauge"):
        queries.rate("lag")


def test_every_metric_is_on_a_panel_or_in_an_alert() -> None:
    watched = {name for expr in (*QUERIES, *RULES) for name, _ in selectors(expr)}
    stems = {re.sub(r"_(sum|count|bucket)$", "", name) for name in watched} | watched
    unwatched = {metric.name for metric in TABLE.values()} - stems
    assert unwatched == set(UNWATCHED)


def test_a_dashboard_file_keeps_everything_that_was_said() -> None:
    """From the table of panels to JSON nothing is lost: titles, units, queries, descriptions, in order."""
    for dashboard in DASHBOARDS:
        text = (
            REPOSITORY / "deploy/grafana/dashboards" / f"{dashboard.uid.removeprefix('tidecast-')}.json"
        ).read_text()
        read = json.loads(text)
        panels = [panel for panel in read["panels"] if panel["type"] != "row"]
        wanted = [panel for row in dashboard.rows for panel in row.panels]
        assert [panel["title"] for panel in panels] == [panel.title for panel in wanted]
        for made, panel in zip(panels, wanted, strict=True):
            assert made["fieldConfig"]["defaults"]["unit"] == panel.unit
            assert made.get("description", "") == panel.about
            assert [target["expr"] for target in made["targets"]] == [query.expr for query in panel.queries]
            assert [target.get("legendFormat", "") for target in made["targets"]] == [q.legend for q in panel.queries]
        assert len({panel["id"] for panel in read["panels"]}) == len(read["panels"])
        assert {each["name"] for each in read["annotations"]["list"]} == set(EVENTS)
        assert {each["name"] for each in read["templating"]["list"]} == {"stream", "instance"}


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for query in panel.queries:
            for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
                assert re.search(rf"by \([^)]*\b{label}\b", query.expr) or label == "instance", query


def test_alerts_have_names_of_their_own_and_a_runbook() -> None:
    page = (REPOSITORY / "docs" / "ALERTS.md").read_text()
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    groups = yaml.safe_load((REPOSITORY / "deploy/prometheus/rules/tidecast.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(rules) == len(ALERTS)
    for rule in rules:
        anchor = rule["annotations"]["runbook_url"].partition("#")[2]
        assert any(heading.lower() == anchor for heading in re.findall(r"^## (\w+)$", page, re.MULTILINE))
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]) or label in ("instance", "stream"), rule["alert"]


def test_each_alert_has_a_fault_that_makes_it_fire() -> None:
    """In a step of `make prove-deploy`, with a page where it was run."""
    found = seen()
    assert set(found) == {alert.name for alert in ALERTS}
    assert {step for _, step in found.values()} <= STEPS.keys()


def test_a_selector_reads_as_promql() -> None:
    assert selector("lag", 'stream="a"') == 'tidecast_lag_messages{stream="a"}'
