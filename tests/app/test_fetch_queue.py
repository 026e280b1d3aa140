"""What the queue of fetched messages gives is what confluent-kafka's own consumer gives of the same log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from stream_app.kafka.fetch_queue import FetchQueue

pytestmark = pytest.mark.services
PARTITIONS = 3


def properties(bootstrap: str, group: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 10,
    }


@pytest.fixture
def topics(
    kafka_bootstrap: str, topic_prefix: str, create_topic: Callable[..., str], rng: np.random.Generator
) -> list[str]:
    """Two, with values, keys and headers of every kind, a transaction that counts and one that does not."""
    names = [create_topic(name, partitions=PARTITIONS) for name in ("one", "other")]
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "transactional.id": topic_prefix})
    producer.init_transactions(30)
    for number in range(3):
        producer.begin_transaction()
        for index in range(100):
            name = names[int(rng.integers(2))]
            value = None if index % 7 == 0 else rng.bytes(int(rng.integers(0, 40)))
            key = None if index % 5 == 0 else b"k" * int(rng.integers(0, 3))
            headers = [("a", b"1"), ("\u00e9", None), ("", b"")] if index % 11 == 0 else None
            producer.produce(
                name, value, key, partition=int(rng.integers(PARTITIONS)), timestamp=1000 + index, headers=headers
            )
        producer.flush(30)  # the broker refuses to abort what is still on its way to it
        if number == 1:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    return names


def said(each: Any) -> tuple[Any, ...]:
    headers = each.headers() or None
    return each.partition(), each.offset(), each.value(), each.key(), each.timestamp(), headers


def places_of(topics: Sequence[str], offset: int = 0) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for topic in topics for partition in range(PARTITIONS)]


def of_their_own(bootstrap: str, topics: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    consumer = Consumer(properties(bootstrap, "theirs"))
    consumer.assign(places_of(topics))
    found: dict[str, list[tuple[Any, ...]]] = {topic: [] for topic in topics}
    ends = 0
    while ends < len(topics) * PARTITIONS:
        for message in consumer.consume(100, 1):
            if message.error() is None:
                found[message.topic()].append(said(message))
            else:
                ends += message.error().code() == KafkaError._PARTITION_EOF
    consumer.close()
    return {topic: sorted(some, key=lambda each: each[:2]) for topic, some in found.items()}


class Ours:
    def __init__(self, bootstrap: str) -> None:
        self.consumer, self.queue = FetchQueue.open(properties(bootstrap, "ours"))

    def assign(self, places: list[TopicPartition]) -> None:
        self.queue.divert([*self.consumer.assignment(), *places])
        self.consumer.incremental_assign(places)

    def read(self, ends: int, most: int = 64) -> dict[str, list[tuple[Any, ...]]]:
        """Until so many partitions have ended."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        deadline = time.monotonic() + 60
        while ends and time.monotonic() < deadline:
            assert self.consumer.consume(10, 0) == []
            fetched = self.queue.take(most, first_s=0.05, gather_s=0.05, most_s=0.1)
            for topic, messages in fetched.messages.items():
                found.setdefault(topic, []).extend(map(said, messages))
            assert {each.error().code() for each in fetched.errors} <= {KafkaError._PARTITION_EOF}
            ends -= len(fetched.errors)
        assert ends <= 0, "not all partitions ended"
        return {topic: sorted(some, key=lambda each: each[:2]) for topic, some in found.items()}

    def close(self) -> None:
        self.queue.close()
        self.consumer.close()


def test_it_gives_what_the_consumer_itself_would(kafka_bootstrap: str, topics: list[str]) -> None:
    theirs, ours = of_their_own(kafka_bootstrap, topics), Ours(kafka_bootstrap)
    ours.assign(places_of(topics))
    assert ours.read(2 * PARTITIONS) == theirs
    assert sum(map(len, theirs.values())) == 200, "what was aborted is not there"
    last = {(topic, each[0]): each[1] for topic, some in theirs.items() for each in some}
    positions = ours.consumer.position(places_of(topics))
    assert all(place.offset > last[place.topic, place.partition] for place in positions)
    ours.close()


def test_partitions_that_go_and_come_back_are_read_from_where_they_are_assigned(
    kafka_bootstrap: str, topics: list[str]
) -> None:
    theirs, ours = of_their_own(kafka_bootstrap, topics), Ours(kafka_bootstrap)
    for _ in range(5):
        ours.assign(places_of(topics))
        time.sleep(0.05)  # fetched, and not taken
        ours.consumer.incremental_unassign(places_of(topics))
    ours.assign(places_of(topics[:1]))
    assert ours.read(PARTITIONS) == {topics[0]: theirs[topics[0]]}
    ours.consumer.incremental_unassign(places_of(topics[:1]))
    ours.assign(places_of(topics[1:], 5))
    later = [each for each in theirs[topics[1]] if each[1] >= 5]
    assert ours.read(PARTITIONS) == {topics[1]: later}
    ours.close()


def test_what_is_paused_or_sought_is_read_as_the_consumer_says(kafka_bootstrap: str, topics: list[str]) -> None:
    theirs, ours = of_their_own(kafka_bootstrap, topics[:1]), Ours(kafka_bootstrap)
    places = places_of(topics[:1])
    ours.assign(places)
    time.sleep(0.3)
    ours.consumer.pause(places[1:])
    first = ours.read(1)
    assert {each[0] for each in first[topics[0]]} == {0}
    ours.consumer.resume(places[1:])
    rest = ours.read(PARTITIONS - 1)
    assert sorted(first[topics[0]] + rest[topics[0]], key=lambda each: each[:2]) == theirs[topics[0]]
    ours.consumer.seek(TopicPartition(topics[0], 2, 3))
    assert ours.read(1)[topics[0]] == [each for each in theirs[topics[0]] if each[0] == 2 and each[1] >= 3]
    ours.close()


def test_the_middle_of_values_is_left_out_where_both_borders_are(
    kafka_bootstrap: str, create_topic: Callable[..., str], rng: np.random.Generator
) -> None:
    cut, other = create_topic("cut", partitions=1), create_topic("other", partitions=1)
    begin, end = b',"q":[[', b'],"m":'
    pieces = [b"{", b"x", b',"q":[', b"[", b"]", b',"m":', b"}", begin, end]
    values = [
        b"".join(pieces[each] for each in rng.integers(len(pieces), size=int(rng.integers(9)))) for _ in range(200)
    ]
    values += [b"{" + begin + end, b"{" + end + begin, b"{" + begin + end + end, b"\0" + begin + end, None]
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for topic in (cut, other):
        for value in values:
            producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0

    def without(value: bytes | None) -> bytes | None:
        if value is None or not value.startswith(b"{"):
            return value
        first, last = value.find(begin), value.rfind(end)
        return value[:first] + value[last + 1 :] if 0 <= first <= last else value

    consumer, queue = FetchQueue.open(properties(kafka_bootstrap, "ours"), {cut: (begin, end)})
    places = [TopicPartition(topic, 0, 0) for topic in (cut, other)]
    queue.divert(places)
    consumer.assign(places)
    found: dict[str, list[bytes | None]] = {cut: [], other: []}
    deadline = time.monotonic() + 60
    while sum(map(len, found.values())) < 2 * len(values) and time.monotonic() < deadline:
        fetched = queue.take(int(rng.integers(1, 300)), first_s=0.05, gather_s=0.05, most_s=0.1)
        for topic, messages in fetched.messages.items():
            assert messages.value_bytes.tolist() == [-1 if each is None else len(each) for each in messages.values]
            found[topic] += messages.values
    assert found == {cut: list(map(without, values)), other: values}
    queue.close()
    consumer.close()


def test_an_error_of_the_log_comes_with_its_partition(kafka_bootstrap: str, topics: list[str]) -> None:
    ours = Ours(kafka_bootstrap)
    ours.assign([TopicPartition(topics[0], 1, 10_000)])  # beyond the end, and auto.offset.reset is error
    deadline = time.monotonic() + 30
    errors: list[Any] = []
    while not errors and time.monotonic() < deadline:
        errors = ours.queue.take(10, first_s=0.05, gather_s=0.05, most_s=0.1).errors + ours.consumer.consume(10, 0)
    assert [(each.topic(), each.partition(), each.error().code()) for each in errors] == [
        (topics[0], 1, KafkaError._AUTO_OFFSET_RESET)
    ]
    ours.close()
