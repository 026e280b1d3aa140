"""Exactly once: outputs and input offsets in one transaction of Kafka (KIP-98, KIP-447).

A stale worker is fenced by the generation of the group, which travels with the offsets, and by the epoch of its
transactional id. When the outcome of a transaction is unknown, nobody guesses: the producer is thrown away, and
initialising the same transactional id again makes Kafka finish or abort what it left (KIP-890, librdkafka 5423).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicPartition

from stream_app.delivery.commits import Committed, OffsetCommits, Permit
from stream_app.delivery.failures import Aborted, ProducerLost, PublishFailed, failure_of
from stream_app.delivery.producer import Delivery, OutputProducer
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from stream_app.partitions.owned import Owned
    from stream_app.settings import Settings

RETRY_S = 0.01
INIT_TIMEOUT_S = 10.0


class ExactlyOnce(Delivery):
    """The steps of a transaction, in their order: begin, produce, flush, send_offsets, commit; or abort."""

    is_transactional = True

    def __init__(self, settings: Settings, properties: Mapping[str, Any], commits: OffsetCommits) -> None:
        limits = settings.limits
        super().__init__(settings, properties)
        self._commits = commits
        self._topics = {stream: spec.topic for stream, spec in settings.streams.items()}
        # Beyond it the coordinator has aborted the transaction by itself.
        self._commit_s = min(limits.commit_deadline, limits.transaction_timeout) / 1000

    def open(self) -> None:
        """A new producer. Returns when whatever its predecessor left is finished or aborted, and its epoch fenced."""
        producer = self._renew()
        try:
            self._call("init_transactions", lambda: producer.client.init_transactions(INIT_TIMEOUT_S), INIT_TIMEOUT_S)
        except Aborted as failure:
            raise ProducerLost(str(failure)) from failure

    def begin(self) -> None:
        try:
            self._there().client.begin_transaction()
        except KafkaException as error:
            raise ProducerLost(f"begin_transaction: {error.args[0].str()}") from error

    def flush(self) -> None:
        """Sending the offsets with records still on their way stalls for a retry interval (measured)."""
        producer = self._there()
        try:
            producer.flush(self._publish_s)
        except ProducerLost as failure:
            raise _why(producer, failure) from failure

    def ask(self, offsets: Mapping[StreamPartition, tuple[Owned, int]]) -> Permit:
        """Ask for the group's generation and what is still ours, as of one moment; the poll thread will answer."""
        return self._commits.ask_permit(offsets, self._commit_s)

    def send_offsets(self, permit: Permit) -> Committed:
        """Raises Aborted when a partition is not ours any more: its outputs are in this transaction, too."""
        metadata = permit.wait()
        asked = [
            TopicPartition(self._topics[at.stream], at.partition, offset) for at, (_, offset) in permit.offsets.items()
        ]
        if asked:
            producer, timeout_s = self._there(), self._commit_s
            self._call(
                "send_offsets_to_transaction",
                lambda: producer.client.send_offsets_to_transaction(asked, metadata, timeout_s),
                timeout_s,
            )
        return Committed(frozenset(permit.offsets))

    def commit(self) -> None:
        producer, timeout_s = self._there(), self._commit_s
        self._call("commit_transaction", lambda: producer.client.commit_transaction(timeout_s), timeout_s)

    def abort(self) -> None:
        """Leaves no trace of the transaction. Raises ProducerLost when that cannot be known."""
        producer, timeout_s = self._there(), self._commit_s
        if len(producer.client):
            # Aborting with unsent records needs an epoch bump, which ends in _STATE (measured).
            producer.flush(timeout_s)
        try:
            self._call("abort_transaction", lambda: producer.client.abort_transaction(timeout_s), timeout_s)
        except Aborted as failure:
            raise ProducerLost(str(failure)) from failure

    def _call(self, step: str, function: Callable[[], Any], timeout_s: float) -> Any:
        """Retries what may be retried until the deadline; after that the outcome is unknown."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._there().calls.call(step, function, timeout_s)
            except KafkaException as error:
                reason = error.args[0]
                if reason.retriable() and not reason.txn_requires_abort() and time.monotonic() < deadline:
                    time.sleep(RETRY_S)
                    continue
                raise failure_of(reason, step) from error


def _why(producer: OutputProducer, failure: ProducerLost) -> Exception:
    """The real reason why a record timed out: it may have waited in vain for its partition to enter the transaction,
    for example without the right to write. The transaction knows; it is asked by a call that it must refuse."""
    try:
        producer.client.begin_transaction()
    except KafkaException as error:
        found = failure_of(error.args[0], "an output was not delivered")
        if isinstance(found, PublishFailed):
            return found
    return failure
