"""Duplicates, late, permuted and future readings, and a worker whose clock is two hours off: as the documents say.

What should come out is computed from the log by tests/core/oracle.py, reading by reading; whose clock it was is known
here. The worker is killed in the middle and goes on with the right clock: what it replays was decided before.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.app.running_worker import STEP_MS, World, wait_until
from tests.app.saved_states import saved_state
from tests.chaos.faulty_worker import start
from tests.core.oracle import Oracle, Reading

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SKEWS_H = (-2, 0, 2)
MAX_FUTURE_MS = HOUR_MS
SERIES = ("a", "b", "c")
SETTINGS: dict[str, Any] = {
    "freq": STEP_MS,
    "context_length": 24,
    "horizon": 6,
    "min_readings": 1,
    "quantile_levels": (0.1, 0.5, 0.9),
    "readings_per_step": 1,
    "max_out_of_orderness": 2 * STEP_MS,
    "allowed_lateness": 3 * STEP_MS,
    "seasonality": (2 * HOUR_MS,),
    "accuracy": "records",
    "deduplicate": "timestamp",
}
STREAM = 'allowed_lateness = "30min"\ndeduplicate = "timestamp"'
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return 1


def random_times(rng: np.random.Generator, now_ms: int, ticks: int) -> list[tuple[str, int]]:
    """(series, event time) in the order of the log: `ticks` steps up to now, disturbed in every way there is."""
    start_ms = now_ms // STEP_MS * STEP_MS - ticks * STEP_MS
    arrivals: list[tuple[float, str, int]] = []
    for tick in range(ticks):
        for name in SERIES:
            at = start_ms + tick * STEP_MS + int(rng.integers(0, STEP_MS // 1000)) * 1000
            arrivals.append((at + rng.uniform(0, SETTINGS["max_out_of_orderness"]), name, at))
            if rng.random() < 0.06:  # the same once more, up to some ticks later
                arrivals.append((at + rng.uniform(0, 4 * STEP_MS), name, at))
            if rng.random() < 0.06:  # late: some may still correct, some come after it was allowed
                arrivals.append((at + rng.uniform(2, 9) * STEP_MS, name, at + 1000))
            if tick > ticks - 10 and rng.random() < 0.4:  # from a clock that is fast
                ahead = rng.choice([30, 90, 150, 300, 60 * 50])
                arrivals.append((at, name, now_ms + int(ahead) * MINUTE_MS))
    limits = [now_ms + skew * HOUR_MS + MAX_FUTURE_MS for skew in SKEWS_H]
    arrivals.append((now_ms, SERIES[0], now_ms + 50 * HOUR_MS))  # for any of the clocks
    # the worker's clock goes on while the test runs: nothing so near to a limit that this could matter
    return [(n, at) for _, n, at in sorted(arrivals) if min(abs(at - limit) for limit in limits) > 10 * MINUTE_MS]


def committed(world: World, config: Path) -> int:
    group = config.read_text().split('application_id = "')[1].split('"')[0]
    consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": group})
    (found,) = consumer.committed([TopicPartition(world.topic, 0)], timeout=10)
    consumer.close()
    return max(0, int(found.offset))


def texts(log: Sequence[Reading]) -> list[tuple[str, str]]:
    return [
        (each.series_id, json.dumps({"series_id": each.series_id, "timestamp": each.timestamp_ms, "value": each.value}))
        for each in log
    ]


def moment(tick: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick * STEP_MS)
    return at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("skew_h", [-2, pytest.param(0, marks=pytest.mark.soak), 2])
def test_disturbed_times_lead_to_what_the_oracle_says_whatever_the_clock_and_after_a_kill(
    world: World, rng: np.random.Generator, skew_h: int
) -> None:
    now_ms = time.time_ns() // 1_000_000
    log = [
        Reading(offset, name, at, round(float(rng.normal(10, 1)), 3))
        for offset, (name, at) in enumerate(random_times(rng, now_ms, 60))
    ]
    # Without future readings in it, so that the second part is not late as a whole; a restart follows the first.
    rest_ms = max(each.timestamp_ms for each in log if each.timestamp_ms <= now_ms + skew_h * HOUR_MS + MAX_FUTURE_MS)
    rest = [
        Reading(len(log) + i, SERIES[i % 3], min(rest_ms, now_ms) + (i // 3 - 3) * 2 * MINUTE_MS, 10.0 + i % 4)
        for i in range(30)
    ]
    limit = now_ms + skew_h * HOUR_MS + MAX_FUTURE_MS
    refused = [each for each in log if each.timestamp_ms > limit]
    refused += [each for each in rest if each.timestamp_ms > now_ms + MAX_FUTURE_MS]
    oracle = Oracle(SETTINGS).run([each for each in [*log, *rest] if each not in refused])

    config = world.deployment("a", stream=STREAM, instance="one", checkpoint_interval="1h")
    config.write_text(config.read_text().replace('max_out_of_orderness = "0s"', 'max_out_of_orderness = "20min"'))
    worker = start(world, config, clock_ms=skew_h * HOUR_MS)
    assert world.send(texts(log)) == len(log)
    wait_until(lambda: committed(world, config) >= len(log), 60, "the log to be committed")
    worker.kill()
    again = world.start(config)
    assert sum(again.wait_for("assigned")["to_replay"].values()) > 0
    world.send(texts(rest))
    wait_until(lambda: committed(world, config) >= len(log) + len(rest), 60, "the rest to be committed")
    assert again.stop() == 0

    letters = [
        (body["series_id"], body["timestamp"], dict(message.headers())["tidecast.error.reason"].decode())
        for message in world.published("a", "dead-letters")
        for body in [json.loads(message.value())]
    ]
    expected = [(each.series_id, each.timestamp_ms, "timestamp_out_of_range") for each in refused]
    assert Counter(letters) == Counter([*expected, *oracle.rejected])
    assert refused, "nothing of the future was tried"
    assert oracle.rejected, "nothing was too late"
    assert oracle.duplicates > 0
    assert oracle.corrected > 0
    decisions = [json.loads(message.value())["decision"] for message in world.published("a", "journal")]
    clock = [tuple(pair) for each in decisions if each["kind"] == "clock" for pair in each["rejected"]]
    assert sorted(clock) == [(each.offset, 0) for each in refused], "each verdict of a clock is journaled, once"
    same_forecasts(world, oracle)
    assert saved_state(world, config, 0).next_offset == len(log) + len(rest)


def same_forecasts(world: World, oracle: Oracle) -> None:
    published = [json.loads(message.value()) for message in world.published("a", "forecasts")]
    found = {(each["series_id"], each["origin"], each["revision"]): each for each in published}
    assert len(found) == len(published), "none twice"
    expected = {
        (series, moment(said["due"].origin), said["due"].revision): said
        for series, all_said in oracle.judge.forecasts.items()
        for said in all_said
    }
    assert found.keys() == expected.keys()
    assert max(revision for _, _, revision in found) > 0, "no correction was tried"
    for key, said in expected.items():
        wanted = np.array(said["quantiles"], np.float64)
        wanted = wanted if len(wanted) == 3 else wanted.T
        np.testing.assert_allclose(found[key]["quantiles"], wanted, rtol=1e-4, atol=1e-5, err_msg=str(key))
