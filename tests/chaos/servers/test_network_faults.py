"""What lies between the worker and its servers is slow, cut, silent or deaf: no torn transaction, the same result."""

from __future__ import annotations

import numpy as np
import pytest

from tests.app.running_worker import wait_until
from tests.chaos.broken_world import (
    PATIENT_S,
    BrokenWorld,
    count_of,
    ready,
    unready,
)
from tests.chaos.tcp_proxy import API_KEYS, TcpProxy

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]
soak = pytest.mark.soak


@pytest.mark.parametrize(
    "step", ["EndTxn", pytest.param("AddOffsetsToTxn", marks=soak), pytest.param("TxnOffsetCommit", marks=soak)]
)
def test_without_the_replies_to_one_step_of_a_commit_the_producer_is_replaced_and_nothing_is_torn(
    world: BrokenWorld, step: str
) -> None:
    """The broker has done it, and the worker cannot know: nobody guesses."""
    assert world.kafka_proxy is not None
    config, worker = world.begin(20)
    world.kafka_proxy.drop_replies = frozenset({API_KEYS[step]})
    world.send_ticks(20)
    worker.wait_for("producer thrown away", PATIENT_S)
    world.kafka_proxy.heal()
    world.answered()
    worker.wait_for("rewound", PATIENT_S)
    ready(worker)
    world.send_ticks(10)
    world.answered()
    world.stop_and_judge(worker, config)


def test_a_member_whose_question_for_partitions_was_lost_asks_again(world: BrokenWorld) -> None:
    """As of a coordinator that has forgotten it after a restart: the connection is fine, and nobody answers."""
    assert world.kafka_proxy is not None
    config = world.configure()
    soon = '"session.timeout.ms" = 6000\n"max.poll.interval.ms" = 6000'
    config.write_text(config.read_text().replace('"session.timeout.ms" = 6000', soon))
    key, lost = API_KEYS["JoinGroup"], world.kafka_proxy.dropped
    before = lost[key]
    world.kafka_proxy.drop_replies = frozenset({key})
    world.send_ticks(20)
    worker = world.start(config)
    wait_until(lambda: lost[key] > before, PATIENT_S, "a question without an answer")
    world.kafka_proxy.heal()
    world.go_on_and_judge(worker, config)


@pytest.mark.parametrize("fault", ["black_hole", pytest.param("half_open", marks=soak)])
def test_a_kafka_that_swallows_everything_is_waited_for(world: BrokenWorld, fault: str) -> None:
    assert world.kafka_proxy is not None
    config, worker = world.begin(20)
    # Readings are on their way when it begins.
    world.send_ticks(5)
    setattr(world.kafka_proxy, fault, True)
    world.send_ticks(15)
    # At the latest when the session is over, it is another generation of the group that goes on.
    wait_until(world.is_given_up, PATIENT_S, "Kafka to have given the worker up")
    world.kafka_proxy.heal()
    world.go_on_and_judge(worker, config)


@pytest.mark.soak
def test_slow_ways_change_nothing(world: BrokenWorld) -> None:
    assert world.kafka_proxy is not None
    assert world.redis_proxy is not None
    config = world.configure()
    world.kafka_proxy.latency_s = world.redis_proxy.latency_s = 0.1
    worker = world.start(config)
    for _ in range(5):
        world.send_ticks(8)
        world.answered()
    world.stop_and_judge(worker, config)


@pytest.mark.parametrize("server", ["kafka", pytest.param("redis", marks=soak)])
def test_connections_that_are_reset_again_and_again_change_nothing(
    world: BrokenWorld, rng: np.random.Generator, server: str
) -> None:
    proxy: TcpProxy = {"kafka": world.kafka_proxy, "redis": world.redis_proxy}[server]  # type: ignore[assignment]
    config, worker = world.begin(5)
    for _ in range(12):
        world.send_ticks(int(rng.integers(1, 6)))
        if rng.random() < 0.4:
            world.answered()
        wait_until(proxy.reset, PATIENT_S, f"a connection to {server} to reset")
    world.answered()
    world.stop_and_judge(worker, config)


@pytest.mark.parametrize("fault", ["black_hole", pytest.param("half_open", marks=soak)])
def test_while_redis_swallows_everything_forecasts_go_on_and_its_state_is_whole_afterwards(
    world: BrokenWorld, fault: str
) -> None:
    assert world.redis_proxy is not None
    config, worker = world.begin(20)
    setattr(world.redis_proxy, fault, True)
    world.send_ticks(20)
    world.answered()
    assert "Redis" in unready(worker, "store")
    world.redis_proxy.heal()
    ready(worker)
    world.send_ticks(10)
    world.answered()
    assert count_of(worker, "rewound") == 0
    world.stop_and_judge(worker, config)
