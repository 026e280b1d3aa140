"""One version beside the next: what an older worker left is continued or refused, and messages stay readable."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_app.api import heads
from stream_app.watch.model import WatchModel
from tests.app.published import accuracy, forecast
from tests.app.running_worker import WorkerProcess, World, readings, wait_until
from tests.chaos.faulty_worker import start
from tests.golden.make_checkpoint import FOLDER, SERIES, STREAM, load, packed, unpacked

GOLDEN = {path.stem: path for path in sorted(FOLDER.glob("checkpoint_layout_*.json"))}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return 1


# --- state ------------------------------------------------------------------------------------------------------------


class Left:
    """What the older worker left: its log in Kafka, its commit, its keys in Redis, on the cluster of this test."""

    def __init__(self, world: World, golden: Path, **changes: Any) -> None:
        self.golden: dict[str, Any] = json.loads(golden.read_text())
        self.world = world
        self.config = world.deployment("a", stream=STREAM)
        self.count: int = self.golden["committed"]
        world.send(self.golden["log"][: self.count])
        self._move_here(changes)

    def _move_here(self, changes: dict[str, Any]) -> None:
        """Cluster and topic have other ids than where it was written; `changes` of the header go on top."""
        from confluent_kafka.admin import AdminClient

        from stream_app.runtime.startup import NotThereYet, identities
        from stream_app.settings import Settings

        settings = Settings.load(self.config, {})
        admin = AdminClient({"bootstrap.servers": self.world.bootstrap})

        def identity() -> Any:
            with contextlib.suppress(NotThereYet):  # topics were made, and the broker has not heard of all of them yet
                return identities(settings, admin)["tides"]

        here = wait_until(identity, 60, "the topics")
        keys = self.golden["keys"]
        body = json.loads(unpacked(keys["header"]["body"]))
        body["identity"] = {name: getattr(here, name) for name in body["identity"]}
        # The fingerprint covers the topic's name.
        spec = settings.streams["tides"]
        assert body["fingerprint"] == spec.model_copy(update={"topic": "golden.in"}).fingerprint(), "see layouts.py"
        body["fingerprint"] = spec.fingerprint()
        for name, value in changes.items():
            assert name in body
            body[name] = body[name] | value if name == "meta" else value
        keys["header"]["body"] = packed(json.dumps(body).encode())
        with redis.Redis.from_url(self.world.redis_url) as client:
            load(client, f"{{{settings.application_id}:tides:0}}", keys)
        own = {"bootstrap.servers": self.world.bootstrap, "group.id": settings.application_id}
        consumer = Consumer({**own, "enable.auto.commit": False})
        consumer.commit(offsets=[TopicPartition(self.world.topic, 0, self.count)], asynchronous=False)
        consumer.close()


def assigned_or_ended(worker: WorkerProcess) -> str:
    return wait_until(
        lambda: next((e for line in worker.lines() if (e := line["event"]) in ("assigned", "worker ends")), None),
        60,
        "an assignment, or an end",
    )


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN.keys())
def test_the_state_of_an_older_version_is_continued(world: World, golden: Path) -> None:
    left = Left(world, golden)
    worker = world.start(left.config)
    assert assigned_or_ended(worker) == "assigned", worker.log_path.read_text()
    assert worker.wait_for("assigned")["series"] == SERIES
    world.send(left.golden["log"][left.count :])
    wanted = {(each["series_id"], each["origin"], each["revision"]): each for each in left.golden["forecasts"]}
    found = wait_until(lambda: (f := world.forecasts("a")).keys() >= wanted.keys() and f, 60, "the later forecasts")
    for key, each in wanted.items():
        assert {name: found[key][name] for name in each if name != "quantiles"} == {
            name: value for name, value in each.items() if name != "quantiles"
        }
        np.testing.assert_allclose(found[key]["quantiles"], each["quantiles"], rtol=1e-5, err_msg=str(key))
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, ("format 99", "another version of tidecast", "reset --to earliest")),
        ({"layout": "of another version"}, ("layout", "reset --to earliest")),
        ({"meta": {"layout": 99}}, ("layout 99", "reset --to earliest")),
        ({"fingerprint": "0" * 16}, ("fingerprint", "was changed", "reset --to earliest")),
    ],
    ids=["format", "arrays", "layout", "fingerprint"],
)
def test_what_this_version_does_not_know_is_refused_and_untouched(
    world: World, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    newest = list(GOLDEN.values())[-1]
    left = Left(world, newest, **change)
    with redis.Redis.from_url(world.redis_url) as client:
        header = next(key for key in client.scan_iter(match="*:header") if world.topic.encode() in key)
        before = client.hgetall(header)
        worker = world.start(left.config)
        sentence = worker.wait_for("worker ends", 60)["error"]
        assert worker.process.wait(40) == 1
        assert client.hgetall(header) == before
    for word in words:
        assert word in sentence
    assert world.published("a", "forecasts") == []


def test_beside_a_worker_that_refuses_the_state_its_peer_loses_nothing(world: World, rng: np.random.Generator) -> None:
    data = np.round(10 + rng.normal(0, 1, (45, SERIES)), 3).tolist()
    current, older = world.deployment("a", instance="new"), world.deployment("a", instance="old")
    worker = world.start(current)
    world.send(readings(data[:15]))
    world.wait_for_forecasts("a", 15 * SERIES)
    assert worker.stop() == 0
    refusing = start(world, older, checkpoint_format=0)  # it is given the partition, and does not know its state
    assert "format 1" in refusing.wait_for("worker ends", 60)["error"]
    worker = world.start(current)
    world.send(readings(data[15:30], first=15))
    world.wait_for_forecasts("a", 30 * SERIES, timeout_s=90)
    beside = start(world, older, checkpoint_format=0)  # joins a group that works: what it is given, it gives back
    beside.wait_for("subscribed")
    world.send(readings(data[30:], first=30))
    world.wait_for_forecasts("a", 45 * SERIES, timeout_s=90)
    assert refusing.process.wait(40) == 1
    assert worker.stop() == 0
    published = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    assert len({(each["series_id"], each["origin"]) for each in published}) == len(published) == 45 * SERIES


def test_a_decision_of_a_kind_that_a_newer_version_journaled_is_refused_and_not_taken_for_another(
    world: World, rng: np.random.Generator
) -> None:
    """What it did to the state nobody here can know: going on without it would be silently wrong."""
    data = np.round(10 + rng.normal(0, 1, (20, SERIES)), 3).tolist()
    config = world.deployment("a", instance="one", checkpoint_interval="1h")
    worker = world.start(config)
    world.send(readings(data[:15]))
    world.wait_for_forecasts("a", 15 * SERIES)
    worker.kill()
    decision = {"schema_version": 1, "stream": "tides", "partition": 0, "next_offset": 7 * SERIES}
    body = decision | {"decision": {"number": 1, "kind": "added_later", "of_it": [1]}}
    producer = Producer({"bootstrap.servers": world.bootstrap})
    producer.produce(f"{world.topic}.a.journal", json.dumps(body).encode(), partition=0)
    assert producer.flush(30) == 0
    refusing = world.start(config)
    error = refusing.wait_for("worker ends", 60)["error"]
    assert refusing.process.wait(40) == 1
    for word in ("tides[0]", "added_later", "another version of tidecast", "application_id"):
        assert word in error
    assert len(world.published("a", "forecasts")) == 15 * SERIES


# --- messages ---------------------------------------------------------------------------------------------------------

NEWER = {"schema_version": 2, "added_later": {"a": [1]}, "and_this": None}


def test_who_reads_forecasts_and_accuracy_takes_fields_that_were_added_later() -> None:
    quantiles = [[1.0, 1.0]] * 9
    horizons = [{"horizon": 1, "actual": 1.0, "pinball": 0.1, "added_later": 1}]
    model = WatchModel()
    model.feed("forecasts", [forecast("s", 10, quantiles, **NEWER)])
    model.feed("accuracy", [accuracy("s", 10, horizons, **NEWER)])
    (line,) = model.lines()
    assert line.series_id == "s"
    as_it_is = WatchModel()
    as_it_is.feed("forecasts", [forecast("s", 10, quantiles)])
    as_it_is.feed("accuracy", [accuracy("s", 10, [{**horizons[0]}])])
    assert repr(as_it_is.lines()) == repr(model.lines())


def test_who_reads_drift_takes_records_of_before_scale_and_bias_were_added() -> None:
    """As workers of the first layout published them; those beside them say more."""
    at = {"since": "2026-03-01T10:00:00Z", "at": "2026-03-01T11:00:00Z", "input": {"partition": 0, "offset": 7}}
    whom = {"schema_version": 1, "stream": "tides", "series_id": "s", "group": None}
    older = whom | {"detector": "cusum", "statistic": 9.5, "threshold": 9.0, "state": "drift"} | at
    newer = json.dumps(older | {"scale": 1.5, "bias": 0.5}).encode()
    kept = heads.drift(json.dumps(older).encode())
    assert kept is not None
    beside = heads.drift(newer)
    assert beside is not None
    assert (kept.state, kept.detector, kept.statistic) == (beside.state, beside.detector, beside.statistic)
    model = WatchModel()
    model.feed("drift", [(b"s", json.dumps(older).encode())])
    (line,) = model.lines()
    assert (line.drift, model.unreadable) == ("drift", 0)


def test_readings_with_fields_that_were_added_later_are_readings() -> None:
    from stream_app.wire.json import decode
    from tests.app.polls import NOW_MS, message, reading, spec

    result = decode(
        spec(), [message(reading("a", 1.0, **NEWER), headers=[("x", b"1")])], now_ms=NOW_MS, partition_count=1
    )
    assert result.readings[0].series_ids == ["a"]
