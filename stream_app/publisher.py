"""The transaction, as numbered steps, on a thread of its own: what left the pipeline goes to Kafka, then to Redis.

    1 produce the outputs   2 flush   3 commit the input offsets   4 checkpoint the state

The order is the promise. Offsets are committed only when the outputs they stand for are acknowledged, so no forecast is
missing after a crash; state is saved only when its offset is committed, so state never knows of outputs that were not
published. Under `at_least_once` a crash between 1 and 3 publishes the same again.

Exactly once puts `begin_transaction` before step 1 and makes step 3 `send_offsets_to_transaction` and commit; steps,
threads and cuts stay as they are. When a step fails past its deadline the worker ends and says so: a fresh start
rewinds to the committed offsets and the checkpoint, which is what any failure has to end in.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, Message, Producer

from stream_app.assignment import Owned
from stream_app.commits import OffsetCommits
from stream_app.errors import TidecastError
from stream_app.outbox import Outbox
from stream_app.poll_batch import Receipt, StreamPartition
from stream_app.saver import Saver

if TYPE_CHECKING:
    from stream_app.checkpoints import Cut
    from stream_app.metrics import Metrics
    from stream_app.settings import Settings

QUEUE_FULL_WAIT_S = 0.05
SUBMIT_WAIT_S = 0.2
ASK_STORE_S = 0.5
log = structlog.get_logger(__name__)


class PublishFailed(TidecastError):
    """Outputs were not acknowledged in time; they were not counted as published and will be made again."""


@dataclass(frozen=True)
class TransactionCut:
    """Up to here everything is in the outboxes handed over so far."""

    offsets: Mapping[StreamPartition, tuple[Owned, int]]
    checkpoints: tuple[tuple[Owned, Cut], ...] = ()
    released: tuple[Owned, ...] = ()  # let go of them after the checkpoint
    receipt: Receipt | None = None


@dataclass(frozen=True)
class Parcel:
    """Outputs to send now, and perhaps a cut to complete after them."""

    outbox: Outbox
    cut: TransactionCut | None = None


class Publisher:
    """`submit` is called by the pipeline's thread and blocks when the publisher is behind; the rest runs in its own."""

    def __init__(
        self,
        settings: Settings,
        *,
        producer_properties: Mapping[str, Any],
        commits: OffsetCommits,
        saver: Saver,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._limits = settings.limits
        self._producer = Producer(
            {**producer_properties, "on_delivery": self._on_delivery, "delivery.report.only.error": True}
        )
        self._commits = commits
        self._saver = saver
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._queue: queue.Queue[Parcel | None] = queue.Queue(self._limits.publish_queue_max)
        self._undelivered: KafkaError | None = None
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, parcel: Parcel) -> None:
        while not self._failed.is_set():
            try:
                self._queue.put(parcel, timeout=SUBMIT_WAIT_S)
                return
            except queue.Full:
                continue
        raise PublishFailed("The publisher has stopped; the worker is ending.")

    def stop(self, timeout_s: float) -> bool:
        """After the last parcel. False: it did not end in time."""
        self._saver.stop()
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=timeout_s)
            except queue.Full:
                return False
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (parcel := self._next()) is not None:
                self._carry_out(parcel)
        except Exception as error:  # noqa: BLE001 - a thread's last words: the worker must not go on without it
            self._failed.set()
            self._metrics.publish_failures.inc()
            self._on_fatal(error)

    def _next(self) -> Parcel | None:
        """While the store is away it is asked again, readings or not."""
        while True:
            try:
                return self._queue.get(timeout=ASK_STORE_S)
            except queue.Empty:
                self._saver.look()

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _carry_out(self, parcel: Parcel) -> None:
        started = time.monotonic()
        self._produce(parcel.outbox)  # 1
        cut = parcel.cut
        if cut is None:
            return
        late = cut.receipt is not None and cut.receipt.is_late()
        self._flush()  # 2
        committed = frozenset() if late else self._commit_offsets(cut)  # 3
        self._metrics.transaction_seconds.observe(time.monotonic() - started)
        self._checkpoint(cut, committed)  # 4
        if cut.receipt is not None:
            cut.receipt.complete()

    def _produce(self, outbox: Outbox) -> None:
        """Hand the records to the client; it retries by itself until its delivery timeout."""
        deadline = time.monotonic() + self._limits.publish_deadline / 1000
        for topic, records in outbox.keyed.items():
            waiting: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in records]
            while waiting:
                accepted = self._producer.produce_batch(topic, waiting)
                waiting = [] if accepted == len(waiting) else self._not_accepted(waiting)
                self._make_room(deadline if waiting else None)
        for record in outbox.addressed:
            while not self._accepts(record):
                self._make_room(deadline)
        self._producer.poll(0)

    def _accepts(self, record: Any) -> bool:
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers) or None,
                timestamp=record.timestamp_ms,
            )
        except BufferError:
            return False
        return True

    def _not_accepted(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those to try again, since the client's queue was full. Any other refusal ends the worker."""
        refused = [record for record in records if "_error" in record]
        for record in refused:
            error = record.pop("_error")
            if error.code() != KafkaError._QUEUE_FULL:
                raise PublishFailed(f"Kafka's client refused a record: {error.str()}")
        return refused

    def _make_room(self, deadline: float | None) -> None:
        self._check_deliveries()
        if deadline is None:
            return
        if time.monotonic() > deadline:
            raise self._too_late("room in the producer's queue")
        self._producer.poll(QUEUE_FULL_WAIT_S)

    def _flush(self) -> None:
        left = self._producer.flush(self._limits.publish_deadline / 1000)
        self._check_deliveries()
        if left:
            raise self._too_late(f"{left} records to be acknowledged")

    def _commit_offsets(self, cut: TransactionCut) -> frozenset[StreamPartition]:
        """Through the poll thread. Partitions that are no longer ours are left out: their new owner does them again."""
        if not cut.offsets:
            return frozenset()
        committed = self._commits.commit(cut.offsets, self._limits.commit_deadline / 1000)
        for at in cut.offsets.keys() - committed:
            log.warning("not committed: the partition is no longer ours", partition=str(at))
        return committed

    def _checkpoint(self, cut: TransactionCut, committed: frozenset[StreamPartition]) -> None:
        """Only state whose offsets are committed. While Redis is away the state stays in memory (saver.py)."""
        for owned, state_cut in cut.checkpoints:
            if owned.at in committed or owned.at not in cut.offsets:
                self._saver.save(owned, state_cut)
        for owned in cut.released:
            self._saver.release(owned)
        self._saver.count({at: offset for at, (_, offset) in cut.offsets.items()})

    def _too_late(self, awaited: str) -> PublishFailed:
        return PublishFailed(
            f"Expected {awaited} within {self._limits.publish_deadline / 1000:g} s (limits.publish_deadline). Is Kafka "
            "away? The worker ends; started again, it goes on from the last commit."
        )

    def _check_deliveries(self) -> None:
        if self._undelivered is not None:
            raise PublishFailed(
                f"Kafka did not take an output: {self._undelivered.str()}. The worker ends; nothing is lost."
            )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._undelivered is None:
            self._undelivered = error
            log.error("not delivered", topic=message.topic(), error=error.str())
