"""From a shift of the data to a model that knows it: storm, request, training, gate, swap; nobody types anything."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.models.registry import ModelRegistry
from stream_app.settings import Settings
from stream_app.tables import TableFile
from stream_app.training import train_job
from tests.app.forks import TIDECAST
from tests.app.running_worker import World, wait_until

DAY_MS, FIRST_MS = 86_400_000, 1_704_067_200_000
SERIES, BEFORE, AFTER = 6, 60, 400  # days of the log before the shift, and after
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return 1


def days(rng: np.random.Generator, count: int, tomorrow: float) -> np.ndarray:
    """[days, series]: `tomorrow` of a day's distance from its mean is left on the next."""
    found = np.zeros((count, SERIES))
    for day in range(1, count):
        found[day] = tomorrow * found[day - 1] + rng.normal(0, 1, SERIES)
    return found


def configured(world: World) -> Path:
    config = world.deployment("a", instance="one")
    text = config.read_text()
    for old, new in (
        ('freq = "10min"', 'freq = "1d"'),
        ('seasonality = ["2h"]', 'seasonality = ["7d"]'),
        ('poll_interval = "200ms"', 'poll_interval = "200ms"\nretrain_interval = "1s"'),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    return config


def first_model(settings: Settings, folder: Path, cells: np.ndarray) -> str:
    """Learned from a file of how it was. Its version."""
    file = folder / "before.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["time", *(f"s{number}" for number in range(SERIES))])
        first = FIRST_MS - len(cells) * DAY_MS
        rows.writerows([first + day * DAY_MS, *values] for day, values in enumerate(cells.round(3).tolist()))
    version = train_job.run(settings, "tides", file=TableFile(file)).version
    ModelRegistry(settings.models.registry).promote("tides", version)
    return version


def messages(cells: np.ndarray, first: int = 0) -> list[tuple[str, str]]:
    return [
        (f"s{s}", json.dumps({"series_id": f"s{s}", "timestamp": FIRST_MS + (first + day) * DAY_MS, "value": value}))
        for day, values in enumerate(cells.round(3).tolist())
        for s, value in enumerate(values)
    ]


def control(world: World) -> list[dict[str, Any]]:
    return [json.loads(message.value()) for message in world.published("a", "control")]


def test_a_shift_of_many_series_leads_to_one_training_and_a_swap(world: World, rng: np.random.Generator) -> None:
    config = configured(world)
    settings = Settings.load(config, {})
    first = first_model(settings, world.folder, 50 + days(rng, 300, -0.8))
    worker = world.start(config)
    climb = 50 + np.minimum(3.0 * np.arange(AFTER), 45)[:, None]
    world.send(messages(np.concatenate([50 + days(rng, BEFORE, -0.8), climb + days(rng, AFTER, 0.95)])))
    world.wait_for_forecasts("a", (BEFORE + AFTER) * SERIES)
    # One request a storm: levels that wander may bring another one in the year after the shift.
    asked = [body for body in control(world) if body["kind"] == "retrain"]
    assert asked
    shift = datetime.fromtimestamp((FIRST_MS + BEFORE * DAY_MS) / 1000, UTC)
    assert all(datetime.fromisoformat(each["at"]) > shift for each in asked)
    trainer = world.start(config, (TIDECAST, "train", "--follow"))
    ended = trainer.wait_for("training ended", 120)
    assert ended["promoted"], ended
    worker.wait_for("model swapped", 60)
    wait_until(lambda: any(line.get("version") == ended["version"] for line in worker.lines()), 60, "the swap")
    world.send(messages(95 + days(rng, 30, 0.95), first=BEFORE + AFTER))
    found = world.wait_for_forecasts("a", (BEFORE + AFTER + 30) * SERIES)
    versions = Counter(each["model_version"] for each in found.values() if each["status"] == "ok")
    assert versions[first] > 0
    assert versions[ended["version"]] > 0
    assert [line["reason"] for line in trainer.lines() if line["event"] == "training begins"] == ["asked for"]
    assert trainer.stop() == worker.stop() == 0
    assert {each["detector"] for each in asked} == {"storm"}
