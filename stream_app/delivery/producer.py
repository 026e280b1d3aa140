"""Hands records to Kafka's client, and finds out which of them were not delivered."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from model_core.compiled import address
from stream_app.delivery.calls import Calls
from stream_app.delivery.failures import HOPELESS, ProducerLost, failure_of
from stream_app.delivery.outbox import Addressed, Outbox
from stream_app.kafka import compiled
from stream_app.kafka.librdkafka import ADDRESS, Undelivered, library, opened
from stream_app.wire.records import Records

if TYPE_CHECKING:
    from stream_app.settings import Settings

QUEUE_FULL_WAIT_S = 0.05
WITH_LOCK_MAX = 16  # records: so few are handed over before another thread would have woken up
log = structlog.get_logger(__name__)


class _Columns(ctypes.Structure):
    """As in produced.c."""

    _fields_ = [(name, ADDRESS) for name in ("keys", "values", "key_ends", "value_ends", "tombstones")]

    @classmethod
    def of(cls, records: Records) -> _Columns:
        """Addresses: the records must outlive it."""
        gone = records.tombstones
        return cls(
            address(records.keys.data, np.uint8),
            address(records.values.data, np.uint8),
            address(records.keys.ends, np.int64),
            address(records.values.ends, np.int64),
            None if gone is None else address(gone, np.int8),
        )


def _is_not_hopeless(undelivered: Undelivered) -> bool:
    return undelivered.error.code() not in HOPELESS


@contextlib.contextmanager
def _callbacks_served() -> Iterator[None]:
    """Around calls that serve the client's callbacks: they raise when the client is broken for good, fenced say."""
    try:
        yield
    except KafkaException as error:
        raise failure_of(error.args[0], "the client has failed") from error
    except SystemError as error:
        # confluent-kafka loses its exception when delivery reports follow in the same call (seen in 2.16).
        raise ProducerLost(f"the client has failed, and does not say why ({error})") from error


class OutputProducer:
    """One client; thrown away as a whole when it fails (`abandon`).

    Nothing else holds the client. One that lived on would keep retrying its last request, and an `init_transactions`
    that gets through late fences its successor (seen).
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.client, self._handle = opened(Producer, {**properties, "delivery.report.only.error": True})
        self.calls = Calls("producer calls")
        self._topics: dict[str, int] = {}  # rd_kafka_topic_t* of each
        self._said: set[int] = set()  # errors of deliveries that were logged

    def produce(self, outbox: Outbox, deadline_s: float) -> None:
        """Hand over all records; the client retries by itself until its delivery timeout."""
        deadline = time.monotonic() + deadline_s
        for topic, parts in outbox.keyed.items():
            for records in parts:
                done = 0
                while (done := self._hand_over(topic, records, done)) < len(records):
                    self._make_room(deadline)
        for record in outbox.addressed:
            while not self._accepts(record):
                self._make_room(deadline)
        with _callbacks_served():
            self.client.poll(0)

    def flush(self, deadline_s: float) -> None:
        """Until every record is acknowledged."""
        with _callbacks_served():
            left = self.client.flush(deadline_s)
        self.check()
        if left:
            raise ProducerLost(f"{left} records were not acknowledged within {deadline_s:g} s")

    def check(self) -> None:
        """Raises the failure of a record that was not delivered; a hopeless one first."""
        undelivered = self._handle.undelivered()
        for each in undelivered:
            if each.error.code() not in self._said:
                self._said.add(each.error.code())
                log.error("not delivered", topic=each.topic, error=each.error.str())
        if undelivered:
            worst = min(undelivered, key=_is_not_hopeless)
            raise failure_of(worst.error, "an output was not delivered")

    def abandon(self) -> None:
        """Nobody waits for the client any more; it ends by itself, on a thread of its own, when it can.

        An exception that is still referred to may hold this object, but then it does not hold the client.
        """
        client = self.client
        del self.client
        for topic in self._topics.values():
            library().rd_kafka_topic_destroy(topic)
        self._topics = {}
        self.calls.abandon(lambda: client.purge(blocking=False))

    def _accepts(self, record: Addressed) -> bool:
        try:
            self.client.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers) or None,
                timestamp=record.timestamp_ms,
            )
        except BufferError:
            return False
        except KafkaException as error:
            raise failure_of(error.args[0], "an output was refused") from None
        return True

    def _hand_over(self, topic: str, records: Records, first: int) -> int:
        """Hand over records from the `first` on. Returns how many are handed over by then; the queue may be full."""
        if topic not in self._topics:
            self._topics[topic] = library().rd_kafka_topic_new(self._handle.client, topic.encode(), None)
        columns = _Columns.of(records)
        hand_over = compiled.produce.unlocked if len(records) > WITH_LOCK_MAX else compiled.produce.keeping
        error = ctypes.c_int64()
        places = ctypes.addressof(columns), ctypes.addressof(error)
        done: int = hand_over(len(records), first, self._topics[topic], *places)
        if done < len(records) and error.value != KafkaError._QUEUE_FULL:
            raise failure_of(KafkaError(error.value), "an output was refused")
        return done

    def _make_room(self, deadline: float) -> None:
        self.check()
        if time.monotonic() > deadline:
            raise ProducerLost("the client's queue stays full: Kafka does not take outputs")
        with _callbacks_served():
            self.client.poll(QUEUE_FULL_WAIT_S)


class Delivery:
    """What both deliveries share: the current producer. There is none before `_renew` and after `abandon`."""

    def __init__(self, settings: Settings, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        self._publish_s = settings.limits.publish_deadline / 1000
        self._producer: OutputProducer | None = None

    def produce(self, outbox: Outbox) -> None:
        self._there().produce(outbox, self._publish_s)

    def abandon(self) -> None:
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _renew(self) -> OutputProducer:
        self._producer = OutputProducer(self._properties)
        return self._producer

    def _there(self) -> OutputProducer:
        if self._producer is None:
            raise ProducerLost("there is no producer")
        return self._producer
