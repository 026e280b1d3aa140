"""Producers that are thrown away, or fenced: they are gone, and their place is taken by a new one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.delivery import ExactlyOnce, ProducerLost, exactly_once
from stream_app.delivery.commits import OffsetCommits
from stream_app.delivery.outbox import Outbox
from stream_app.local_services.ports import free_port
from stream_app.settings.model import Limits
from stream_app.wire.records import Records
from tests.app.running_worker import wait_until


def delivery(bootstrap: str, transactional_id: str) -> ExactlyOnce:
    settings: Any = SimpleNamespace(limits=Limits(), streams={})
    properties = {"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "linger.ms": 1}
    return ExactlyOnce(settings, properties, OffsetCommits())


def threads_of_clients() -> set[str]:
    """Native threads of Kafka's client in this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if name.startswith("rdk:"):
            found.add(task.name)
    return found


def lost_in(step: Callable[[], Any]) -> str:
    """The reason. Not by pytest.raises, which keeps the failure, and by it the producer."""
    try:
        step()
    except ProducerLost as failure:
        return str(failure)
    raise AssertionError("expected ProducerLost")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What only the garbage collector would free stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_producer_that_was_thrown_away_goes_on_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would initialise its transactional id when Kafka is back, and fence the one that took its place."""
    monkeypatch.setattr(exactly_once, "INIT_TIMEOUT_S", 0.3)
    before = threads_of_clients()
    made = delivery(f"127.0.0.1:{free_port()}", "nobody")
    assert "init_transactions" in lost_in(made.open)
    assert threads_of_clients() > before
    made.abandon()
    wait_until(lambda: threads_of_clients() <= before, 30, "the client to be gone")


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("count", [1, 20_000], ids=["one record", "many records"])
def test_a_producer_that_is_fenced_is_lost_and_not_the_worker(
    kafka_bootstrap: str, topic_prefix: str, create_topic: Callable[..., str], count: int
) -> None:
    topic = create_topic("out")
    made = delivery(kafka_bootstrap, topic_prefix)
    before = threads_of_clients()
    made.open()
    publish(made, topic, 1)
    made.commit()
    other = delivery(kafka_bootstrap, topic_prefix)
    other.open()
    assert lost_in(lambda: publish(made, topic, count))
    made.abandon()
    other.abandon()
    wait_until(lambda: threads_of_clients() <= before, 30, "both clients to be gone")
    made.open()
    publish(made, topic, count)
    made.commit()
    made.abandon()


def publish(delivery: ExactlyOnce, topic: str, count: int) -> None:
    """All but the commit."""
    delivery.begin()
    delivery.produce(Outbox({topic: [Records.of([(b"k", b"v" * 100)] * count)]}))
    delivery.flush()
