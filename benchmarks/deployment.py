"""One deployment of tidecast: its configuration, its topics, and the model that `tidecast train` makes for it."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.stage import REPOSITORY, Stage
from benchmarks.workload import LAG_TICKS, START_S, STEP_S, Workload, create_topics, delete_topics, series_values
from stream_app.models.registry import ModelRegistry

STREAM = "w1"
OUTPUTS = ("forecasts", "accuracy", "drift", "dead-letters", "journal", "control")
REPORT_TICKS = 24
MIN_READINGS = 8
TRAIN_SERIES = 12
TRAIN_TIMEOUT_S = 300
Delivery = Literal["at_least_once", "exactly_once"]

CONFIGURATION = """
application_id = "{name}"
instance_id = "{instance}"
delivery = "{delivery}"
device = "{device}"
[http]
port = 0
[kafka]
bootstrap_servers = "{bootstrap}"
[redis]
url = "{redis_url}"
[models]
registry = "{registry}"
{models}
[limits]
transaction_interval = "{interval_ms}ms"
{limits}
[streams.{stream}]
topic = "{topic}"
freq = "10min"
timestamp_unit = "s"
context_length = {context}
horizon = {horizon}
forecast_every = {every}
model = "{model}"
quantile_levels = [{levels}]
readings_per_step = 1
max_out_of_orderness = "{disorder_s}s"
min_readings = {min_readings}
seasonality = ["4h"]
accuracy = "records"
drift_report_every = "4h"
[streams.{stream}.outputs]
prefix = "{name}"
"""


@dataclass(frozen=True)
class Shapes:
    """Of the model and the stream."""

    context: int = 96
    horizon: int = 12
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    forecast_every: int = 12
    min_readings: int = MIN_READINGS
    device: Literal["cpu", "cuda"] = "cpu"
    model: str = "ridge"

    @property
    def trained_as(self) -> str:
        """What a model is tied to: a registry of its own each."""
        return f"{self.model}-{self.context}-{self.horizon}x{len(self.levels)}"


@dataclass(frozen=True)
class Deployment:
    """A consumer group with outputs of its own on the topic of a workload."""

    stage: Stage
    name: str
    workload: Workload
    delivery: Delivery
    shapes: Shapes = field(default_factory=Shapes)
    interval_ms: int = 100
    limits: str = ""  # more lines of [limits]
    models: str = ""  # and of [models]

    @property
    def topics(self) -> list[str]:
        return [f"{self.name}.{kind}" for kind in OUTPUTS]

    def config(self, instance: str = "one") -> Path:
        """The path of a tidecast.toml, as a person would write it."""
        path = self.stage.folder / f"{self.name}-{instance}.toml"
        stage = self.stage
        path.write_text(self.text(instance, stage.bootstrap, stage.redis_url, str(self.registry)))
        return path

    def create(self) -> None:
        """Topics, and the model in charge."""
        create_topics(self.stage.bootstrap, self.topics, self.workload.partitions)
        self._train()

    def delete(self) -> None:
        delete_topics(self.stage.bootstrap, self.topics)
        self.stage.empty_store()

    @property
    def registry(self) -> Path:
        return self.stage.models / self.shapes.trained_as

    def season(self) -> int:
        """Ticks between two accuracy summaries, as the model in charge says."""
        registry = ModelRegistry(str(self.registry))
        version = registry.champion(STREAM)
        assert version is not None, "trained before it is asked"
        return registry.load(STREAM, version).manifest.season

    def text(self, instance: str, bootstrap: str, redis_url: str, registry: str) -> str:
        """The tidecast.toml."""
        return CONFIGURATION.format(
            name=self.name,
            instance=instance,
            delivery=self.delivery,
            bootstrap=bootstrap,
            redis_url=redis_url,
            registry=registry,
            models=self.models,
            interval_ms=self.interval_ms,
            limits=self.limits,
            stream=STREAM,
            topic=self.workload.topic,
            context=self.shapes.context,
            horizon=self.shapes.horizon,
            every=self.shapes.forecast_every,
            device=self.shapes.device,
            model=self.shapes.model,
            levels=", ".join(map(str, self.shapes.levels)),
            disorder_s=LAG_TICKS * STEP_S if self.workload.is_disordered else 0,
            min_readings=self.shapes.min_readings,
        )

    def _train(self) -> None:
        """By the command, on earlier values of the same kind; once for each shape of model."""
        registry = ModelRegistry(str(self.registry))
        if registry.champion(STREAM) is not None:
            return
        history = self.stage.folder / f"history-{self.shapes.trained_as}.csv"
        _write_history(history, ticks=max(1500, 5 * self.shapes.context))
        command = (sys.executable, "-c", "from stream_app.cli import main; main()", "train")
        done = subprocess.run(
            [*command, "--config", str(self.config("trainer")), "--file", str(history), "--json"],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRAIN_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"tidecast train ended with {done.returncode}: {done.stderr[-2000:]}")
        candidate = registry.alias(STREAM, "candidate")
        assert candidate is not None, "what was trained is the candidate"
        registry.promote(STREAM, candidate)  # whatever the gate says: the figures are about speed


def _write_history(path: Path, ticks: int) -> None:
    """The ticks before the workload begins, wide."""
    rng = np.random.default_rng(1)
    first = START_S // STEP_S - ticks
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", *(f"s{number:05d}" for number in range(TRAIN_SERIES))])
        for tick in range(ticks):
            moment = np.datetime_as_string(np.datetime64((first + tick) * STEP_S, "s"), unit="s")
            rows.writerow([f"{moment}Z", *series_values(TRAIN_SERIES, tick - ticks, rng).tolist()])
