"""One published forecast, read from its topic by its offset. The last few that were asked for are kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_app.kafka.clients import describe_error, reader_properties

if TYPE_CHECKING:
    from stream_app.settings import Settings

REMEMBERED_MAX = 2_000
WAIT_S = 0.05
FETCH_BYTES = 65_536  # one message is wanted, and its neighbours come with it


class Unavailable(Exception):
    """Kafka does not answer now. The message is one sentence."""


class Fetcher:
    """One consumer that fetches one forecast at a time. Each takes some milliseconds."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.limits.kafka_timeout / 1000
        properties = {
            "fetch.message.max.bytes": FETCH_BYTES,
            "queued.max.messages.kbytes": 1_024,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
        self._consumer = Consumer(reader_properties(settings) | properties)
        self._remembered: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, topic: str, partition: int, offset: int) -> bytes | None:
        """The value, or None if it is no longer in the topic. Raises Unavailable when no broker answers."""
        place = (topic, partition, offset)
        with self._lock:
            if place in self._remembered:
                self._remembered.move_to_end(place)
                return self._remembered[place]
            value = self._ask(*place)
            if value is not None:
                self._remembered[place] = value
                if len(self._remembered) > REMEMBERED_MAX:
                    self._remembered.popitem(last=False)
            return value

    def close(self) -> None:
        with self._lock:
            self._consumer.close()

    def _ask(self, topic: str, partition: int, offset: int) -> bytes | None:
        deadline = time.monotonic() + self._timeout_s
        try:
            self._consumer.assign([TopicPartition(topic, partition, offset)])
            while time.monotonic() < deadline:
                for message in self._consumer.consume(1, WAIT_S):
                    if message.error() is None:
                        return message.value() if message.offset() == offset else None
        except KafkaException as error:
            raise Unavailable(f"Kafka could not be asked for a forecast: {describe_error(error)}.") from None
        finally:
            self._consumer.unassign()
        raise Unavailable(f"Kafka did not hand out a forecast within {self._timeout_s:g} s; is a broker away?")
