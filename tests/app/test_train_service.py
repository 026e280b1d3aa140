"""`tidecast train --follow`: why and when it trains, and what it makes of the scores of a candidate in the shadow."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from model_core.outcomes import DriftRecord
from model_core.shadow import ShadowScore
from stream_app.cli import main
from stream_app.errors import TidecastError
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from stream_app.training import train_job
from stream_app.training.train_service import Pace, TrainService
from stream_app.wire import messages as wire

STREAM, DAY_MS = "tides", 86_400_000


@pytest.mark.parametrize(
    ("now", "asked_at", "tried_at", "every_s", "reason"),
    [
        (1_000, None, None, None, "no attempt yet"),
        (1_000, None, 900, None, None),
        (1_000, 950, 900, None, "asked for"),
        (1_000, 950, 951, None, None),  # answered by the attempt that began after it
        (1_000, 990, 960, None, None),  # it waits until the interval has passed
        (1_060, 990, 960, None, "asked for"),
        (1_000, None, 800, 150, "its time has come"),
        (1_000, None, 900, 150, None),
    ],
)
def test_when_it_trains(now: float, asked_at: Any, tried_at: Any, every_s: Any, reason: str | None) -> None:
    assert Pace(60, every_s).reason(now, asked_at, tried_at) == reason


class Trainer:
    """A trainer of one stream, its control topic in a real broker, and a training that is only counted."""

    def __init__(self, folder: Path, bootstrap: str, topic: str, **models: Any) -> None:
        stream = {"topic": "in", "freq": "1d", "context_length": 24, "horizon": 7, "outputs": {"control": topic}}
        self.settings = Settings(
            kafka={"bootstrap_servers": bootstrap},
            models={"registry": str(folder), "retrain_interval": "60s"} | models,
            streams={STREAM: stream},
        )
        self.spec = self.settings.streams[STREAM]
        self.registry = ModelRegistry(str(folder))
        self.producer, self.topic = Producer({"bootstrap.servers": bootstrap}), topic
        self.now = 1_767_225_600.0
        self.service = TrainService(self.settings, STREAM, now=lambda: self.now)
        self.trained = 0

    def publish(self, version: str, *, passed: bool) -> None:
        self.registry.publish(STREAM, untrained(self.spec, version, 0.1), {"passed": passed})

    def say(self, *records: tuple[bytes, bytes], at: float | None = None) -> None:
        for key, value in records:
            self.producer.produce(self.topic, value, key, timestamp=round((at or self.now) * 1000))
        assert self.producer.flush(30) == 0

    def storm(self, at: float) -> None:
        record = DriftRecord(None, "partition-0", "storm", 0.5, 0.05, "drift", 20_000, 20_001, 7)
        self.say(wire.encode_retrain(self.spec, STREAM, 0, record), at=at)

    def scored(self, weeks: int, candidate: float, champion: float, partition: int = 0) -> None:
        """A bin is a week, as the horizon is; each is a little different."""
        scores = [
            ShadowScore(7 * week, 7 * week + 6, 10, candidate + week % 2 * 0.01, champion, 5) for week in range(weeks)
        ]
        self.say(
            *(wire.encode_shadow_score(self.spec, STREAM, partition, ("new", "old"), 5, score) for score in scores)
        )

    def step(self) -> None:
        control = self.service.open(threading.Event())
        assert control is not None
        with control:
            self.service.step(control)


@pytest.fixture
def make(tmp_path: Path, kafka_bootstrap: str, create_topic: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(**models: Any) -> Trainer:
        trainer = Trainer(tmp_path, kafka_bootstrap, create_topic("control", partitions=2), **models)

        def run(_settings: Settings, _stream: str, **_how: Any) -> Any:
            trainer.trained += 1
            raise TidecastError("counted")

        monkeypatch.setattr(train_job, "run", run)
        return trainer

    return made


def test_a_storm_of_many_partitions_leads_to_one_training(make: Any) -> None:
    trainer = make()
    trainer.step()
    trainer.step()
    assert trainer.trained == 1, "the stream had none, and one that fails is not tried again at once"
    trainer.now += 100
    for seconds in (0, 1, 2):
        trainer.storm(trainer.now - seconds)
    trainer.step()
    trainer.step()
    assert trainer.trained == 2
    trainer.now += 3_600
    trainer.step()
    assert trainer.trained == 2, "an answered request is answered"
    trainer.storm(trainer.now - 1)
    trainer.step()
    assert trainer.trained == 3


def test_a_candidate_takes_charge_when_the_shadow_has_proven_it_and_not_before(make: Any) -> None:
    trainer = make(promotion="shadow", shadow_series_max=10)
    trainer.publish("old", passed=True)
    trainer.registry.promote(STREAM, "old")
    trainer.publish("new", passed=True)
    trainer.step()
    assert trainer.registry.champion(STREAM) == "old"
    trainer.scored(2, 0.5, 1.0)
    trainer.step()
    assert trainer.registry.champion(STREAM) == "old", "two blocks tell nothing"
    trainer.scored(12, 0.5, 1.0)
    trainer.scored(12, 0.6, 1.0, partition=1)
    trainer.step()
    assert trainer.registry.champion(STREAM) == "new"
    trainer.registry.rollback(STREAM)
    trainer.step()
    assert trainer.registry.champion(STREAM) == "old", "what a person took back stays so"


def test_the_command_shows_the_evidence_and_promotes_what_is_proven(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make(shadow_series_max=10)
    trainer.publish("old", passed=True)
    trainer.registry.promote(STREAM, "old")
    trainer.publish("new", passed=True)
    trainer.scored(2, 0.5, 1.0)
    config = tmp_path / "tidecast.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{trainer.settings.kafka.bootstrap_servers}"\n'
        f'[models]\nregistry = "{tmp_path}"\nshadow_series_max = 10\n[streams.{STREAM}]\ntopic = "in"\nfreq = "1d"\n'
        f'context_length = 24\nhorizon = 7\n[streams.{STREAM}.outputs]\ncontrol = "{trainer.topic}"\n'
    )

    def said(*words: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as ended:
            main(["models", "shadow", "--config", str(config), *words])
        told = capsys.readouterr()
        return ended.value.code, told.out + told.err

    code, text = said("--promote")
    assert code == 2
    assert "not proven (2 of the 3 blocks" in text
    assert trainer.registry.champion(STREAM) == "old"
    trainer.scored(12, 0.5, 1.0)
    code, text = said("--promote")
    assert (code, trainer.registry.champion(STREAM)) == (0, "new")
    assert "proven (look 3, 12 blocks" in text
    code, text = said()
    assert (code, "new is in charge" in text, "nan" in text) == (0, True, False)


@pytest.mark.parametrize(("passed", "candidate"), [(False, 0.5), (True, 1.0)])
def test_neither_the_gate_nor_the_shadow_alone_is_enough(make: Any, *, passed: bool, candidate: float) -> None:
    trainer = make(promotion="shadow", shadow_series_max=10)
    trainer.publish("old", passed=True)
    trainer.registry.promote(STREAM, "old")
    trainer.publish("new", passed=passed)
    trainer.scored(12, candidate, 1.0)
    trainer.step()
    assert trainer.registry.champion(STREAM) == "old"


def test_a_promotion_by_the_shadow_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shadow_series_max"):
        Settings(models={"registry": str(tmp_path), "promotion": "shadow"})
