"""The broker dies and comes back, also in the middle of a commit: nothing torn, lost or doubled, nobody called."""

from __future__ import annotations

import numpy as np
import pytest

from tests.app.running_worker import wait_until
from tests.chaos.broken_world import IMPATIENT, PATIENT_S, BrokenWorld, ready
from tests.chaos.tcp_proxy import API_KEYS

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]


def restart_broker(world: BrokenWorld) -> None:
    assert world.services is not None
    world.services.kafka.kill()
    world.services.kafka.start()


def test_a_killed_broker_that_comes_back_needs_no_operator(world: BrokenWorld) -> None:
    config, worker = world.begin(20)
    world.send_ticks(10)  # in a transaction, or not yet read
    assert world.services is not None
    world.services.kafka.kill()
    wait_until(lambda: worker.readyz()[0] == 503, PATIENT_S, "unready: its publisher fails, or its partition is lost")
    world.services.kafka.start()
    world.send_ticks(20)
    world.answered()
    ready(worker)
    world.stop_and_judge(worker, config)


def test_a_broker_that_is_away_for_longer_than_the_recovery_deadline_ends_the_worker_and_the_next_one_goes_on(
    world: BrokenWorld,
) -> None:
    assert world.kafka_proxy is not None
    assert world.services is not None
    config, worker = world.begin(20, limits=IMPATIENT + '\nrecovery_deadline = "2s"')
    world.kafka_proxy.drop_replies = frozenset({API_KEYS["EndTxn"]})
    world.send_ticks(20)
    wait_until(lambda: world.kafka_proxy.dropped[API_KEYS["EndTxn"]], PATIENT_S, "a commit that nobody answers")
    world.services.kafka.kill()
    world.kafka_proxy.heal()
    assert worker.process.wait(PATIENT_S) == 1, worker.log_path.read_text()
    error = worker.wait_for("worker ends")["error"]
    assert "Expected Kafka to take a producer within 2 s (limits.recovery_deadline)" in error
    assert "it goes on from the last commit" in error
    world.services.kafka.start()
    world.go_on_and_judge(world.start(config), config)


@pytest.mark.parametrize(
    "step",
    [
        "EndTxn",
        pytest.param("AddOffsetsToTxn", marks=pytest.mark.soak),
        pytest.param("TxnOffsetCommit", marks=pytest.mark.soak),
        pytest.param("Produce", marks=pytest.mark.soak),
    ],
)
def test_a_broker_killed_in_the_middle_of_a_commit_tears_no_transaction(world: BrokenWorld, step: str) -> None:
    """The request has arrived, its reply has not, and the broker dies."""
    assert world.kafka_proxy is not None
    config, worker = world.begin(20)
    api_key = API_KEYS[step]
    world.kafka_proxy.drop_replies = frozenset({api_key})
    world.send_ticks(20)
    wait_until(lambda: world.kafka_proxy.dropped[api_key], PATIENT_S, f"a reply to {step} that was dropped")
    assert world.services is not None
    world.services.kafka.kill()
    world.kafka_proxy.heal()
    world.services.kafka.start()
    world.go_on_and_judge(worker, config)


@pytest.mark.soak
def test_ten_kills_of_the_broker_at_random_lose_and_double_nothing(
    world: BrokenWorld, rng: np.random.Generator
) -> None:
    config = world.configure()
    worker = world.start(config)
    for _ in range(10):
        world.send_ticks(int(rng.integers(1, 20)))
        if rng.random() < 0.5:
            world.answered()
        restart_broker(world)
        world.send_ticks(int(rng.integers(1, 10)))
    world.answered()
    ready(worker)
    world.stop_and_judge(worker, config)
