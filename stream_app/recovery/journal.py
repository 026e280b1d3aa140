"""Reads the journal: the decisions that a replay follows (partitions/journaled.py says what they are).

One record a decision in `<stream>.journal`, in the partition with the number of the input's, published together with
the outputs it led to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from model_core.spec import StreamSpec
from stream_app.errors import KafkaAway, TidecastError
from stream_app.partitions.journaled import Decision
from stream_app.partitions.names import StreamPartition

READ_S = 0.1
log = structlog.get_logger(__name__)


def read_journals(
    properties: Mapping[str, Any],
    streams: Mapping[str, StreamSpec],
    partitions: Sequence[StreamPartition],
    timeout_s: float,
) -> dict[StreamPartition, list[Decision]]:
    """All decisions of these partitions, oldest first. A journal topic that is missing is an error with its remedy."""
    topics = {at: streams[at.stream].outputs.topic("journal", at.stream) for at in partitions}
    by_topic = {(topic, at.partition): at for at, topic in topics.items()}
    decisions: dict[StreamPartition, list[Decision]] = {at: [] for at in partitions}
    ends = _ends(properties, list(by_topic), timeout_s)
    reader = Consumer({**properties, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        reader.assign([TopicPartition(topic, at.partition, 0) for at, topic in topics.items()])
        unread, waited_s = set(by_topic), 0.0
        while unread:
            messages = reader.consume(1000, READ_S)
            waited_s = 0.0 if messages else waited_s + READ_S
            if waited_s > timeout_s:
                raise KafkaAway(f"Expected to read the journal of {sorted(unread)} within {timeout_s:g} s of silence.")
            for message in messages:
                place = (message.topic(), message.partition())
                error = message.error()
                if error is None:
                    decisions[by_topic[place]].append(Decision.from_record(json.loads(message.value())))
                elif error.code() == KafkaError._PARTITION_EOF:
                    # An open transaction of a killed worker hides what was committed after it began: that is no end.
                    if message.offset() >= ends.get(place, 0):
                        unread.discard(place)
                elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                    raise TidecastError(
                        f"Expected {message.topic()} to have as many partitions as the input topic, found none for "
                        f"partition {message.partition()}. Create it: tidecast topics create"
                    )
                else:
                    raise KafkaException(error)
    finally:
        reader.close()
    return decisions


def _ends(properties: Mapping[str, Any], places: Sequence[tuple[str, int]], timeout_s: float) -> dict[Any, int]:
    """One after the last record of each (topic, partition), open transactions or not; nothing for missing ones."""
    asking = Consumer({**properties, "isolation.level": "read_uncommitted"})
    ends = {}
    try:
        for topic, partition in places:
            try:
                ends[topic, partition] = asking.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=timeout_s, cached=False
                )[1]
            except KafkaException as error:
                if error.args[0].code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                    raise KafkaAway(
                        f"Expected Kafka to tell the end of {topic}[{partition}], found: {error}."
                    ) from error
    finally:
        asking.close()
    return ends
