"""Where a lost state is rebuilt from: far enough back in the time of the records, never outside the log."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from stream_app.local_services import LocalServices
from stream_app.recovery.rebuild import rebuild_from

FIRST_MS = 1_760_000_000_000


@pytest.fixture
def start_of(services: LocalServices, create_topic: Callable[..., str]) -> Callable[..., int]:
    """200 records, one a second, the last ten in a transaction, whose mark is offset 200; then the question."""
    topic = create_topic("in")
    plain = Producer({"bootstrap.servers": services.kafka_bootstrap})
    for second in range(190):
        plain.produce(topic, b"{}", timestamp=FIRST_MS + second * 1000)
    assert plain.flush(30) == 0
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for second in range(190, 200):
        producer.produce(topic, b"{}", timestamp=FIRST_MS + second * 1000)
    producer.commit_transaction(30)

    def ask(committed: int, context_s: int, *, first: int = 0) -> int:
        return rebuild_from(
            {"bootstrap.servers": services.kafka_bootstrap, "group.id": topic, "isolation.level": "read_committed"},
            topic,
            0,
            first=first,
            committed=committed,
            context_ms=context_s * 1000,
            timeout_s=30,
        )

    return ask


def test_it_begins_with_the_first_record_within_the_context(start_of: Callable[..., int]) -> None:
    assert start_of(151, 60) == 90
    assert start_of(196, 7) == 188


def test_a_mark_before_the_committed_offset_is_no_hindrance(start_of: Callable[..., int]) -> None:
    assert start_of(201, 20) == 179


def test_it_stays_within_the_log(start_of: Callable[..., int]) -> None:
    assert start_of(151, 10_000) == 0
    assert start_of(151, 10_000, first=44) == 44
    assert start_of(45, 0, first=44) == 44
