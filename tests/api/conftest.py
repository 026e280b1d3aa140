"""One deployment for the tests of this folder: a real worker over some series, and a real `tidecast api` beside it."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from confluent_kafka import Producer

from model_core.outcomes import DriftRecord
from model_core.spec import StreamSpec
from stream_app.local_services import LocalServices
from stream_app.settings import Settings
from stream_app.tables import TableFile
from stream_app.training import train_job
from stream_app.wire.messages import encode_drift
from tests.app.forks import TIDECAST
from tests.app.running_worker import START_MS, STEP_MS, WorkerProcess, World, wait_until

TOKEN = "a-token-of-these-tests"
TICKS, TRAINED_TICKS = 60, 400
SERIES = (
    "pump-1.flow",
    "pump-1.temp",
    "pump-2.flow",
    "pump-2.temp",
    "<b>odd</b> & “long” series/with?everything#in it",
)
DRIFTING = SERIES[3]
SEASON = 12


@dataclass
class Running:
    """The API's process; `ask` gives status and body."""

    process: WorkerProcess
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.process.wait_for("started")["http"])

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, **query: Any) -> Any:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        address = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(address, method=method, headers=own | (headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                self.headers = {name.lower(): value for name, value in answer.headers.items()}
                return answer.status, _body(answer.read())
        except urllib.error.HTTPError as error:
            self.headers = {name.lower(): value for name, value in error.headers.items()}
            return error.code, _body(error.read())

    def get(self, path: str, **query: Any) -> Any:
        status, body = self.ask(path, **query)
        assert status == 200, body
        return body


def _body(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


@dataclass
class Plant:
    """A world with a worker, an API and values that are known."""

    world: World
    config: Path
    api: Running
    values: np.ndarray  # [TICKS, series]

    def send(self, first: int, ticks: int) -> None:
        """Ticks that have not been sent; their values go on in the same way."""
        rows = values_of(first, ticks)
        self.world.send(
            (name, json.dumps({"series_id": name, "timestamp": START_MS + (first + tick) * STEP_MS, "value": value}))
            for tick, row in enumerate(rows.tolist())
            for name, value in zip(SERIES, row, strict=True)
        )


def values_of(first: int, ticks: int) -> np.ndarray:
    tick = np.arange(first, first + ticks)[:, None]
    noise = np.random.default_rng([7, first + TRAINED_TICKS]).normal(0, 0.2, (ticks, len(SERIES)))
    return (20 + 4 * np.sin(2 * np.pi * tick / SEASON + np.arange(len(SERIES))) + noise).round(3)


def start_api(world: World, config: Path, *, token: str | None = None, more: str = "") -> Running:
    own = config.with_name(f"{config.stem}-api-{len(world.workers)}.toml")
    secret = config.with_name(f"{own.stem}.token")
    if token:
        secret.write_text(token + "\n")
        more += f'\ntoken = "{token}"'
    own.write_text(f"{config.read_text()}\n[api]\nport = 0\n{more}\n")
    return Running(world.start(own, (TIDECAST, "api")), token)


@pytest.fixture(scope="session")
def plant(services: LocalServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Forecasts of every tick, one message that is no reading, and a model with the report of how it was judged."""
    folder = tmp_path_factory.mktemp("plant")
    world = World(services.kafka_bootstrap, services.redis_url, f"plant-{folder.name}.in", 2, folder)
    world.create(world.topic)
    config = world.deployment("one")
    _train(config, folder)
    try:
        api = start_api(world, config, token=TOKEN)
        worker = world.start(config)
        made = Plant(world, config, api, values_of(0, TICKS))
        world.send([("pump-1.flow", b'{"series_id": "pump-1.flow", "value": "<img src=x onerror=alert(1)>"}')])
        made.send(0, TICKS)
        _tell_drift(world)
        world.wait_for_forecasts("one", TICKS * len(SERIES))
        wait_until(lambda: _is_known(api), 30, "the API to have read all of it")
        yield made
        assert worker.stop() == 0
        api.process.process.send_signal(signal.SIGTERM)
        assert api.process.process.wait(15) == 0
    finally:
        for each in world.workers:
            each.kill()


def _tell_drift(world: World) -> None:
    """Of one series, as the worker would: nothing here drifts by itself."""
    spec = StreamSpec(topic=world.topic, freq=STEP_MS)
    tick = START_MS // STEP_MS + TICKS // 2
    record = DriftRecord(DRIFTING, None, "cusum", 6.5, 5.0, "drift", tick, tick, 0, 3.21, 0.8)
    producer = Producer({"bootstrap.servers": world.bootstrap})
    for key, value in encode_drift(spec, "tides", 0, [record]):
        producer.produce(f"{world.topic}.one.drift", value, key)
    assert producer.flush(30) == 0


def _is_known(api: Running) -> bool:
    found = api.get("/api/v1/streams/tides/series")["series"]
    last = f"{np.datetime64(START_MS + (TICKS - 1) * STEP_MS, 'ms').astype('datetime64[s]')}Z"
    return len(found) == len(SERIES) and all(each["newest_origin"] == last and each["coverage"] for each in found)


def _train(config: Path, folder: Path) -> None:
    settings = Settings.load(config)
    history = folder / "history.csv"
    rows = values_of(-TRAINED_TICKS, TRAINED_TICKS)[:, :4]
    lines = ["time," + ",".join(SERIES[:4])]
    lines += [
        f"{START_MS + (tick - TRAINED_TICKS) * STEP_MS}," + ",".join(map(str, row))
        for tick, row in enumerate(rows.tolist())
    ]
    history.write_text("\n".join(lines))
    train_job.run(settings, "tides", file=TableFile(history))
