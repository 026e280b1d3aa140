"""`tidecast api` beside a worker: what it costs the worker, and whether it keeps up.

`python -m benchmarks.api` is a quick look, `make bench ARGS="--only api"` puts the figure beside the others. Meanwhile
somebody asks for what a page shows whenever it is told that something has changed, as an open browser would.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from benchmarks.deployment import STREAM, Deployment, Shapes
from benchmarks.drain import drain
from benchmarks.figure import QUICK, Asked, Figure, Row, Sizes
from benchmarks.side_by_side import DELIVERIES, Rounds, filled
from benchmarks.stage import Stage, alone
from benchmarks.worker_process import FigureFailed, GroupProgress, Worker, wait_until
from benchmarks.workload import START_S, STEP_S, Workload, create_topics, delete_topics
from stream_app.demo.processes import Child

MUST_RATE, MUST_CORES = 0.95, 0.5
START_TIMEOUT_S = 60
CHUNK_S = 0.01
WARM_S = 5.0  # of the live part, not counted
LOOK_S = 1.0


class Api:
    """A real `tidecast api` in a process of its own."""

    def __init__(self, deployment: Deployment) -> None:
        base = deployment.config("api")
        path = Path(f"{base}.api.toml")
        path.write_text(f"{base.read_text()}\n[api]\nport = 0\nseries_max = {deployment.workload.series}\n")
        self.log_path = path.with_suffix(".log")
        self.child = Child("api", ["api", "--config", str(path)], self.log_path)
        self._process = psutil.Process(self.child.pid)
        self.url: str = wait_until(self._address, START_TIMEOUT_S, "the API to listen")
        wait_until(self._has_read, START_TIMEOUT_S, "the API to have read what is there")

    def _address(self) -> str | None:
        self.child.require_running()
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return next((line["http"] for line in lines if line["event"] == "started"), None)

    def _has_read(self) -> bool:
        """The topics that are there; outputs may come later."""
        return not {"start", "kafka"} & self.get("/api/v1/status")["reasons"].keys()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def rss_bytes(self) -> int:
        return int(self._process.memory_info().rss)


@contextmanager
def watched(deployment: Deployment) -> Iterator[Api]:
    """The API, and one page that is open."""
    api = Api(deployment)
    gone = threading.Event()
    page = threading.Thread(target=_look, args=(api, gone), daemon=True)
    page.start()
    try:
        yield api
    finally:
        gone.set()
        api.child.stop()
        page.join(5)


def _look(api: Api, gone: threading.Event) -> None:
    """An open page: it is told that something has changed, and asks for all that it shows."""
    stream = f"/api/v1/streams/{STREAM}"
    while not gone.is_set():
        try:
            with urllib.request.urlopen(f"{api.url}/api/v1/events?stream={STREAM}", timeout=30) as told:
                for line in told:
                    if gone.is_set() or not line.startswith(b"data: "):
                        continue
                    api.get(stream)
                    rows = api.get(f"{stream}/series?limit=50")["series"]
                    if rows:
                        api.get(f"/page/{STREAM}/series?series_id={rows[0]['series_id']}")
        except (OSError, http.client.HTTPException):  # it ends, or Kafka is busy: a page would try again as well
            gone.wait(LOOK_S)


def measure_api(stage: Stage, asked: Asked, figure: Figure) -> None:
    _measure_rate(stage, asked, figure)
    _measure_live(stage, asked, figure)


def _measure_rate(stage: Stage, asked: Asked, figure: Figure) -> None:
    """The same drains with and without, in turns."""
    workload = Workload("w1-api", asked.sizes.series, asked.sizes.ticks)
    rounds, used = Rounds(asked), []

    def take(round_: int, *, beside: bool) -> float:
        name = f"api-{'beside' if beside else 'alone'}-{round_}"
        deployment = Deployment(stage, name, workload, DELIVERIES[0], interval_ms=asked.sizes.interval_ms)
        if not beside:
            return drain(deployment).rate
        with watched(deployment) as api:
            before, spent = api.cpu_seconds(), [0.0]
            drained = drain(deployment, look=lambda _: spent.append(api.cpu_seconds() - before))
            after = api.cpu_seconds() - before  # it reads the rest while outputs are counted
            used.append((spent[-1], after, api.get("/api/v1/status")["passed_over"]))
        return drained.rate

    with filled(stage, workload):
        rounds.add("alone", lambda round_: take(round_, beside=False))
        rounds.add("beside", lambda round_: take(round_, beside=True))
        rounds.run(asked.sizes.rounds)
    alone_, beside = (Row.of("", rounds.rates[name], "").value for name in ("alone", "beside"))
    note = f"{beside / alone_:.3f} of that without" if alone_ and beside else ""
    figure.rows.append(rounds.row("alone", "drain without tidecast api, exactly once"))
    must = f"{MUST_RATE} of that without"
    figure.rows.append(rounds.row("beside", "drain with tidecast api and a page open", must=must, note=note))
    figure.raw |= {"rates": dict(rounds.rates), "api_cpu_seconds_then_and_at_last_and_passed_over": used}
    figure.error = "; ".join(rounds.failed.values()) or None


def _measure_live(stage: Stage, asked: Asked, figure: Figure) -> None:
    """Many series at a fixed rate, each forecast and scored at each tick: does it keep up, and what does it take?"""
    sizes = asked.sizes
    ticks = max(2, round((WARM_S + sizes.live_seconds) * sizes.live_rate / sizes.large_series) + 1)
    workload = Workload("live-api", sizes.large_series, ticks)
    shapes = Shapes(forecast_every=1, min_readings=1)
    deployment = Deployment(stage, "live-api-out", workload, DELIVERIES[0], shapes, sizes.interval_ms)
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    worker = None
    try:
        worker = Worker(deployment.config())
        worker.assigned(workload.partitions)
        with watched(deployment) as api:
            found = _send(stage.bootstrap, workload, sizes.live_rate, api)
            progress.wait(workload.messages, 120, worker.child.require_running)
        worker.stop()
    finally:
        if worker is not None:
            worker.child.stop()
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [workload.topic])
    what = f"tidecast api at {sizes.live_rate:,} readings/s of {workload.series:,} series"
    note = f"readings shown at most {found['behind_s']:.1f} s late, {found['passed_over']:,} messages passed over"
    figure.rows.append(Row(f"{what}: processor", found["cores"], "cores", must=f"≤ {MUST_CORES}", note=note))
    figure.rows.append(Row(f"{what}: memory", found["rss_bytes"] / 1e6, "MB"))
    figure.raw["live"] = found


def _send(bootstrap: str, workload: Workload, rate: int, api: Api) -> dict[str, Any]:
    """By the clock; once a second the API is asked how far it is."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random"})
    producer.list_topics(workload.topic, 30)
    chunk = round(rate * CHUNK_S)
    sent, looked, behind = 0, 0.0, 0.0
    began, counted = time.monotonic(), (0.0, 0.0)
    for messages in workload.rounds():
        for start in range(0, len(messages), chunk):
            due = began + sent / rate
            time.sleep(max(0.0, due - time.monotonic()))
            producer.produce_batch(workload.topic, messages[start : start + chunk])
            producer.poll(0)
            sent += len(messages[start : start + chunk])
            now = time.monotonic() - began
            if now > WARM_S and not counted[0]:
                counted = (now, api.cpu_seconds())
            if counted[0] and now - looked > LOOK_S:
                looked = now
                behind = max(behind, _behind(api, sent, workload) / rate)
    if producer.flush(30):
        raise FigureFailed("expected all live readings to be acknowledged")
    took, cpu = time.monotonic() - began - counted[0], api.cpu_seconds() - counted[1]
    status = api.get("/api/v1/status")
    return {
        "cores": cpu / took,
        "behind_s": behind,
        "passed_over": status["passed_over"],
        "rss_bytes": api.rss_bytes(),
        "seconds": took,
    }


def _behind(api: Api, sent: int, workload: Workload) -> int:
    """Readings between what was sent and what is shown, to a tick: a tick that is shown in part counts as shown."""
    shown = api.get(f"/api/v1/streams/{STREAM}")["newest_reading"]
    if shown is None:
        return sent
    tick = int(datetime.fromisoformat(shown).timestamp()) // STEP_S - START_S // STEP_S
    return max(0, sent - (tick + 1) * workload.series)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--live-series", type=int, default=100_000)
    parser.add_argument("--live-rate", type=int, default=20_000)
    parser.add_argument("--live-seconds", type=int, default=20)
    parser.add_argument("--only", choices=("rate", "live"))
    chosen = parser.parse_args()
    sizes = replace(
        Sizes() if chosen.live_series > QUICK.large_series else QUICK,
        rounds=chosen.rounds,
        series=chosen.series,
        ticks=chosen.ticks,
        large_series=chosen.live_series,
        live_rate=chosen.live_rate,
        live_seconds=chosen.live_seconds,
    )
    figure = Figure("api", "The live page beside a worker")
    with alone(), Stage() as stage:
        asked = Asked(sizes, None, lambda text: print(text, flush=True))
        if chosen.only != "live":
            _measure_rate(stage, asked, figure)
        if chosen.only != "rate":
            _measure_live(stage, asked, figure)
    for row in figure.rows:
        value = "–" if row.value is None else f"{row.value:,.3g}" if row.value < 100 else f"{row.value:,.0f}"
        print(f"{row.what}: {value} {row.unit} · must {row.must or '–'} · {row.note}")


if __name__ == "__main__":
    main()
