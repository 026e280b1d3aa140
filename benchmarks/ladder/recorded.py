"""The story, told to a real worker on a real Kafka and Valkey; its published forecasts are the record.

Workers come and go between the acts: one as it is, one whose model answers NaN while a file is there, one that finds
the model's folder gone until it is put back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from benchmarks.deployment import OUTPUTS
from benchmarks.ladder import story
from benchmarks.stage import REPOSITORY, Stage
from benchmarks.worker_process import GroupProgress, wait_until
from benchmarks.workload import create_topics
from model_core.training.history import CellHistory
from model_core.training.train import train
from stream_app.demo.processes import TIDECAST
from stream_app.models.registry import ModelRegistry
from stream_app.settings import Settings

NAME, STREAM = "ladder", "waves"
TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 30.0
SPOILED = (sys.executable, "-m", "benchmarks.ladder.spoiled_worker")
CONFIGURATION = """
application_id = "{name}"
device = "cpu"
[http]
port = 0
[kafka]
bootstrap_servers = "{bootstrap}"
[kafka.consumer]
"session.timeout.ms" = 6000
[redis]
url = "{redis_url}"
[models]
registry = "{registry}"
poll_interval = "200ms"
[streams.{stream}]
topic = "{name}-readings"
freq = "1h"
context_length = 48
horizon = 6
min_readings = 8
max_out_of_orderness = "0s"
seasonality = ["24h"]
[streams.{stream}.outputs]
prefix = "{name}"
"""


def record(stage: Stage) -> dict[str, Any]:
    """{"read": series → values, "forecasts": series → records in the order of origins}."""
    values = story.waves()
    of = story.read(values[story.HISTORY :])
    config, spoiling = stage.folder / "ladder.toml", stage.folder / "nan"
    places = {"bootstrap": stage.bootstrap, "redis_url": stage.redis_url, "registry": stage.models}
    config.write_text(CONFIGURATION.format(name=NAME, stream=STREAM, **places))
    create_topics(stage.bootstrap, [f"{NAME}-readings", *(f"{NAME}.{kind}" for kind in OUTPUTS)], 1)
    version = _promoted(config, values[: story.HISTORY], stage.models)
    told = _Told(stage.bootstrap, of)
    try:
        with _Worker(config):
            told.until(story.NAN_FROM)
        with _Worker(config, [*SPOILED, str(spoiling), "worker"]):
            spoiling.touch()
            told.until(story.NAN_TO)
            spoiling.unlink()
            told.until(story.GONE_FROM)
        folder, aside = version, stage.folder / "aside"
        shutil.move(folder, aside)
        with _Worker(config) as said:
            told.until(story.GONE_TO)
            shutil.move(aside, folder)
            wait_until(lambda: said("model swapped"), TIMEOUT_S, "the model to be taken back")
            told.until(story.TICKS)
    finally:
        told.close()
    return {"read": of, "forecasts": _published(stage.bootstrap)}


def _promoted(config: Path, history: np.ndarray, models: Path) -> Path:
    """Trained as `tidecast train` does it on the hours before, and in charge. Its folder."""
    spec = Settings.load(config, {}).streams[STREAM]
    cells = CellHistory()
    columns = cells.columns_of(list(story.SERIES))
    ticks = np.repeat(story.START_MS // story.HOUR_MS - story.HISTORY + np.arange(len(history)), len(columns))
    cells.put(np.tile(columns, len(history)), ticks, history.reshape(-1))
    bundle = train(cells, spec, version="m1", created_at="2026-01-01T00:00:00Z", device="cpu").bundle
    registry = ModelRegistry(str(models))
    registry.publish(STREAM, bundle, {})
    registry.promote(STREAM, "m1")
    return models / STREAM / "versions" / "m1"


class _Told:
    """The log as far as it is written, and read."""

    def __init__(self, bootstrap: str, of: dict[str, list[float | None]]) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self._progress = GroupProgress(bootstrap, NAME, f"{NAME}-readings", 1)
        self._of, self._tick, self._sent = of, 0, 0

    def until(self, tick: int) -> None:
        """Everything before it is written, read and answered."""
        for key, value in story.messages(self._of, self._tick, tick):
            self._producer.produce(f"{NAME}-readings", value, key)
            self._sent += 1
        self._producer.flush(TIMEOUT_S)
        self._progress.wait(self._sent, TIMEOUT_S)
        self._tick = tick

    def close(self) -> None:
        self._progress.close()


class _Worker:
    """A worker process for as long as it is entered; what is entered says whether an event is in its log."""

    def __init__(self, config: Path, command: Sequence[str] = (*TIDECAST, "worker")) -> None:
        self._command = [*command, "--config", str(config)]
        self._log = config.with_name(f"worker-{len(list(config.parent.glob('worker-*')))}.log")

    def __enter__(self) -> Callable[[str], bool]:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return lambda event: f'"{event}"' in self._log.read_text(errors="replace")

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        finally:
            self._process.kill()


def _published(bootstrap: str) -> dict[str, list[dict[str, Any]]]:
    """Of each forecast what is drawn: its origin's tick, who answered and why, and the first step's quantiles."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "pictures",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(f"{NAME}.forecasts", 0, OFFSET_BEGINNING)])
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in story.SERIES}
    ended = False
    while not ended:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended = True
                continue
            made = json.loads(message.value())
            at = datetime.fromisoformat(made["origin"]).timestamp()
            first = [round(level[0], 3) for level in made["quantiles"]]
            tick = (round(at * 1000) - story.START_MS) // story.HOUR_MS
            said = {"origin": tick, "model": made["model"], "reason": made["reason"]}
            found[made["series_id"]].append(said | {"low": first[0], "middle": first[4], "high": first[-1]})
    consumer.close()
    return {name: sorted(rows, key=lambda row: row["origin"]) for name, rows in found.items()}
