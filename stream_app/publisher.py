"""The way out, as numbered steps, on a thread of its own: what left the pipeline goes to Kafka, then to Redis.

    1 begin   2 produce the outputs   3 flush   4 send the input offsets   5 commit   6 checkpoint the state

The order is the promise. Under `exactly_once` steps 1 to 5 are one transaction: outputs and offsets count together or
not at all (delivery/exactly_once.py). Under `at_least_once` the offsets are committed in step 4, when the outputs are
acknowledged, and a crash between 3 and 4 publishes the same again. State is saved only when its offset is committed, so
it never knows of outputs that were not published.

When a step fails, `_recover` goes by what is known then: outputs that certainly do not count are sent again as they
are; otherwise the producer is thrown away and everything rewinds (rewinds.py). A transaction begins only when its
outputs are all there, so that a slow forecast never lets one time out, unless they are more than memory should hold.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from stream_app.assignment import Owned
from stream_app.delivery import Aborted, AtLeastOnce, ExactlyOnce, ProducerLost, PublishFailed
from stream_app.outbox import Outbox
from stream_app.poll_batch import Receipt, StreamPartition
from stream_app.rewinds import Rewinds
from stream_app.saver import Saver

if TYPE_CHECKING:
    from stream_app.checkpoints import Cut
    from stream_app.health import Health
    from stream_app.metrics import Metrics
    from stream_app.settings import Settings

SUBMIT_WAIT_S = 0.2
LOOK_S = 0.1  # how often it looks up when there is nothing to send
TRY_AGAIN_S = 0.5  # between attempts to get a new producer
SAME_OUTPUTS_MAX = 5  # attempts to send the same outputs before everything rewinds
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TransactionCut:
    """Up to here everything is in the outboxes handed over so far."""

    offsets: Mapping[StreamPartition, tuple[Owned, int]]
    checkpoints: tuple[tuple[Owned, Cut], ...] = ()
    released: tuple[Owned, ...] = ()  # let go of them after the checkpoint
    receipt: Receipt | None = None


@dataclass(frozen=True)
class Parcel:
    """Outputs to send now, and perhaps a cut to complete after them. `rewinds`: how many had been when it was made."""

    outbox: Outbox
    cut: TransactionCut | None = None
    rewinds: int = 0


@dataclass
class _Transaction:
    """Outputs since the last cut. Those of `sent` are with the client already."""

    waiting: list[Outbox] = field(default_factory=list)
    sent: list[Outbox] = field(default_factory=list)
    size_bytes: int = 0
    begun: bool = False

    def add(self, outbox: Outbox) -> None:
        if outbox.records:
            self.waiting.append(outbox)
            self.size_bytes += outbox.size_bytes


class Publisher:
    """`submit` is called by the pipeline's thread and blocks when the publisher is behind; the rest runs in its own."""

    def __init__(
        self,
        settings: Settings,
        *,
        delivery: ExactlyOnce | AtLeastOnce,
        rewinds: Rewinds,
        saver: Saver,
        health: Health,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._limits = settings.limits
        self._delivery = delivery
        self._rewinds = rewinds
        self._saver = saver
        self._health = health
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._queue: queue.Queue[Parcel | None] = queue.Queue(self._limits.publish_queue_max)
        self._transaction = _Transaction()
        self._failed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def sends_at_once(self) -> bool:
        """Whether outputs leave before their cut. In a transaction they would wait for it all the same."""
        return not self._delivery.is_transactional

    def start(self) -> None:
        self._thread.start()

    def open(self, stopping: threading.Event) -> None:
        """Before partitions are taken: a predecessor of the same name is fenced, what it left finished or aborted."""
        deadline = time.monotonic() + self._limits.start_deadline / 1000
        self._open(deadline, stopping)

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
        self._stopping.set()
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
            self._clear()
        except Exception as error:  # noqa: BLE001 - a thread's last words: the worker must not go on without it
            self._failed.set()
            self._metrics.publish_failures.inc()
            self._on_fatal(error)

    def _next(self) -> Parcel | None:
        """While the store is away it is asked again, readings or not; a rewind is not kept waiting either."""
        while True:
            try:
                return self._queue.get(timeout=LOOK_S)
            except queue.Empty:
                self._saver.look()
                self._clear()

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _carry_out(self, parcel: Parcel) -> None:
        self._clear()
        if parcel.rewinds < self._rewinds.number:
            self._drop(parcel)
            return
        self._transaction.add(parcel.outbox)
        try:
            if parcel.cut is not None:
                self._complete(parcel.cut)
            elif self._must_produce_early():
                self._begin()
                self._produce()
        except ProducerLost as failure:
            self._recover(str(failure))
            self._drop(parcel)
        except Aborted as failure:
            self._rewind(str(failure))
            self._drop(parcel)

    def _must_produce_early(self) -> bool:
        """Outputs that no transaction protects leave at once; others when memory should hold no more of them."""
        return self.sends_at_once or self._transaction.size_bytes >= self._limits.outbox_bytes_max

    def _complete(self, cut: TransactionCut) -> None:
        started = time.monotonic()
        if not self._delivery.is_transactional and cut.receipt is not None and cut.receipt.is_late():
            committed: frozenset[StreamPartition] = frozenset()
        else:
            committed = self._attempt(cut)
        self._transaction = _Transaction()
        self._health.publishing()
        self._metrics.transaction_seconds.observe(time.monotonic() - started)
        self._checkpoint(cut, committed)  # 6
        if cut.receipt is not None:
            cut.receipt.complete()

    def _attempt(self, cut: TransactionCut) -> frozenset[StreamPartition]:
        """Steps 1 to 5. An aborted transaction is tried again with the same outputs: nothing of it counts."""
        attempts = 0
        while True:
            try:
                permit = self._delivery.ask(cut.offsets)
                self._begin()  # 1
                self._produce()  # 2
                self._flush()  # 3
                committed = self._send_offsets(permit)  # 4
                self._commit()  # 5
            except Aborted as failure:
                attempts += 1
                self._abort()
                if attempts >= SAME_OUTPUTS_MAX or not all(map(self._may_retry, cut.offsets.values())):
                    raise
                log.warning("transaction aborted, its outputs go again", reason=str(failure), attempt=attempts)
                time.sleep(0.02 * 2**attempts)  # a rebalance under way ends meanwhile
            else:
                for at in cut.offsets.keys() - committed:
                    log.warning("not committed: the partition is no longer ours", partition=str(at))
                return committed

    def _may_retry(self, offset: tuple[Owned, int]) -> bool:
        return self._saver.is_ours(offset[0]) and not self._rewinds.needs_clearing

    def _begin(self) -> None:
        if not self._transaction.begun:
            self._delivery.begin()
            self._transaction.begun = True

    def _produce(self) -> None:
        transaction = self._transaction
        while transaction.waiting:
            outbox = transaction.waiting.pop(0)
            if self._delivery.is_transactional:
                transaction.sent.append(outbox)
            else:
                transaction.size_bytes -= outbox.size_bytes
            self._delivery.produce(outbox)

    def _flush(self) -> None:
        self._delivery.flush()

    def _send_offsets(self, permit: object) -> frozenset[StreamPartition]:
        return self._delivery.send_offsets(permit)  # type: ignore[arg-type]

    def _commit(self) -> None:
        self._delivery.commit()

    def _checkpoint(self, cut: TransactionCut, committed: frozenset[StreamPartition]) -> None:
        """Only state whose offsets are committed. While Redis is away the state stays in memory (saver.py)."""
        for owned, state_cut in cut.checkpoints:
            owned.unproven &= owned.at not in committed
            if owned.at in committed or (owned.at not in cut.offsets and not owned.unproven):
                self._saver.save(owned, state_cut)
            else:
                owned.copy_arrived.set()
        for owned in cut.released:
            self._saver.release(owned)
        self._saver.count({at: offset for at, (_, offset) in cut.offsets.items()})

    # --- when a step fails --------------------------------------------------------------------------------------------

    def _abort(self) -> None:
        """Leave no trace of the open transaction; its outputs wait again. ProducerLost when that cannot be known."""
        transaction = self._transaction
        if transaction.begun:
            self._delivery.abort()
            transaction.begun = False
        transaction.waiting = transaction.sent + transaction.waiting
        transaction.sent = []

    def _clear(self) -> None:
        """Somebody asked for a rewind: no transaction of before may count after this."""
        if self._rewinds.needs_clearing:
            number = self._rewinds.number
            try:
                self._abort()
            except (ProducerLost, Aborted) as failure:
                self._replace_producer(str(failure))
            self._transaction = _Transaction()
            self._rewinds.clear(number)

    def _recover(self, reason: str) -> None:
        """Nobody knows what became of the transaction: a new producer makes Kafka decide, then everything rewinds."""
        self._metrics.publish_failures.inc()
        self._replace_producer(reason)
        self._transaction = _Transaction()
        self._rewind(reason)

    def _rewind(self, reason: str) -> None:
        self._rewinds.ask(reason)
        self._clear()

    def _replace_producer(self, reason: str) -> None:
        log.warning("producer thrown away", reason=reason)
        self._health.publishing_fails(f"Kafka does not take outputs: {reason}")
        self._delivery.abandon()
        self._open(time.monotonic() + self._limits.recovery_deadline / 1000, self._stopping)
        log.info("producer replaced")

    def _open(self, deadline: float, stopping: threading.Event) -> None:
        while True:
            try:
                self._delivery.open()
                return
            except ProducerLost as failure:
                self._delivery.abandon()
                if time.monotonic() > deadline or stopping.is_set():
                    raise PublishFailed(
                        f"Expected Kafka to take a producer within {self._limits.recovery_deadline / 1000:g} s "
                        f"(limits.recovery_deadline), found {failure}. Is Kafka away? The worker ends; started again, "
                        "it goes on from the last commit."
                    ) from failure
                stopping.wait(TRY_AGAIN_S)

    def _drop(self, parcel: Parcel) -> None:
        """It was made before a rewind: what it holds will be made again."""
        if parcel.cut is None:
            return
        for owned, _ in parcel.cut.checkpoints:
            owned.copy_arrived.set()
        if parcel.cut.receipt is not None:
            parcel.cut.receipt.complete()
