"""Stream = offline: what a worker publishes is what anybody computes from the same log, without Kafka and Redis.

Two workers read the demo's sensors, partly late; a trained model takes charge while they run. Offline, the same
readings go through PartitionState and Predictor, cut at one place only: where the journal says that the model took
charge. And what is published is what an exported model answers, intervals included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from confluent_kafka import Consumer, Producer, TopicPartition
from safetensors import safe_open
from safetensors.numpy import load_file

from model_core.backtest import steps
from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.export_inputs import window_inputs
from model_core.ladder import REASON_NAMES, RUNG_NAMES, Reason, Rung
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.train import train
from stream_app.cli import main
from stream_app.errors import TidecastError
from stream_app.models.export import runner
from stream_app.models.learned import read_learned
from stream_app.models.registry import ModelRegistry
from stream_app.settings import Settings
from stream_app.tables import read_table
from stream_app.wire.timestamps import rfc3339
from tests.app.running_worker import OUTPUTS, SURROUNDINGS, WorkerProcess, World, wait_until
from tests.conftest import REPOSITORY

DATA = REPOSITORY / "stream_app" / "data" / "uci374_appliances_26ch_10min.csv.gz"
STEPS, LEARNED_STEPS = 1_000, 450
PARTITIONS = 2
LATE_SHARE, LATE_BY = 0.01, 40  # so many readings come that many places later: one or two steps
RELATIVE = 1e-5
CONFIGURATION = (
    """
application_id = "{prefix}"
instance_id = "one"
strict = {strict}
device = "{device}"
"""
    + SURROUNDINGS
    + """[streams.sensors]
topic = "{topic}"
freq = "10min"
context_length = 144
horizon = 24
seasonality = ["1d"]
readings_per_step = 1
max_out_of_orderness = "0s"
allowed_lateness = "30min"
[streams.sensors.outputs]
prefix = "{prefix}"
"""
)
# (series, origin, revision) → quantiles float32 [Q, H], and what else the message says
Key = tuple[str, str, int]
Forecast = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class Log:
    """What lies in each partition, its offsets counted from 0."""

    partitions: tuple[Readings, ...]

    def send(self, world: World, first: float, end: float) -> None:
        """A share of each partition; returns once the broker has it."""
        producer = Producer({"bootstrap.servers": world.bootstrap, "linger.ms": 1, "enable.idempotence": True})
        for partition, readings in enumerate(self.partitions):
            for i in range(*(int(len(readings) * share) for share in (first, end))):
                body = {
                    "series_id": readings.series_ids[i],
                    "timestamp": int(readings.timestamps_ms[i]),
                    "value": float(readings.values[i]),
                }
                producer.produce(world.topic, json.dumps(body), readings.series_ids[i], partition)
                producer.poll(0)
        assert producer.flush(30) == 0


def demo_log(rng: np.random.Generator) -> Log:
    table = read_table(DATA)
    part = table.between(end_ms=int(table.timestamps_ms[0]) + STEPS * 600_000)
    order = np.argsort(np.arange(len(part)) + LATE_BY * (rng.random(len(part)) < LATE_SHARE), kind="stable")
    kept = [order[part.series[order] % PARTITIONS == partition] for partition in range(PARTITIONS)]
    return Log(
        tuple(
            Readings(
                [part.series_ids[code] for code in part.series[rows].tolist()],
                part.timestamps_ms[rows],
                part.values[rows],
                np.arange(len(rows)),
            )
            for rows in kept
        )
    )


def trained_on_the_first_part(spec: StreamSpec, log: Log) -> Bundle:
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    for partition, readings in enumerate(log.partitions):
        feed.take(partition, readings.part(0, len(readings) * LEARNED_STEPS // STEPS))
    feed.finish()
    made = train(history, spec, version="learned", created_at="2026-01-01T00:00:00Z", champion=None, device="cpu")
    return made.bundle


@dataclass(frozen=True)
class Offline:
    """What was computed, and the window of each series' newest forecast where the model made it."""

    forecasts: dict[Key, Forecast]
    newest: dict[str, tuple[Key, WindowBatch]]


def offline(
    spec: StreamSpec, log: Log, bundle: Bundle, swaps: dict[int, int], *, strict: bool, device: str = "auto"
) -> Offline:
    """`swaps`: partition → first offset that the trained model is in charge of."""
    before, after = (Predictor(spec, each, device=device, strict=strict) for each in (None, bundle))
    made = Offline({}, {})
    for partition, readings in enumerate(log.partitions):
        state, swap = PartitionState(spec, partition), swaps[partition]
        made.forecasts.update(issued(state, readings.part(0, swap), before, made.newest))
        state.swap_model(bundle.facts())
        made.forecasts.update(issued(state, readings.part(swap, len(readings)), after, made.newest))
    return made


def issued(
    state: PartitionState, readings: Readings, predictor: Predictor, newest: dict[str, tuple[Key, WindowBatch]]
) -> Iterator[tuple[Key, Forecast]]:
    """By the steps of `tidecast backtest`."""
    for observed, outcome in steps(state, readings, predictor):
        made = outcome.forecasts
        for i, series_id in enumerate(made.series_ids):
            rung, reason = Rung(made.rungs[i]), Reason(made.reasons[i])
            by_model = rung is Rung.MODEL
            said = {
                "model": predictor.name if by_model else RUNG_NAMES[rung],
                "model_version": predictor.version if by_model else None,
                "reason": None if reason is Reason.OK else REASON_NAMES[reason],
                "input": {"partition": state.partition, "offset": int(made.offsets[i])},
            }
            origin = rfc3339(state.spec.grid.start_ms(int(made.origins[i])))
            key = series_id, origin, int(made.revisions[i])
            newest.pop(series_id, None)
            if by_model and observed.windows is not None:
                newest[series_id] = key, observed.windows.rows(slice(i, i + 1))
            yield key, (made.quantiles[i], said)


class Deployment:
    """One worker with outputs of its own."""

    def __init__(self, world: World, name: str, *, strict: bool, device: str = "auto") -> None:
        self.world, self.name, self.strict = world, name, strict
        self.prefix = f"{world.topic}.{name}"
        world.create(*(f"{self.prefix}.{kind}" for kind in OUTPUTS))
        self.config = world.folder / f"{name}.toml"
        self.config.write_text(
            CONFIGURATION.format(
                prefix=self.prefix,
                strict=str(strict).lower(),
                device=device,
                bootstrap=world.bootstrap,
                redis_url=world.redis_url,
                registry=world.folder / "models",
                topic=world.topic,
            )
        )
        self.begin()

    def begin(self) -> None:
        """Begun by the system: a process that was forked from another one cannot use a GPU."""
        self.worker: WorkerProcess = self.world.start(self.config, forked=not torch.cuda.is_available())

    @property
    def spec(self) -> StreamSpec:
        return Settings.load(self.config, {}).streams["sensors"]

    def has_swapped(self) -> bool:
        return sum(line["event"] == "model swapped" for line in self.worker.lines()) == PARTITIONS

    def wait_until_committed(self, readings: int) -> None:
        self.worker.wait_for("assigned")  # a broker that has just started knows no coordinator of the group before
        consumer = Consumer({"bootstrap.servers": self.world.bootstrap, "group.id": self.prefix})
        places = [TopicPartition(self.world.topic, partition) for partition in range(PARTITIONS)]
        wait_until(
            lambda: sum(max(0, place.offset) for place in consumer.committed(places, timeout=10)) >= readings,
            120,
            f"{readings} readings committed",
        )
        consumer.close()

    def swaps(self) -> dict[int, int]:
        records = [json.loads(message.value()) for message in self.world.published(self.name, "journal")]
        assert [record["decision"]["kind"] for record in records] == ["model"] * PARTITIONS
        return {record["partition"]: record["next_offset"] for record in records}

    def forecasts(self) -> dict[Key, Forecast]:
        return {
            key: (np.array(said["quantiles"], np.float32), said)
            for key, said in self.world.forecasts(self.name).items()
        }


@pytest.fixture
def partitions() -> int:
    return PARTITIONS


@pytest.mark.timeout(300)
def test_what_is_published_is_what_is_computed_offline(world: World, rng: np.random.Generator) -> None:
    log = demo_log(rng)
    deployments = [Deployment(world, "strict", strict=True), Deployment(world, "usual", strict=False)]
    spec = deployments[0].spec
    bundle = trained_on_the_first_part(spec, log)
    log.send(world, play(world, log, deployments, bundle), 1)
    for deployment in deployments:
        deployment.wait_until_committed(sum(len(readings) for readings in log.partitions))
        published, swaps = deployment.forecasts(), deployment.swaps()
        assert all(0 < swaps[partition] < len(readings) for partition, readings in enumerate(log.partitions))
        made = offline(spec, log, bundle, swaps, strict=deployment.strict)
        computed = made.forecasts
        assert published.keys() == computed.keys()
        assert max(revision for _, _, revision in computed) > 0, "no reading came late: nothing was tried"
        assert {said["model"] for _, said in computed.values()} >= {"ridge", "last_value", "seasonal_naive"}
        compare(published, computed, strict=deployment.strict)
    compare_exported(spec, bundle, made, published, saved_with(world, deployments[-1], bundle, log))


def saved_with(world: World, deployment: Deployment, bundle: Bundle, log: Log) -> Path:
    """A file of `models export --with-state`, as of the end of the log; the worker runs on."""
    settings = Settings.load(deployment.config, {})
    ends = {partition: len(readings) for partition, readings in enumerate(log.partitions)}

    def is_saved() -> bool:
        try:
            return read_learned(settings, "sensors", bundle).next_offsets == ends
        except TidecastError:  # a checkpoint from before the swap
            return False

    wait_until(is_saved, 30, "the last checkpoint")
    file = world.folder / "exported.onnx"
    words = ["models", "export", "learned", "--with-state", "--out", str(file), "--config", str(deployment.config)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    return file


def compare_exported(
    spec: StreamSpec, bundle: Bundle, made: Offline, published: dict[Key, Forecast], file: Path
) -> None:
    """The newest forecasts, as any runtime of ONNX computes them from a window and what the worker has learned."""
    with safe_open(f"{file}.state.safetensors", "np") as learned:
        row_of = {name: row for row, name in enumerate(json.loads(learned.metadata()["series"]))}
    inputs = load_file(f"{file}.state.safetensors")
    assert len(made.newest) >= 10, "hardly any series has its forecast from the model"
    rows = [row_of[name] for name in made.newest]
    keys, windows = zip(*made.newest.values(), strict=True)
    batch = WindowBatch.concatenate(list(windows))
    assert inputs["offsets"][rows].any(axis=(1, 2)).all(), "nothing was learned that could be lost"
    given = window_inputs(spec, bundle, batch) | {name: array[rows] for name, array in inputs.items()}
    found = runner(file, "onnx", ["quantiles"])(given)["quantiles"]
    spread = np.nanstd(batch.windows[:, :, 0].astype(np.float64), axis=1)
    for key, quantiles, room in zip(keys, found, RELATIVE * spread, strict=True):
        np.testing.assert_allclose(quantiles, published[key][0], rtol=RELATIVE, atol=room, err_msg=str(key))


def play(world: World, log: Log, deployments: list[Deployment], bundle: Bundle) -> float:
    """The log as it comes; the model takes charge in the middle of it. The share of it that was sent by then."""
    end = sum(len(readings) for readings in log.partitions)
    log.send(world, 0, 0.5)
    for deployment in deployments:
        deployment.wait_until_committed(end // 3)
    registry = ModelRegistry(str(world.folder / "models"))
    registry.publish("sensors", bundle, {})
    registry.promote("sensors", bundle.manifest.version)
    sent = 0.5
    while not all(deployment.has_swapped() for deployment in deployments):
        log.send(world, sent, sent + 0.005)
        sent += 0.005
        assert sent < 0.95, "the model took charge too late"
        time.sleep(0.3)
    return sent


def compare(published: dict[Key, Forecast], computed: dict[Key, Forecast], *, strict: bool) -> None:
    for key, (quantiles, said) in computed.items():
        found, message = published[key]
        assert {name: message[name] for name in said} == said, key
        if strict:
            assert found.tobytes() == quantiles.tobytes(), key
        else:
            np.testing.assert_allclose(found, quantiles, rtol=RELATIVE, err_msg=str(key))
