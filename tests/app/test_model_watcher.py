"""The watcher offers what can serve, and says of the rest once that it cannot; what became of training is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from model_core.gate.attempt import Attempt
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.models.watcher import TRAINING_LOOKS, ModelWatcher
from stream_app.observability.metrics import Metrics
from stream_app.settings import Settings

STREAM = "tides"


class Watched:
    """A watcher that looks when it is told to, over a registry in a folder."""

    def __init__(self, folder: Path) -> None:
        stream = {"topic": "in", "freq": "10min", "context_length": 24, "horizon": 6}
        self.settings = Settings(models={"registry": str(folder)}, streams={STREAM: stream}, device="cpu")
        self.folder = folder / STREAM
        self.registry = ModelRegistry(str(folder))
        self.metrics = Metrics()
        self.watcher = ModelWatcher(self.settings, ModelRegistry(str(folder)), self.metrics)

    def publish(self, version: str) -> Path:
        """Its folder."""
        self.registry.publish(STREAM, untrained(self.settings.streams[STREAM], version, 0.1), {})
        return self.folder / "versions" / version

    def put_in_charge(self, version: str) -> None:
        """Whatever is wrong with it: by hand."""
        aliases = self.folder / "aliases"
        aliases.mkdir(exist_ok=True)
        (aliases / "champion.json").write_text(json.dumps({"version": version}))

    def look(self, times: int = 1) -> list[Any]:
        """What was said of it."""
        with capture_logs() as lines:
            for _ in range(times):
                self.watcher.look()
        return [line for line in lines if line["log_level"] in ("warning", "error")]

    def offered(self) -> str | None:
        return self.watcher.offers[STREAM].facts.version if STREAM in self.watcher.offers else None

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"stream": STREAM})


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_champion_without_its_manifest_is_refused_once_and_the_one_before_serves_on(watched: Watched) -> None:
    watched.publish("old")
    watched.registry.promote(STREAM, "old")
    assert watched.look() == []
    (watched.publish("torn") / "manifest.json").unlink()
    watched.put_in_charge("torn")
    (said,) = watched.look(times=6)
    assert (said["version"], "manifest.json is missing" in said["error"]) == ("torn", True)
    assert watched.offered() == "old"
    assert watched.metric("tidecast_models_refused_total") == 1
    assert watched.metric("tidecast_champion_refused") == 1
    watched.publish("whole")
    watched.registry.promote(STREAM, "whole")
    assert watched.look() == []
    assert watched.offered() == "whole"
    assert watched.metric("tidecast_champion_refused") == 0


@pytest.mark.parametrize("gone", ["aliases/champion.json", "."])
def test_a_champion_that_is_gone_is_missed_once_until_it_is_back(watched: Watched, gone: str) -> None:
    """A volume that is not mounted looks like a registry in which nothing was published yet."""
    assert watched.look() == []
    assert watched.metric("tidecast_champion_refused") == 0
    watched.publish("old")
    watched.registry.promote(STREAM, "old")
    assert watched.look() == []
    away = watched.folder.with_name("away")
    (watched.folder / gone).rename(away)
    (said,) = watched.look(times=6)
    assert "as old was, found none" in said["error"]
    assert (watched.offered(), watched.metric("tidecast_champion_refused")) == ("old", 1)
    away.rename(watched.folder / gone)
    assert watched.look() == []
    assert watched.metric("tidecast_champion_refused") == 0


def test_a_champion_that_was_changed_is_refused_once(watched: Watched) -> None:
    watched.publish("old")
    watched.registry.promote(STREAM, "old")
    watched.look()
    tensors = watched.publish("changed") / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    watched.put_in_charge("changed")
    (said,) = watched.look(times=6)
    assert "sha256" in said["error"]
    assert watched.offered() == "old"


def test_an_alias_that_cannot_be_read_is_named_once_until_it_is_mended(watched: Watched) -> None:
    watched.publish("old")
    watched.registry.promote(STREAM, "old")
    watched.look()
    alias = watched.folder / "aliases" / "champion.json"
    whole = alias.read_text()
    alias.write_text("torn")
    (said,) = watched.look(times=5)
    assert "champion.json" in said["error"]
    assert watched.offered() == "old"
    alias.write_text(whole)
    assert watched.look() == []
    alias.write_text("torn")
    assert len(watched.look(times=5)) == 1, "it broke again"


def test_what_the_gate_said_is_counted(watched: Watched) -> None:
    watched.look()
    assert watched.metric("tidecast_training_attempts") == 0
    assert watched.metric("tidecast_training_last_success_timestamp_seconds") is None
    for hour, passed in enumerate((False, True, False, False)):
        watched.registry.record(STREAM, Attempt(f"20260101T0{hour}0000Z-abc", None, 0, 1, passed=passed))
    watched.look(times=TRAINING_LOOKS)
    began = 1_767_225_600
    assert watched.metric("tidecast_training_attempts") == 4
    assert watched.metric("tidecast_training_refused_in_a_row") == 2
    assert watched.metric("tidecast_training_last_attempt_timestamp_seconds") == began + 3 * 3600
    assert watched.metric("tidecast_training_last_success_timestamp_seconds") == began + 3600
