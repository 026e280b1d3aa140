"""The log itself loses readings: too short a retention, or a cut between checkpoint and commit."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from tests.app import forks
from tests.app.running_worker import START_MS, STEP_MS, wait_until
from tests.app.saved_states import saved_state
from tests.chaos.broken_world import (
    PATIENT_S,
    SERIES,
    BrokenWorld,
    ready,
)

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]


def delete_before(world: BrokenWorld, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for done in admin.delete_records([TopicPartition(world.topic, 0, offset)]).values():
        assert done.result(30).low_watermark == offset


def without_checkpoints_since(world: BrokenWorld, ticks: int) -> Path:
    """A deployment that was killed; its state ends where these ticks begin, its commits where they end."""
    config, worker = world.begin(20)
    assert worker.stop(PATIENT_S) == 0
    rarely = config.with_name("rarely.toml")
    rarely.write_text(config.read_text().replace('checkpoint_interval = "100ms"', 'checkpoint_interval = "1h"'))
    worker = world.start(rarely)
    world.send_ticks(ticks)
    world.answered()
    wait_until(lambda: world.committed() >= world.sent * SERIES, PATIENT_S, "all offsets committed")
    worker.kill()
    return config


def test_readings_deleted_between_checkpoint_and_commit_are_said_loudly_and_a_reset_starts_cold(
    world: BrokenWorld,
) -> None:
    config = without_checkpoints_since(world, 20)
    first = 30 * SERIES
    delete_before(world, first)
    refused = world.start(config)
    assert refused.process.wait(PATIENT_S) == 1
    error = refused.wait_for("worker ends")["error"]
    assert "deleted before they were read" in error
    assert "tidecast reset" in error
    wait_until(world.is_given_up, PATIENT_S, "an empty group")
    done = forks.run("reset", "--config", str(config), "--to", "earliest")
    assert f"offset {first}" in done.stdout, done.stderr
    worker = world.start(config)
    world.send_ticks(10)
    world.answered()
    ready(worker)
    assert worker.stop(PATIENT_S) == 0


def test_readings_deleted_before_the_checkpoint_are_not_missed(world: BrokenWorld) -> None:
    """They are in the state."""
    config = without_checkpoints_since(world, 20)
    delete_before(world, 20 * SERIES)
    worker = world.start(config)
    replayed = worker.wait_for("assigned", PATIENT_S)["to_replay"]
    assert sum(replayed.values()) > 0
    world.send_ticks(10)
    world.answered()
    assert worker.stop(PATIENT_S) == 0
    assert len(world.published("a", "forecasts")) == world.sent * SERIES


def test_readings_deleted_while_they_are_waited_for_end_the_worker_with_a_sentence(world: BrokenWorld) -> None:
    config, worker = world.begin(10)
    assert worker.stop(PATIENT_S) == 0
    world.send_ticks(20)
    delete_before(world, 20 * SERIES)  # ten ticks nobody has read
    refused = world.start(config)
    assert refused.process.wait(PATIENT_S) == 1
    assert "tidecast reset" in refused.wait_for("worker ends")["error"]


def test_a_lost_state_and_a_log_that_is_cut_rebuild_from_what_is_left_and_say_so(world: BrokenWorld) -> None:
    config, worker = world.begin(40)
    assert worker.stop(PATIENT_S) == 0
    world.redis().flushall()
    delete_before(world, 10 * SERIES)
    worker = world.start(config)
    said = worker.wait_for("rebuilt from what the log still has, calibration is learned anew", PATIENT_S)
    assert said["first_offset"] == 10 * SERIES
    world.send_ticks(10)
    world.answered()
    assert worker.stop(PATIENT_S) == 0
    assert len(world.published("a", "forecasts")) == world.sent * SERIES


def test_forecasts_of_a_rebuilt_state_see_the_same_windows_and_say_for_one_context_that_they_are_of_it(
    world: BrokenWorld,
) -> None:
    config = world.configure()
    spec = Settings.load(config, {}).streams["tides"]
    registry = ModelRegistry(str(world.folder / "models"))
    registry.publish("tides", untrained(spec, "first", 0.1), {})
    registry.promote("tides", "first")
    worker = world.start(config)
    worker.wait_for("model swapped", PATIENT_S)
    world.send_ticks(60)
    world.answered()
    assert worker.stop(PATIENT_S) == 0
    world.redis().flushall()
    delete_before(world, 20 * SERIES)
    worker = world.start(config)
    worker.wait_for("rebuilt from what the log still has, calibration is learned anew", PATIENT_S)
    for _ in range(3):  # until forecasts do not look back before the rebuild any more
        world.send_ticks(10)
        world.answered()
    assert worker.stop(PATIENT_S) == 0
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert len(found) == world.sent * SERIES
    by_origin = {(each["series_id"], tick_of(each["origin"])): each for each in found}
    for tick in range(40, 90):
        expected = "rebuilt" if 60 <= tick < 60 + spec.context_length else None
        for series in range(SERIES):
            forecast = by_origin[f"s{series}", tick]
            assert (forecast["status"], forecast["reason"]) == ("ok", expected), tick
            assert forecast["observed_share"] == 1
    state = saved_state(world, config, 0)
    rows = (START_MS // STEP_MS + np.arange(20, 90)) % spec.ring_capacity
    for series in range(SERIES):
        column = state.columns.index[f"s{series}"]
        kept = state.columns.arrays["ring"][0, rows, column]
        np.testing.assert_array_equal(kept, world.data[20:90, series].astype(np.float32))


def tick_of(origin: str) -> int:
    return (int(datetime.fromisoformat(origin).timestamp() * 1000) - START_MS) // STEP_MS


def with_setting(config: Path, section: str, line: str) -> Path:
    config.write_text(config.read_text().replace(f"{section}\n", f"{section}\n{line}\n", 1))
    return config


def test_a_lost_state_is_rebuilt_from_no_more_of_the_log_than_is_configured(world: BrokenWorld) -> None:
    config = with_setting(world.configure(), "[streams.tides]", 'rebuild_context = "20ms"')
    worker = world.start(config)
    world.send_ticks(30)
    world.answered()
    world.send_ticks(1)  # a transaction later, which takes longer
    world.answered()
    assert worker.stop(PATIENT_S) == 0
    world.redis().flushall()
    delete_before(world, 10 * SERIES)
    worker = world.start(config)
    said = worker.wait_for("rebuilt from what the log still has, calibration is learned anew", PATIENT_S)
    assert said["first_offset"] == 30 * SERIES, "it begins with the newest tick"
    world.send_ticks(10)
    world.answered()
    assert worker.stop(PATIENT_S) == 0
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert len(found) == world.sent * SERIES
    seen = {tick_of(each["origin"]): each["observed_share"] for each in found}
    for tick in range(31, 41):  # windows of 24 ticks, in which nothing before tick 30 is known
        assert seen[tick] == pytest.approx((tick - 29) / 24), tick


def test_a_deployment_that_is_to_begin_at_the_end_of_the_log_begins_there_and_goes_on_after_a_kill(
    world: BrokenWorld,
) -> None:
    config = with_setting(world.configure(), "[kafka]", 'auto_offset_reset = "latest"')
    world.send_ticks(20)
    worker = world.start(config)
    ready(worker)
    world.send_ticks(5)
    world.wait_for_forecasts("a", 5 * SERIES, PATIENT_S)
    worker.kill()
    world.send_ticks(5)
    worker = world.start(config)
    world.wait_for_forecasts("a", 10 * SERIES, PATIENT_S)
    assert worker.stop(PATIENT_S) == 0
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert sorted(tick_of(each["origin"]) for each in found) == sorted([*range(20, 30)] * SERIES)


def test_a_retention_shorter_than_the_window_is_said_by_the_check(world: BrokenWorld) -> None:
    config = world.configure(limits="")
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    entry = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, world.topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)
    found = forks.run("topics", "check", "--config", str(config), COLUMNS="300")
    assert found.returncode != 0
    assert "retention.ms" in " ".join(found.stdout.split())
