"""A trainer that stays, restarted over a log that has forgotten: it fits what the whole history would have taught."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from model_core.training.folding import recent_origins
from stream_app.models.registry import ModelRegistry
from stream_app.settings import Settings
from stream_app.tables import TableFile
from stream_app.training import train_job
from tests.app.forks import TIDECAST
from tests.app.running_worker import START_MS, STEP_MS, World

SERIES, FIRST, ALL = 4, 1600, 1700  # ticks before the restart, and in the end
EVERY = (TIDECAST, "train", "--follow", "--every", "1s")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def partitions() -> int:
    return 1


def echoes(rng: np.random.Generator) -> np.ndarray:
    """[ticks, series]: each value comes back after five steps, which neither naive forecast knows."""
    cells = rng.normal(size=(ALL, SERIES))
    for tick in range(5, ALL):
        cells[tick] += 0.9 * cells[tick - 5]
    return 20 + cells.round(3)


def messages(cells: np.ndarray, first: int) -> list[tuple[str, str]]:
    return [
        (f"s{s}", json.dumps({"series_id": f"s{s}", "timestamp": START_MS + (first + tick) * STEP_MS, "value": value}))
        for tick, values in enumerate(cells.tolist())
        for s, value in enumerate(values)
    ]


def written(folder: Path, cells: np.ndarray) -> TableFile:
    file = folder / "all.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["time", *(f"s{number}" for number in range(SERIES))])
        rows.writerows([START_MS + tick * STEP_MS, *values] for tick, values in enumerate(cells.tolist()))
    return TableFile(file)


def test_a_restarted_trainer_fits_what_the_whole_history_teaches(world: World, rng: np.random.Generator) -> None:
    config = world.deployment("a", stream='training_recent = "51h"')
    config.write_text(
        config.read_text().replace('poll_interval = "200ms"', 'poll_interval = "200ms"\nretrain_interval = "1s"')
    )
    settings = Settings.load(config, {})
    spec, cells = settings.streams["tides"], echoes(rng)
    registry = ModelRegistry(settings.models.registry)
    world.send(messages(cells[:FIRST], 0))
    trainer = world.start(config, (TIDECAST, "train", "--follow"))
    ended = trainer.wait_for("training ended", 120)
    assert ended["promoted"], ended
    assert trainer.stop() == 0
    before = registry.load("tides", ended["version"]).manifest.training
    assert before.windows > SERIES * (recent_origins(spec) + 1024), "of all that came"

    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for done in admin.delete_records([TopicPartition(world.topic, 0, OFFSET_END)]).values():
        done.result(30)
    world.send(messages(cells[FIRST:], FIRST))
    trainer = world.start(config, EVERY)
    taken = trainer.wait_for("history taken over", 60)
    again = trainer.wait_for("training ended", 120)
    assert trainer.stop() == 0
    assert taken["readings"] == FIRST * SERIES
    bundle = registry.load("tides", again["version"])
    assert bundle.manifest.training.windows == before.windows + SERIES * (ALL - FIRST)
    assert bundle.manifest.training.first_tick == before.first_tick
    # The same against the same champion, from all readings at once.
    registry.promote("tides", ended["version"])
    whole = train_job.run(settings, "tides", file=written(world.folder, cells), promote=False)
    for name, expected in registry.load("tides", whole.version).tensors.items():
        scale = np.abs(expected).max(initial=0)
        np.testing.assert_allclose(bundle.tensors[name], expected, rtol=1e-6, atol=1e-6 * scale, err_msg=name)
