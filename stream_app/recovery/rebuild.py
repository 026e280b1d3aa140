"""Where a lost state is rebuilt from, if the log no longer reaches back to its beginning.

Not from the start of what is left, which may be weeks: `rebuild_context` before the newest answered reading fills every
window, and more would only help the calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_app.errors import KafkaAway
from stream_app.kafka.clients import describe_error

LOOK_BACK = 100  # offsets: the last ones before the committed one may be marks of transactions, which nobody can read
READ_S = 0.1


def rebuild_from(
    properties: Mapping[str, Any],
    topic: str,
    partition: int,
    *,
    first: int,
    committed: int,
    context_ms: int,
    timeout_s: float,
) -> int:
    """The offset to begin at, in [first, committed]. Times are those of the records, as Kafka keeps them; the marks
    of transactions have their own, so that of an input written long after the fact more may be read than needed.

    `first`: of the log. KafkaAway when it does not answer.
    """
    reader = Consumer({**properties, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        newest_ms = _newest_before(reader, topic, partition, first=first, committed=committed, timeout_s=timeout_s)
        if newest_ms is None:
            return first
        asked = TopicPartition(topic, partition, max(0, newest_ms - context_ms))
        (found,) = reader.offsets_for_times([asked], timeout=timeout_s)
    except KafkaException as error:
        raise KafkaAway(
            f"Expected Kafka to tell an offset of {topic}[{partition}], found: {describe_error(error)}."
        ) from error
    finally:
        reader.close()
    return min(max(first, found.offset), committed)


def _newest_before(
    reader: Consumer, topic: str, partition: int, *, first: int, committed: int, timeout_s: float
) -> int | None:
    """Largest record time (ms) among the last records before `committed`; None when there are none."""
    reader.assign([TopicPartition(topic, partition, max(first, committed - LOOK_BACK))])
    newest_ms, waited_s = None, 0.0
    while True:
        messages = reader.consume(LOOK_BACK, READ_S)
        waited_s = 0.0 if messages else waited_s + READ_S
        if waited_s > timeout_s:
            raise KafkaAway(f"Expected to read the end of {topic}[{partition}] within {timeout_s:g} s of silence.")
        for message in messages:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or message.offset() >= committed:
                return newest_ms
            newest_ms = max(newest_ms or 0, message.timestamp()[1])
            if message.offset() == committed - 1:
                return newest_ms
