"""Handing records to Kafka's client, and learning which of them were not delivered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.delivery.calls import Calls
from stream_app.delivery.failures import HOPELESS, ProducerLost, failure_of
from stream_app.outbox import Addressed, Outbox

QUEUE_FULL_WAIT_S = 0.05
log = structlog.get_logger(__name__)


class OutputProducer:
    """One client; thrown away as a whole when it fails (`abandon`)."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.client = Producer({**properties, "on_delivery": self._on_delivery, "delivery.report.only.error": True})
        self.calls = Calls("producer calls")
        self._undelivered: KafkaError | None = None

    def produce(self, outbox: Outbox, deadline_s: float) -> None:
        """Hand over all records; the client retries by itself until its delivery timeout."""
        deadline = time.monotonic() + deadline_s
        for topic, records in outbox.keyed.items():
            waiting: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in records]
            while waiting:
                accepted = self.client.produce_batch(topic, waiting)
                waiting = [] if accepted == len(waiting) else self._not_accepted(waiting)
                self._make_room(deadline if waiting else None)
        for record in outbox.addressed:
            while not self._accepts(record):
                self._make_room(deadline)
        self.client.poll(0)

    def flush(self, deadline_s: float) -> None:
        """Until every record is acknowledged."""
        left = self.client.flush(deadline_s)
        self.check()
        if left:
            raise ProducerLost(f"{left} records were not acknowledged within {deadline_s:g} s")

    def check(self) -> None:
        """Raises the failure of the first record that was not delivered."""
        if self._undelivered is not None:
            raise failure_of(self._undelivered, "an output was not delivered")

    def abandon(self) -> None:
        """Whoever waits for it waits no more; it ends by itself, on a thread of its own, when it can."""
        client = self.client
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
        self.client.poll(QUEUE_FULL_WAIT_S)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        worse = self._undelivered is None or (error.code() in HOPELESS and self._undelivered.code() not in HOPELESS)
        if worse:
            self._undelivered = error
            log.error("not delivered", topic=message.topic(), error=error.str())
