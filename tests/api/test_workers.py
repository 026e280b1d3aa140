"""The page knows when workers catch up with a backlog, and then uses no more than its share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_app.api import workers
from stream_app.api.following import Following
from stream_app.api.view import StreamView
from stream_app.api.workers import Pace, Workers
from stream_app.observability.health import Readiness
from stream_app.settings import Settings
from tests.app.published import forecast
from tests.app.running_worker import START_MS, wait_until


def settings(bootstrap: str, group: str, **more: Any) -> Settings:
    return Settings.model_validate({"application_id": group, "kafka": {"bootstrap_servers": bootstrap}} | more)


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


@pytest.mark.services
def test_the_page_rests_while_workers_catch_up_and_misses_nothing(
    kafka_bootstrap: str, create_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CATCHING_UP", 50)
    names = {each: create_topic(each) for each in ("in", "forecasts", "accuracy", "drift", "dead-letters")}
    outputs = {each.replace("-", "_"): name for each, name in names.items() if each != "in"}
    made = settings(
        kafka_bootstrap,
        names["in"],
        streams={"tides": {"topic": names["in"], "freq": "10min", "outputs": outputs}},
        api={"series_max": 10},
    )
    view = StreamView("tides", made.streams["tides"], made.api)
    readiness = Readiness()
    following = Following(made, {"tides": view}, readiness)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for number in range(100):
        reading = {"series_id": "a", "timestamp": START_MS + number * 600_000, "value": number}
        producer.produce(names["in"], json.dumps(reading), b"a", partition=0)
    assert producer.flush(30) == 0
    group = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": names["in"], "enable.auto.commit": False})
    following.start()
    try:
        wait_until(lambda: not readiness.reasons, 60, "it to have read what is there")
        assert not following.gives_way, "nobody is at work"
        first = START_MS // 600_000
        for tick in range(3):
            key, value = forecast("a", first + tick, [[1.0]] * 9)
            producer.produce(names["forecasts"], value, key, partition=0)
            assert producer.flush(30) == 0
            wait_until(lambda: following.gives_way, 60, "it to give way to whoever makes forecasts")
        wait_until(lambda: len(view.forecasts.of(0)[0]) == 3, 60, "it to read them all the same")
        assert view.newest_tick == first + 99
        group.commit(offsets=[TopicPartition(names["in"], 0, 100)], asynchronous=False)
        wait_until(lambda: not following.gives_way, 60, "it to hear that they are through")
        assert (following.passed_over, view.unreadable) == (0, 0)
    finally:
        following.stop(30)
        group.close()


def test_workers_of_whom_nothing_is_known_are_not_given_way_to() -> None:
    nobody = Workers(settings("127.0.0.1:1", "none"))
    assert not nobody.are_catching_up({("in", 0): 10**9}, time.monotonic())
    nobody.close()


@pytest.mark.parametrize(("share", "rest_s"), [(1.0, 0.0), (0.5, 0.1), (0.1, 0.9), (0.01, workers.REST_MAX_S)])
def test_a_rest_is_so_long_that_only_the_share_was_used(share: float, rest_s: float) -> None:
    used = iter([5.0, 5.1, 5.1, 5.2])
    pace = Pace(share, lambda: next(used))
    assert [pace.rest_s() for _ in range(3)] == pytest.approx([rest_s, 0.0, rest_s])
