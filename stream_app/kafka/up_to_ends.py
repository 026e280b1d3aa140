"""Reading a topic up to the end it had when the reading began, for training and for commands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

QUIET_S_MAX = 60.0  # without any record while the ends are not reached


def read_up_to(
    consumer: Consumer, topic: str, places: dict[int, int], ends: Mapping[int, int], *, most: int, wait_s: float
) -> Iterator[list[Message]]:
    """The records before `ends`, a list a poll (which may be empty); `places`, the next offsets, move along to there.

    `consumer` has these partitions assigned at `places`, and tells where they end (`partition.eof`).
    TidecastError when the topic may not be read, or nothing comes any more.
    """
    from confluent_kafka import KafkaError

    heard = time.monotonic()
    while any(places[partition] < end for partition, end in ends.items()):
        messages = []
        for message in consumer.consume(most, wait_s):
            heard = time.monotonic()
            at, error = message.partition(), message.error()
            if error is None:
                places[at] = max(places[at], min(message.offset() + 1, ends[at]))
                if message.offset() < ends[at]:
                    messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                places[at] = ends[at]  # markers at the end are never handed out
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise may_not_read(topic)
        if time.monotonic() - heard > QUIET_S_MAX:
            raise TidecastError(f"The broker sent nothing of {topic!r} for {QUIET_S_MAX:.0f} s; try again.")
        yield messages
        heard = time.monotonic() if messages else heard  # whoever asked may have taken long over them


def may_not_read(topic: str) -> TidecastError:
    return TidecastError(f"This user may not read {topic}: give it Read on the topic.")
