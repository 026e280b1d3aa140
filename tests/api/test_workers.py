"""The page knows when workers catch up with a backlog, and then uses no more than its share."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_app.api import workers
from stream_app.api.workers import Pace, Workers
from stream_app.settings import Settings
from tests.app.running_worker import wait_until


def settings(bootstrap: str, group: str) -> Settings:
    return Settings.model_validate({"application_id": group, "kafka": {"bootstrap_servers": bootstrap}})


@pytest.mark.services
def test_workers_catch_up_while_their_group_is_far_behind_the_end(
    kafka_bootstrap: str, create_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CATCHING_UP", 50)
    monkeypatch.setattr(workers, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(workers, "ASK_AGAIN_S", 0.0)
    topic = create_topic("in", partitions=2)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for number in range(200):
        producer.produce(topic, b"x", partition=number % 2)
    assert producer.flush(30) == 0
    ends = {(topic, partition): 100 for partition in range(2)}
    asking = Workers(settings(kafka_bootstrap, topic))
    group = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": topic, "enable.auto.commit": False})

    def is_told(expected: bool) -> bool:
        return asking.are_catching_up(ends, time.monotonic()) is expected

    wait_until(lambda: is_told(True), 30, "it to hear that nothing was committed")
    group.commit(offsets=[TopicPartition(*place, 90) for place in ends], asynchronous=False)
    wait_until(lambda: is_told(False), 30, "it to hear of the commit")
    group.commit(offsets=[TopicPartition(topic, 1, 49)], asynchronous=False)
    wait_until(lambda: is_told(True), 30, "it to hear of a commit that went back")
    group.close()
    asking.close()


def test_workers_of_whom_nothing_is_known_are_not_given_way_to() -> None:
    nobody = Workers(settings("127.0.0.1:1", "none"))
    assert not nobody.are_catching_up({("in", 0): 10**9}, time.monotonic())
    nobody.close()


@pytest.mark.parametrize(("share", "rest_s"), [(1.0, 0.0), (0.5, 0.1), (0.1, 0.9), (0.01, workers.REST_MAX_S)])
def test_a_rest_is_so_long_that_only_the_share_was_used(share: float, rest_s: float) -> None:
    used = iter([5.0, 5.1, 5.1, 5.2])
    pace = Pace(share, lambda: next(used))
    assert [pace.rest_s() for _ in range(3)] == pytest.approx([rest_s, 0.0, rest_s])
