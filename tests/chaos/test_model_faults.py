"""A forecaster that is slow, that raises, and model files that are not what they should be: forecasts go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.settings import Settings
from tests.app.running_worker import START_MS, World, readings, wait_until
from tests.app.saved_states import saved_state
from tests.chaos.faulty_worker import SLEPT, start
from tests.chaos.killing_worker import command

SERIES = 3
# So many windows are more than are gathered at once; the forecast batches of those that are gathered first.
MANY_SERIES, HELD_BATCHES = 10_000, 2
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return 1


def values(rng: np.random.Generator, ticks: int) -> list[list[float]]:
    return np.round(10 + rng.normal(0, 1, (ticks, SERIES)), 3).tolist()


def registry(world: World) -> ModelRegistry:
    return ModelRegistry(str(world.folder / "models"))


def promote(world: World, config: Path, version: str, spoil: Callable[[Path], None] = lambda _: None) -> None:
    """Publish a model, let `spoil` loose on its folder, and make it the champion.

    The registry would refuse to promote what is spoiled already, so the alias comes from a copy that is whole.
    """
    spec = Settings.load(config, {}).streams["tides"]
    models, whole = world.folder / "models", world.folder / f"whole-{version}"
    registry(world).publish("tides", untrained(spec, version, 0.1), {})
    shutil.copytree(models, whole)
    ModelRegistry(str(whole)).promote("tides", version)
    spoil(models / "tides" / "versions" / version)
    (whole / "tides" / "aliases" / "champion.json").rename(models / "tides" / "aliases" / "champion.json")


def once(world: World) -> list[dict[str, Any]]:
    """All forecasts; none may be there twice."""
    found = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert len({(each["series_id"], each["origin"], each["revision"]) for each in found}) == len(found)
    return found


def test_a_forecaster_slower_than_the_poll_interval_is_not_evicted(world: World, rng: np.random.Generator) -> None:
    config = world.deployment("a")
    slow = '"session.timeout.ms" = 6000\n"max.poll.interval.ms" = 6000'
    config.write_text(config.read_text().replace('"session.timeout.ms" = 6000', slow))
    # longer than the poll interval, then longer than the transaction timeout too
    worker = start(world, config, slow_forecasts=[0.0, 8.0, 13.0])
    data = values(rng, 30)
    for first in (0, 10, 20):
        world.send(readings(data[first : first + 10], first=first))
        world.wait_for_forecasts("a", (first + 10) * SERIES, timeout_s=90)
    events = [line["event"] for line in worker.lines()]
    assert events.count("assigned") == 1
    assert not {"lost", "rewound", "released too late: uncommitted work is discarded, its owner does it again"} & {
        *events
    }
    assert len(once(world)) == 30 * SERIES
    assert worker.log_path.read_text().count(SLEPT) == 2, "nothing was slow: nothing was tried"
    assert worker.stop() == 0


def test_a_transaction_that_waits_long_for_a_forecast_is_put_off_before_the_brokers_abort_it(
    world: World, rng: np.random.Generator
) -> None:
    limits = 'transaction_interval = "4s"\ntransaction_timeout = "2s"'
    config = world.deployment("a", limits=limits, checkpoint_interval="60s")  # a checkpoint comes with a cut
    held = world.folder / "held"
    worker = start(world, config, held_forecasts={"path": str(held)})
    data = values(rng, 12)
    world.send(readings(data[:10]))
    world.wait_for_forecasts("a", 10 * SERIES, timeout_s=90)
    world.send(readings(data[10:11], first=10))
    topic = f"{world.topic}.a.forecasts"
    wait_until(lambda: ends(world, topic, "read_uncommitted") > ends(world, topic, "read_committed"), 60, "outputs")
    held.touch()
    world.send(readings(data[11:], first=11))
    worker.wait_for("transaction put off: its cut is late", 60)
    wait_until(
        lambda: ends(world, topic, "read_uncommitted") == ends(world, topic, "read_committed"), 60, "an end of it"
    )
    held.unlink()
    world.wait_for_forecasts("a", 12 * SERIES, timeout_s=90)
    assert len(once(world)) == 12 * SERIES
    assert not {"producer thrown away", "rewound", "lost"} & {line["event"] for line in worker.lines()}
    assert worker.stop() == 0


@pytest.mark.parametrize("is_killed", [False, True], ids=["goes on", "killed"])
def test_more_outputs_than_an_outbox_takes_leave_ahead_of_their_cut_and_count_only_with_it(
    world: World, is_killed: bool
) -> None:
    """One message may lead to any number of outputs: they are not kept until it is done."""
    limits = 'outbox_bytes_max = 1048576\ntransaction_timeout = "60s"'
    config = world.deployment("a", limits=limits, instance="one")
    held = world.folder / "held"
    held.touch()
    worker = start(world, config, held_forecasts={"path": str(held), "first": HELD_BATCHES})
    pack = {"entity": "m", "timestamp": START_MS, "values": {f"v{each}": each % 7 for each in range(MANY_SERIES)}}
    world.send([("m", json.dumps(pack))])
    topic = f"{world.topic}.a.forecasts"
    wait_until(lambda: ends(world, topic, "read_uncommitted"), 60, "outputs of the windows that were answered")
    assert ends(world, topic, "read_committed") == 0
    if is_killed:
        worker.kill()
        worker = world.start(config)
    else:
        held.unlink()
    world.wait_for_forecasts("a", MANY_SERIES, timeout_s=90)
    assert len(once(world)) == MANY_SERIES
    assert worker.stop() == 0


def ends(world: World, topic: str, isolation: str) -> int:
    """Of its one partition, as such a reader sees it."""
    consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": "ends", "isolation.level": isolation})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)[1])
    finally:
        consumer.close()


@pytest.mark.parametrize("error", ["TypeError", pytest.param("RuntimeError", marks=pytest.mark.soak)])
def test_while_the_model_raises_the_ladder_answers_and_a_replay_says_the_same(
    world: World, rng: np.random.Generator, error: str
) -> None:
    data = values(rng, 60)
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    promote(world, config, "first")
    worker = start(world, config, failing_model={"first": 3, "last": 6, "error": error})
    worker.wait_for("model swapped")
    for first in range(0, 50, 5):  # small polls, so that the failure begins and ends among them
        world.send(readings(data[first : first + 5], first=first))
        world.wait_for_forecasts("a", (first + 5) * SERIES)
    failed = {each["origin"] for each in once(world) if each["reason"] == "model_failed"}
    assert 0 < len(failed) < 50
    assert {each["status"] for each in once(world) if each["origin"] in failed} == {"fallback"}
    assert max(each["origin"] for each in once(world) if each["model"] == "ridge") > max(failed), "it serves again"
    worker.kill()
    again = world.start(config)  # without the fault: what it replays must fail all the same
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 0
    world.send(readings(data[50:], first=50))
    world.wait_for_forecasts("a", 60 * SERIES)
    assert len(once(world)) == 60 * SERIES
    assert again.stop() == 0
    replayed = saved_state(world, config, 0)
    assert replayed.next_offset == 60 * SERIES
    assert replayed.model_version == "first"


def flip_a_byte(folder: Path) -> None:
    tensors = folder / "model.safetensors"
    data = bytearray(tensors.read_bytes())
    data[len(data) // 2] ^= 0xFF
    tensors.write_bytes(bytes(data))


def truncate_all(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def halve(folder: Path) -> None:
    tensors = folder / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[: tensors.stat().st_size // 2])


SPOILED = {"flipped": flip_a_byte, "empty": truncate_all, "halved": halve}


def test_no_spoiled_model_file_takes_the_place_of_the_one_that_serves(world: World, rng: np.random.Generator) -> None:
    config = world.deployment("a")
    worker = world.start(config)
    promote(world, config, "good")
    worker.wait_for("model swapped")
    for number, (version, spoil) in enumerate(SPOILED.items(), 1):
        promote(world, config, version, spoil)
        refused(worker, number)
    other = world.deployment("other", instance="shape")
    other.write_text(other.read_text().replace("context_length = 24", "context_length = 12"))
    promote(world, other, "shorter")
    refused(worker, len(SPOILED) + 1)
    world.send(readings(values(rng, 30)))
    found = world.wait_for_forecasts("a", 30 * SERIES)
    assert {each["model_version"] for each in found.values() if each["status"] == "ok"} == {"good"}
    assert worker.readyz() == (200, {})
    assert worker.stop() == 0


def refused(worker: Any, count: int) -> None:
    def names() -> bool:
        lines = [line for line in worker.lines() if line["event"].startswith("model refused")]
        return len({line.get("version") or line["error"] for line in lines}) >= count

    wait_until(names, 60, f"{count} refusals in\n{worker.log_path.read_text()[-3000:]}")


def test_a_swap_under_way_when_the_worker_dies_is_found_again(world: World, rng: np.random.Generator) -> None:
    data = values(rng, 60)
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    worker = world.start(config)
    world.send(readings(data[:40]))
    world.wait_for_forecasts("a", 40 * SERIES)
    promote(world, config, "second")
    worker.wait_for("model swapped")
    worker.kill()  # perhaps before the decision was committed: then it is made anew
    again = world.start(config)
    world.send(readings(data[40:], first=40))
    world.wait_for_forecasts("a", 60 * SERIES)
    assert len(once(world)) == 60 * SERIES
    assert again.stop() == 0
    assert saved_state(world, config, 0).model_version == "second"


def test_a_checkpoint_in_a_replay_claims_no_decision_that_is_still_to_come(
    world: World, rng: np.random.Generator
) -> None:
    """Killed between the two, whoever comes next must follow it: not go on without the model, and decide anew."""
    data = values(rng, 260)
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    first = world.start(config)
    world.send(readings(data[:200]))
    world.wait_for_forecasts("a", 200 * SERIES)
    promote(world, config, "first")
    first.wait_for("model swapped")
    world.send(readings(data[200:230], first=200))
    world.wait_for_forecasts("a", 230 * SERIES)
    first.kill()
    config = world.deployment("a", instance="one", checkpoint_interval="10ms")
    doomed = world.start(config, command(at="flipped"))
    assert doomed.process.wait(60) == -9, doomed.log_path.read_text()
    assert saved_state(world, config, 0).next_offset < 200 * SERIES, (
        "no checkpoint before the decision: nothing was tried"
    )
    last = world.start(config)
    world.send(readings(data[230:], first=230))
    world.wait_for_forecasts("a", 260 * SERIES)
    assert len(once(world)) == 260 * SERIES
    decided = [json.loads(message.value())["decision"]["kind"] for message in world.published("a", "journal")]
    assert decided == ["model"]
    assert last.stop() == 0
    assert saved_state(world, config, 0).model_version == "first"
