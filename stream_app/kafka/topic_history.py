"""An input topic, from its first record (or from where an earlier reading stopped) to its end, for training.

It has a consumer of its own, outside of any group: nothing is committed, and no worker is disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_core.readings import Readings
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.kafka.up_to_ends import may_not_read, read_up_to
from stream_app.schema_registry.client import schemas_of
from stream_app.wire import decoder

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from stream_app.settings import Settings

POLL_MESSAGES_MAX = 50_000
POLL_WAIT_S = 0.2
QUESTION_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Portion:
    """Some of the topic, decoded: readings by partition, and how far reading has come."""

    readings: dict[int, Readings]
    unusable: int  # records that would be dead letters
    done: int  # offsets passed so far
    total: int
    places: Mapping[int, int] = field(default_factory=dict)  # next offset of each partition, no later than its end


class HistoryBroken(TidecastError):
    """Reading cannot go on at the place at which it had stopped: the topic is another one, or records are gone."""


def read_topic(settings: Settings, spec: StreamSpec, since: Mapping[int, int] | None = None) -> Iterator[Portion]:
    """`since`: next offsets, as the last portion of another time had them; what came after them may be nothing.

    TidecastError when the topic is not there, is empty, or the broker stops answering.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    from stream_app.kafka.admin import Admin
    from stream_app.kafka.clients import describe_error, reader_properties
    from stream_app.kafka.consumer_errors import is_forbidden
    from stream_app.kafka.topics import meant

    decode = decoder(spec, schemas_of(settings))
    properties = reader_properties(settings) | {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
    admin = Admin(settings)
    try:
        known = admin.list_topics(timeout=settings.limits.kafka_timeout / 1000).topics
    except KafkaException as failure:
        raise admin.failure(failure) from failure
    consumer = Consumer(properties | {"group.id": f"{settings.application_id}.train"})
    try:
        if spec.topic not in known:
            if is_forbidden(consumer, spec.topic, QUESTION_TIMEOUT_S):
                raise may_not_read(spec.topic)
            raise TidecastError(
                f"There is no topic {spec.topic!r} on {settings.kafka.properties('admin')['bootstrap.servers']}. Mend "
                "the stream's topic, produce readings first (tidecast produce), or read a file instead (--file)."
                f"{meant(spec.topic, known)}"
            )
        places, ends = _spans(consumer, spec.topic, known[spec.topic].partitions, since or {})
        started = dict(places)
        total = sum(ends.values()) - sum(places.values())
        if not total and not since:
            raise TidecastError(f"The topic {spec.topic!r} is empty. Produce readings first (tidecast produce).")
        consumer.assign([TopicPartition(spec.topic, partition, place) for partition, place in places.items()])
        for messages in read_up_to(consumer, spec.topic, places, ends, most=POLL_MESSAGES_MAX, wait_s=POLL_WAIT_S):
            if messages:
                decoded = decode(spec, messages, now_ms=time.time_ns() // 1_000_000, partition_count=len(places))
                done = sum(places[p] - started[p] for p in places)
                yield Portion(decoded.readings, len(decoded.dead_letters), done, total, dict(places))
        if total:  # markers of transactions behind the last record are passed too: they may be gone the next time
            yield Portion({}, 0, total, total, dict(ends))
    except KafkaException as error:
        raise TidecastError(f"Reading {spec.topic!r} failed: {describe_error(error)}.") from error
    finally:
        consumer.close()


def _spans(
    consumer: Consumer, topic: str, partitions: Iterable[int], since: Mapping[int, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """(offset to begin at, one after the last record) of each partition. HistoryBroken: `since` is not between."""
    from confluent_kafka import TopicPartition

    places, ends = {}, {}
    for partition in partitions:
        at = TopicPartition(topic, partition)
        first, ends[partition] = consumer.get_watermark_offsets(at, timeout=QUESTION_TIMEOUT_S)
        places[partition] = since.get(partition, first)
        if places[partition] < first:
            raise HistoryBroken(
                f"records of {topic!r} are gone (retention): reading of partition {partition} had stopped at offset "
                f"{places[partition]}, and its first record is at {first} now"
            )
    if any(places[partition] > ends[partition] for partition in places):
        raise HistoryBroken(f"the topic {topic!r} ends at {ends}, before {places}, where reading had stopped")
    return places, ends
