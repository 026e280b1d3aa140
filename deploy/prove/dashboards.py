"""The dashboards in a real Grafana, over a real Prometheus that scrapes a worker under load: each query is answered."""

from __future__ import annotations

import base64
import json
import math
import secrets
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.grafana.content import DASHBOARDS
from deploy.grafana.panels import Panel
from deploy.prove.programs import REPOSITORY, Unproven, expect, get, wait_for
from deploy.prove.watched import DATA, STREAM, Watched
from stream_app.local_services.ports import free_port

FILES = REPOSITORY / "deploy" / "grafana" / "dashboards"
LOAD_S = 75  # longer than Grafana's $__rate_interval, which is four scrapes of 15 s
RATE = 3_000
# Nothing of it happens while all is well: no answer, or zero, is right.
MAY_BE_EMPTY = {
    *("Deleted series", "Trouble"),
    *("Alarms in an hour", "Alarms of all series", "Revisions and warm-up"),
}
INI = """
[paths]
data = {home}/data
logs = {home}/logs
plugins = {home}/plugins
provisioning = {provisioning}
[server]
http_addr = 127.0.0.1
http_port = {port}
[security]
admin_password = {password}
[analytics]
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false
[news]
news_feed_enabled = false
[log]
mode = console
"""


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    get("grafana.sh", folder / "grafana")
    rules = (REPOSITORY / "deploy" / "prometheus" / "rules" / "tidecast.yml").read_text()
    with Watched(folder, rules, variables={"TIDECAST__MODELS__SHADOW_SERIES_MAX": "100"}) as stage:
        grafana = Grafana(folder, stage)
        stage.tidecast("train", f"--file={DATA}")
        stage.tidecast("train", "--no-promote", f"--file={DATA}")  # a candidate for the shadow
        stage.begin_worker()
        stage.begin_producer(RATE)
        began = time.monotonic()
        stage.send("{", '{"series_id":"a","timestamp":1,"value":"x"}', times=60)
        version = grafana.wait()
        yield f"Grafana {version} provisions data source and dashboards from deploy/grafana"
        yield from kept(grafana)
        time.sleep(max(0.0, LOAD_S - (time.monotonic() - began)))
        yield from answered(grafana)


class Grafana:
    """Its HTTP API."""

    def __init__(self, folder: Path, stage: Watched) -> None:
        home, port = folder / "watched" / "grafana", free_port()
        home.mkdir()
        password = secrets.token_hex(8)
        provisioning = REPOSITORY / "deploy" / "grafana" / "provisioning"
        ini = home / "grafana.ini"
        ini.write_text(textwrap.dedent(INI).format(home=home, provisioning=provisioning, port=port, password=password))
        command = [str(folder / "grafana" / "bin" / "grafana"), "server"]
        command += ["--homepath", str(folder / "grafana" / "home"), "--config", str(ini)]
        variables = {"PROMETHEUS_URL": stage.prometheus, "DASHBOARDS": str(FILES), "PATH": "/usr/bin"}
        stage.begin("grafana", command, variables)
        self._url = f"http://127.0.0.1:{port}"
        self._key = base64.b64encode(f"admin:{password}".encode()).decode()

    def wait(self) -> str:
        """Its version, once it answers and has the dashboards."""
        wait_for(
            lambda: len(self.call("/api/search?type=dash-db")) >= len(DASHBOARDS), "Grafana has the dashboards", 180
        )
        expect(
            self.call("/api/datasources/uid/prometheus/health")["status"] == "OK",
            "expected Grafana to reach Prometheus",
        )
        return str(self.call("/api/health")["version"])

    def call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Authorization": f"Basic {self._key}"})
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def kept(grafana: Grafana) -> Iterator[str]:
    """What Grafana gives back has every key that was committed, with its value."""
    for dashboard in DASHBOARDS:
        file = f"{dashboard.uid.removeprefix('tidecast-')}.json"
        given = grafana.call(f"/api/dashboards/uid/{dashboard.uid}")["dashboard"]
        lost = list(missing(json.loads((FILES / file).read_text()), given, dashboard.uid))
        expect(not lost, f"expected Grafana to keep all, it lost {lost[:5]}")
    yield f"Grafana gives all {len(DASHBOARDS)} dashboards back without a lost key"


def missing(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    if isinstance(ours, dict):
        for key, value in ours.items():
            if not isinstance(theirs, dict) or key not in theirs:
                yield f"{where}.{key}"
            else:
                yield from missing(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            yield where
        else:
            for number, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
                yield from missing(mine, its, f"{where}[{number}]")
    elif ours != theirs:
        yield f"{where}: {ours!r} became {theirs!r}"


def answered(grafana: Grafana) -> Iterator[str]:
    """Every panel's queries, and the variables', through Grafana."""
    panels = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]
    values, empty = 0, []
    for panel in panels:
        found = [value for query in panel.queries for value in _values(grafana, panel, query.expr)]
        if not found:
            empty.append(panel.title)
        values += len(found)
    expect(set(empty) <= MAY_BE_EMPTY, f"expected an answer for every panel, found none for {empty}")
    count = sum(len(panel.queries) for panel in panels)
    yield f"under load, {count} queries of {len(panels)} panels give {values:,} values, all finite and in their range"
    yield f"no value, because nothing of it happened: {', '.join(dict.fromkeys(empty)) or 'nowhere'}"
    for label, metric in (("stream", "tidecast_poll_batches_total"), ("instance", "tidecast_partitions_assigned")):
        path = f"/api/datasources/uid/prometheus/resources/api/v1/label/{label}/values?match[]={metric}"
        seen = grafana.call(path)["data"]
        expect(seen == [STREAM] if label == "stream" else len(seen) == 1, f"expected values of ${label}, found {seen}")
    yield "the variables stream and instance offer what is there"


def _values(grafana: Grafana, panel: Panel, expr: str) -> list[float]:
    query = {
        "refId": "A",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "expr": expr.replace("$stream", ".*").replace("$instance", ".*"),
        "range": True,
        "intervalMs": 5_000,
        "maxDataPoints": 100,
    }
    result = grafana.call("/api/ds/query", {"queries": [query], "from": "now-30s", "to": "now"})["results"]["A"]
    if "error" in result:
        raise Unproven(f"panel {panel.title!r}: {result['error']}: {expr}")
    found = []
    low, high = panel.bounds
    for frame in result.get("frames", ()):
        columns = frame["data"]["values"]
        bad = frame["data"].get("entities") or [None] * len(columns)
        for column, special in list(zip(columns, bad, strict=True))[1:]:
            expect(not special, f"panel {panel.title!r} has values that are not finite: {special}: {expr}")
            found += [value for value in column if value is not None]
    for value in found:
        above, below = low is None or value >= low - 1e-9, high is None or value <= high + 1e-9
        expect(
            math.isfinite(value) and above and below,
            f"panel {panel.title!r} has {value}, outside {panel.bounds}: {expr}",
        )
    return found
