"""Handing records to Kafka's client, and learning which of them were not delivered."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.delivery.calls import Calls
from stream_app.delivery.failures import HOPELESS, ProducerLost, failure_of
from stream_app.outbox import Addressed, Outbox

if TYPE_CHECKING:
    from stream_app.settings import Settings

QUEUE_FULL_WAIT_S = 0.05
# Records for one call of the client, which holds the interpreter's lock for a microsecond each.
AT_ONCE = 500
log = structlog.get_logger(__name__)


class _Reports:
    """What the client says of records that it could not deliver.

    Apart from OutputProducer: the client holds its callback, and must not hold whoever holds the client.
    """

    def __init__(self) -> None:
        self.undelivered: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        known = self.undelivered
        if known is None or (error.code() in HOPELESS and known.code() not in HOPELESS):
            self.undelivered = error
            log.error("not delivered", topic=message.topic(), error=error.str())


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

    It is held here only. One that lived on would go on trying what it was asked for last, and `init_transactions` that
    comes through late fences its successor (seen).
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._reports = _Reports()
        self.client = Producer({**properties, "on_delivery": self._reports, "delivery.report.only.error": True})
        self.calls = Calls("producer calls")

    def produce(self, outbox: Outbox, deadline_s: float) -> None:
        """Hand over all records; the client retries by itself until its delivery timeout."""
        deadline = time.monotonic() + deadline_s
        for topic, records in outbox.keyed.items():
            for first in range(0, len(records), AT_ONCE):
                part = records[first : first + AT_ONCE]
                waiting: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in part]
                while waiting:
                    accepted = self.client.produce_batch(topic, waiting)
                    waiting = [] if accepted == len(waiting) else self._not_accepted(waiting)
                    self._make_room(deadline if waiting else None)
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
        """Raises the failure of the first record that was not delivered."""
        if self._reports.undelivered is not None:
            raise failure_of(self._reports.undelivered, "an output was not delivered")

    def abandon(self) -> None:
        """Whoever waits for it waits no more; it ends by itself, on a thread of its own, when it can.

        A failure that somebody still looks at, or that the client has leaked, holds this object, and so no client.
        """
        client = self.client
        del self.client
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

    def _not_accepted(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those to try again, since the client's queue was full."""
        refused = [record for record in records if "_error" in record]
        for record in refused:
            error = record.pop("_error")
            if error.code() != KafkaError._QUEUE_FULL:
                raise failure_of(error, "an output was refused")
        return refused

    def _make_room(self, deadline: float | None) -> None:
        self.check()
        if deadline is None:
            return
        if time.monotonic() > deadline:
            raise ProducerLost("the client's queue stays full: Kafka does not take outputs")
        with _callbacks_served():
            self.client.poll(QUEUE_FULL_WAIT_S)


class Delivery:
    """What both deliveries share: the producer of the moment. There is none before `_renew` and after `abandon`."""

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
