"""Records as columns say of each record what it was, however they were cut and joined, and come to Kafka in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_app.delivery.failures import PublishFailed
from stream_app.delivery.outbox import Outbox
from stream_app.delivery.producer import OutputProducer
from stream_app.wire.records import Record, Records

_pairs = st.lists(st.tuples(st.binary(max_size=6), st.none() | st.binary(max_size=6)), max_size=8)


@given(st.lists(_pairs, max_size=4))
def test_each_record_is_as_it_was(parts: list[list[Record]]) -> None:
    whole = Records.concatenate([Records.of(part) for part in parts])
    pairs = [pair for part in parts for pair in part]
    assert list(whole) == pairs
    assert whole.size_bytes == sum(len(key) + len(value or b"") for key, value in pairs)


@given(_pairs, st.data())
def test_a_part_of_a_part_is_the_part_itself(pairs: list[Record], data: st.DataObject) -> None:
    first, end = sorted(data.draw(st.tuples(*[st.integers(0, len(pairs))] * 2)))
    part = Records.of(pairs).part(first, end)
    assert list(part) == pairs[first:end]
    middle = len(part) // 2
    assert list(part.part(middle, len(part))) == pairs[first:end][middle:]


def read(bootstrap: str, topic: str, partitions: int, count: int) -> list[list[Record]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "records", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(partitions)])
    found: list[list[Record]] = [[] for _ in range(partitions)]
    while sum(map(len, found)) < count:
        for message in consumer.consume(10_000, 1):
            assert message.error() is None
            found[message.partition()].append((message.key() or b"", message.value()))
    consumer.close()
    return found


@pytest.mark.services
@pytest.mark.timeout(120)
def test_records_come_in_order_though_the_queue_of_the_client_is_full_again_and_again(
    kafka_bootstrap: str, create_topic: Callable[..., str]
) -> None:
    topic = create_topic("out", partitions=2)
    pairs: list[Record] = [(b"k%d" % (i % 7), None if i % 100 == 0 else b"%d" % i) for i in range(20_000)]
    small = {"bootstrap.servers": kafka_bootstrap, "queue.buffering.max.messages": 500, "enable.idempotence": True}
    producer = OutputProducer(small | {"partitioner": "murmur2_random"})
    producer.produce(Outbox({topic: [Records.of(pairs[:12_345]), Records.of(pairs[12_345:])]}), 60)
    producer.flush(60)
    found = read(kafka_bootstrap, topic, 2, len(pairs))
    for number in range(7):
        key = b"k%d" % number
        here = [[value for k, value in some if k == key] for some in found]
        assert [value for k, value in pairs if k == key] in here, "a key's records are on one partition, in order"
    producer.abandon()


@pytest.mark.services
def test_what_the_broker_refuses_is_said(kafka_bootstrap: str, create_topic: Callable[..., str]) -> None:
    topic = create_topic("out", config={"max.message.bytes": "1000"})
    producer = OutputProducer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 0})
    producer.produce(Outbox({topic: [Records.of([(b"k", b"v" * 5000)])]}), 30)
    with pytest.raises(PublishFailed, match=r"max\.message\.bytes"):
        producer.flush(30)
    ((of, error),) = producer._handle.undelivered()
    assert (of, error.code()) == (topic, KafkaError.MSG_SIZE_TOO_LARGE)
    producer.abandon()
