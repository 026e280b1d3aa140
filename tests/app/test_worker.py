"""The main job on a real broker and a real store: readings in, forecasts out, through stops, kills and bad input."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest

from tests.app.running_worker import START_MS, STEP_MS, World, readings, wait_until
from tests.app.saved_states import same_state, saved_state

SERIES = 6

# Each starts several processes, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return 2


def waves(rng: np.random.Generator, ticks: int, series: int = SERIES) -> np.ndarray:
    """values[tick][series]"""
    phase = np.arange(series)[None, :] + np.arange(ticks)[:, None] / 3
    return np.round(10 + np.sin(phase) + rng.normal(0, 0.1, phase.shape), 3)


def test_a_first_reading_leads_to_a_first_forecast(world: World) -> None:
    world.start(world.deployment("a"), forked=False)
    world.send(readings([[21.5]]))
    ((series_id, origin, revision),) = world.wait_for_forecasts("a", 1, timeout_s=120)
    assert (series_id, revision) == ("s0", 0)
    assert origin == "2026-02-02T02:40:00Z"


def test_the_worker_is_ready_once_it_has_partitions(world: World) -> None:
    worker = world.start(world.deployment("a"))
    worker.wait_for("assigned")
    wait_until(lambda: worker.readyz() == (200, {}), 10, "ready")
    world.send(readings([[1.0]]))
    wait_until(lambda: "tidecast_forecasts_total{" in worker.metrics(), 10, "metrics of a forecast")


def test_a_stop_commits_checkpoints_and_exits_with_0(world: World, rng: np.random.Generator) -> None:
    values = waves(rng, 30)
    worker = world.start(world.deployment("a", instance="one"))
    world.send(readings(values[:15]))
    world.wait_for_forecasts("a", 15 * SERIES)
    assert worker.stop() == 0
    world.send(readings(values[15:], first=15))
    again = world.start(world.deployment("a", instance="one"))
    assert set(again.wait_for("assigned")["to_replay"].values()) == {0}
    world.wait_for_forecasts("a", 30 * SERIES)
    assert len(world.published("a", "forecasts")) == 30 * SERIES, "a clean stop publishes nothing twice"


def test_a_kill_in_the_middle_misses_no_forecast_and_no_state(world: World, rng: np.random.Generator) -> None:
    values = waves(rng, 300)
    killed = world.deployment("killed", instance="one", checkpoint_interval="3s")
    replayed = 0
    for part in range(3):
        worker = world.start(killed)
        replayed += sum(worker.wait_for("assigned")["to_replay"].values())
        world.send(readings(values[part * 100 : (part + 1) * 100], first=part * 100))
        world.wait_for_forecasts("killed", part * 100 * SERIES + 1)
        worker.kill()
    replayed += sum(world.start(killed).wait_for("assigned")["to_replay"].values())
    assert replayed > 0, "no kill came between a commit and its checkpoint: nothing was tried"
    found = world.wait_for_forecasts("killed", 300 * SERIES)
    undisturbed = world.start(world.deployment("undisturbed"))
    expected = world.wait_for_forecasts("undisturbed", 300 * SERIES)
    assert found.keys() == expected.keys()
    for key, forecast in expected.items():
        same = {name: value for name, value in forecast.items() if name != "issued_at"}
        assert {name: value for name, value in found[key].items() if name != "issued_at"} == same
    assert [worker.stop() for worker in (world.workers[-2], undisturbed)] == [0, 0]
    for partition in range(world.partitions):
        same_state(
            saved_state(world, killed, partition), saved_state(world, world.folder / "undisturbed-None.toml", partition)
        )


def test_bad_input_is_kept_and_stops_nothing(world: World) -> None:
    worker = world.start(world.deployment("a"))
    at = START_MS + STEP_MS
    good = json.dumps({"series_id": "s0", "timestamp": at, "value": 1.0})
    bad = [b"{", b"\xff\xfe", b"[]garbage", b'{"series_id":"s0"}', b'{"series_id":"s0","timestamp":1,"value":"x"}']
    world.send([("s0", good), *(("s0", each) for each in bad), (None, good)])
    world.send([("s0", json.dumps({"series_id": "s0", "timestamp": at + STEP_MS, "value": 1e999}))])
    world.send([("s0", json.dumps({"series_id": "s0", "timestamp": at + 10**15, "value": 1.0}))])
    world.send(readings([[2.0]], first=5))
    wait_until(lambda: len(world.forecasts("a")) >= 2, 40, "a forecast after the bad input")
    letters = wait_until(lambda: len(f := world.published("a", "dead-letters")) >= len(bad) + 3 and f, 10, "letters")
    reasons = sorted(dict(letter.headers())["tidecast.error.reason"].decode() for letter in letters)
    assert reasons == ["malformed"] * len(bad) + ["not_finite", "timestamp_out_of_range", "unkeyed"]
    assert worker.process.poll() is None


def test_an_unreachable_broker_is_waited_for_and_named(world: World) -> None:
    config = world.deployment("a", limits='start_deadline = "6s"\nkafka_timeout = "1s"')
    config.write_text(config.read_text().replace(world.bootstrap, "127.0.0.1:1"))
    worker = world.start(config)
    reasons = wait_until(
        lambda: (r := worker.readyz()[1]).get("start", "").startswith("Expected") and r, 40, "a reason"
    )
    assert "127.0.0.1:1" in reasons["start"]
    assert worker.process.wait(30) != 0
    assert "Expected a Kafka broker at 127.0.0.1:1" in worker.wait_for("worker ends")["error"]


def test_a_port_that_is_taken_is_named(world: World) -> None:
    config = world.deployment("a")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(config.read_text().replace("port = 0", f"port = {port}"))
        worker = world.start(config)
        assert worker.process.wait(60) == 1
    error = worker.wait_for("worker ends")["error"]
    assert f"127.0.0.1:{port} to be free" in error
    assert "http.port" in error
    assert "Traceback" not in worker.log_path.read_text()


def test_a_database_that_redis_does_not_have_is_not_waited_for(world: World) -> None:
    """Within the five minutes that it would wait for one that may come."""
    config = world.deployment("a")
    config.write_text(config.read_text().replace(world.redis_url, f"{world.redis_url.rpartition('/')[0]}/9999"))
    worker = world.start(config)
    assert worker.process.wait(60) == 1
    error = worker.wait_for("worker ends")["error"]
    assert "DB index is out of range" in error
    assert "end redis.url with a database that this server has" in error
    assert "Traceback" not in worker.log_path.read_text()


def test_a_missing_topic_is_waited_for(world: World) -> None:
    config = world.deployment("a")
    config.write_text(config.read_text().replace(f'topic = "{world.topic}"', f'topic = "{world.topic}.later"'))
    worker = world.start(config)
    assert f"{world.topic}.later" in worker.wait_for("waiting")["reason"]
    world.create(f"{world.topic}.later")
    worker.wait_for("assigned")
    assert worker.stop() == 0


def test_two_workers_share_the_partitions_and_miss_nothing(world: World, rng: np.random.Generator) -> None:
    values = waves(rng, 90)
    config = world.deployment("a")
    first = world.start(config)
    world.send(readings(values[:30]))
    world.wait_for_forecasts("a", 30 * SERIES)
    second = world.start(config)
    assert second.wait_for("assigned")["partitions"]
    world.send(readings(values[30:60], first=30))
    world.wait_for_forecasts("a", 60 * SERIES)
    assert first.stop() == 0
    world.send(readings(values[60:], first=60))
    world.wait_for_forecasts("a", 90 * SERIES)
    assert second.stop() == 0
    assert len(world.published("a", "forecasts")) == 90 * SERIES, "handed over without doubling"
