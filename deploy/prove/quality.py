"""The alerts about models and data: a stream for each fault, all in one worker, each alert by its own stream alone.

Faults are caused in readings, in files of the registry and by what a trainer learns from; nobody writes a metric.
"""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

import numpy as np
from confluent_kafka import Producer

from deploy.prove.firing import scaled, stays_calm
from deploy.prove.programs import Unproven, expect, get
from deploy.prove.watched import Watched
from model_core.bundle import Bundle
from stream_app.models.registry import ModelRegistry

SCALE = 240
STEP_MS = 3_600_000
START_MS = 1_750_000_000_000 // STEP_MS * STEP_MS
SERIES, SEASON = 20, 24
LEARNED, WARM = 6_000, 400  # ticks learned from: the gate wants weeks; and ticks that are there before the worker
TICK_S = 0.1
REFUSALS = 5
WITHIN_S = 200
# Stream → (what happens to it, the alert that it alone fires).
FAULTS = {
    "shift": ("all series jump by ten times their noise", "TidecastDriftStorm"),
    "stuck": ("all sensors repeat their last value", "TidecastCoverageLost"),
    "holes": ("two readings in three are missing", "TidecastFallbackShare"),
    "walk": ("the series become random walks", "TidecastSkillBelowNaive"),
    "old": ("the model in charge was made eight days ago", "TidecastModelTooOld"),
    "torn": ("the champion's file is damaged", "TidecastModelRefused"),
    "gate": (f"{REFUSALS} candidates in a row are no better than the champion", "TidecastTrainingGateFailing"),
}
CONFIGURATION = 'application_id = "tidecast"\n[models]\npoll_interval = "250ms"\n' + "".join(
    f'[streams.{name}]\ntopic = "{name}"\nfreq = "1h"\ncontext_length = 48\nhorizon = 6\nreadings_per_step = 1\n'
    'max_out_of_orderness = "0s"\nseasonality = ["1d"]\n'
    for name in FAULTS
)


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    template = folder / "quality.toml"
    template.write_text(CONFIGURATION)
    with Watched(folder, scaled(SCALE), template) as stage:
        models = Models(stage)
        with Flow(stage) as flow:
            stage.begin_worker()
            stays_calm(stage, 20, 60)
            yield f"durations divided by {SCALE}; {len(FAULTS)} streams of {SERIES} series, all well: nothing fires"
            with ThreadPoolExecutor(1) as trainer:
                flow.is_faulty = True
                spoiling = trainer.submit(models.spoil)
                fired = _seconds_until(stage, there=True)
                spoiling.result()
                flow.is_faulty = False
                mending = trainer.submit(models.mend)
                ended = _seconds_until(stage, there=False)
                mending.result()
    for name, (what, alert) in FAULTS.items():
        yield f"{what}: {alert} fires after {fired[name]:.0f} s, and ends {ended[name]:.0f} s after it is over"


def _seconds_until(stage: Watched, *, there: bool) -> dict[str, float]:
    """Stream → seconds until its alert fired (`there`), or was over."""
    began, found = time.monotonic(), dict[str, float]()
    while missing := FAULTS.keys() - found:
        passed_s, firing = time.monotonic() - began, stage.firing_of_streams()
        found |= {name: passed_s for name in missing if ((FAULTS[name][1], name) in firing) is there}
        what = "fire" if there else "be over"
        expect(
            passed_s < WITHIN_S,
            f"expected the alerts of {sorted(missing)} to {what} in {WITHIN_S} s, found {sorted(firing)}",
        )
        time.sleep(0.5)
    return found


def ordinary(tick: int, rng: np.random.Generator) -> np.ndarray:
    """[SERIES]: a daily course, and noise of 1."""
    return 50 + 8 * np.sin(2 * np.pi * tick / SEASON + np.arange(SERIES)) + rng.normal(0, 1, SERIES)


class Flow:
    """A tick of each stream every TICK_S, after WARM of them at once; faulty ones while `is_faulty`."""

    def __init__(self, stage: Watched) -> None:
        own = {"bootstrap.servers": stage.services.kafka_bootstrap, "partitioner": "murmur2_random", "log_level": 0}
        self._producer = Producer(own)
        self._rng = np.random.default_rng(5)
        self._tick = 0
        self._last = self._walked = np.zeros(SERIES)
        self.is_faulty = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._flow, daemon=True)

    def __enter__(self) -> Flow:
        for _ in range(WARM):
            self._send()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(30)

    def _flow(self) -> None:
        while not self._over.wait(TICK_S):
            self._send()

    def _send(self) -> None:
        well, is_faulty = ordinary(self._tick, self._rng), self.is_faulty
        for name in FAULTS:
            values = self._faulty(name, well) if is_faulty else well
            for series in np.flatnonzero(~np.isnan(values)):
                value = round(float(values[series]), 3)
                told = {"series_id": f"s{series}", "timestamp": START_MS + self._tick * STEP_MS, "value": value}
                self._producer.produce(name, json.dumps(told), key=f"s{series}")
        expect(self._producer.flush(30) == 0, "expected the readings to be taken")
        if not is_faulty:
            self._last = self._walked = well
        self._tick += 1

    def _faulty(self, stream: str, well: np.ndarray) -> np.ndarray:
        if stream == "shift":
            return well + 10
        if stream == "stuck":
            return self._last
        if stream == "holes":
            return np.where(self._rng.random(SERIES) < 2 / 3, np.nan, well)
        if stream == "walk":
            self._walked = self._walked + self._rng.normal(0, 5, SERIES)
            return self._walked
        return well


class Models:
    """One model, learned once by the command line, for all streams; and what is done to them."""

    def __init__(self, stage: Watched) -> None:
        self._stage = stage
        self._registry = ModelRegistry(str(stage.registry))
        rng, before = np.random.default_rng(3), range(-LEARNED, 0)
        self._history = self._file("history.csv", [ordinary(tick, rng) for tick in before])
        # Nothing that the champion has seen: whatever is learned from it is better.
        other = [50 + 8 * np.sign(np.sin(2 * np.pi * tick / 16 + np.arange(SERIES))) for tick in before]
        self._other = self._file("other.csv", other)
        self._train("gate", self._history)
        version = self._registry.champion("gate")
        if version is None:
            raise Unproven("expected a first model to take charge")
        self._bundle = self._registry.load("gate", version)
        for name in FAULTS.keys() - {"gate"}:
            self._promote(name, self._bundle)

    def spoil(self) -> None:
        self._promote("old", self._made(datetime.now(UTC) - timedelta(days=8), "aaaaaa"))
        self._damage("torn")
        for _ in range(REFUSALS):
            self._train("gate", self._history)

    def mend(self) -> None:
        for stream in ("old", "torn"):
            self._promote(stream, self._made(datetime.now(UTC), "cccccc"))
        self._train("gate", self._other)

    def _train(self, stream: str, file: Path) -> None:
        self._stage.tidecast("train", f"--stream={stream}", f"--file={file}")

    def _promote(self, stream: str, bundle: Bundle) -> None:
        self._registry.promote(stream, self._registry.publish(stream, bundle, {}))

    def _damage(self, stream: str) -> None:
        """One bit of a champion's weights: before workers can have read it, which no command would allow."""
        version = self._registry.publish(stream, self._made(datetime.now(UTC), "bbbbbb"), {})
        file = self._stage.registry / stream / "versions" / version / "model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (self._stage.registry / stream / "aliases" / "champion.json").write_text(json.dumps({"version": version}))

    def _made(self, when: datetime, token: str) -> Bundle:
        manifest = self._bundle.manifest.model_copy(update={"version": f"{when:%Y%m%dT%H%M%SZ}-{token}"})
        return Bundle(manifest, self._bundle.tensors)

    def _file(self, name: str, rows: Sequence[np.ndarray]) -> Path:
        """A table whose last row is the tick before START_MS."""
        file = self._stage.config.with_name(name)
        first_ms = START_MS - len(rows) * STEP_MS
        with file.open("w", newline="") as opened:
            lines = csv.writer(opened)
            lines.writerow(["time", *(f"s{series}" for series in range(SERIES))])
            lines.writerows([first_ms + at * STEP_MS, *row.round(3).tolist()] for at, row in enumerate(rows))
        return file
