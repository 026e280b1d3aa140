"""The way out, as numbered steps, on a thread of its own: what left the pipeline goes to Kafka, then to Redis.

    1 begin   2 produce the outputs   3 flush   4 send the input offsets   5 commit   6 hand the state to the saver

The order is the promise. Under `exactly_once` steps 1 to 5 are one transaction: outputs and offsets count together or
not at all (delivery/exactly_once.py). Under `at_least_once` step 4 asks for the commit of the offsets, when the outputs
are acknowledged, and a crash between 3 and 4 publishes the same again. State is saved only when its offset is
committed, so it never knows of outputs that were not published.

When a step fails, `_recover` goes by what is known then: outputs that certainly do not count are sent again as they
are; otherwise the producer is thrown away and everything rewinds (recovery/rewinds.py).

Steps 1 and 2 need no cut: under `at_least_once` outputs leave as they are made, and of a transaction the first ones do,
while there is nothing else to do. A transaction that waits long for its cut, because a forecast is slow, is aborted
before the brokers do it; its outputs go again with the next.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from stream_app.delivery import (
    Aborted,
    AtLeastOnce,
    CommitRequest,
    Committed,
    ExactlyOnce,
    ProducerLost,
    PublishFailed,
)
from stream_app.delivery.lead import Lead
from stream_app.delivery.outbox import Outbox
from stream_app.delivery.parcel import Parcel, TransactionCut
from stream_app.delivery.saver import CommittedCut, Saver
from stream_app.recovery.rewinds import Rewinds
from stream_app.runtime.inbox import Inbox

if TYPE_CHECKING:
    from stream_app.observability.health import Health
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

LOOK_S = 0.1  # how often it looks up when there is nothing to send
TRY_AGAIN_S = 0.5  # between attempts to get a new producer
OPEN_SHARE = 0.3  # of transaction_timeout: how long a transaction stays open for outputs that may still come
SAME_OUTPUTS_MAX = 5  # attempts to send the same outputs before everything rewinds
log = structlog.get_logger(__name__)


@dataclass
class _Transaction:
    """Outputs since the last cut. Those of `sent` are with the client already."""

    waiting: list[Outbox] = field(default_factory=list)
    sent: list[Outbox] = field(default_factory=list)
    begun: bool = False
    began_at: float = 0.0  # time.monotonic()


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
        self._inbox: Inbox[Parcel] = Inbox(self._limits.publish_queue_max)
        self._open_s = OPEN_SHARE * self._limits.transaction_timeout / 1000
        self._transaction = _Transaction()
        self._is_idle = False
        self._lead = Lead(self._limits.transaction_interval / 1000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def is_transactional(self) -> bool:
        """Whether outputs become visible together with their cut."""
        return self._delivery.is_transactional

    @property
    def takes_outputs(self) -> bool:
        """Whether outputs should be handed over before their cut. Of a transaction only the first ones: they make its
        partitions known to the coordinator, which takes as long as all the rest. Each parcel costs a request for each
        partition."""
        return not self.is_transactional or (self._is_idle and not self._transaction.begun)

    @property
    def lead_s(self) -> float:
        """How long before a commit is due its outputs must be cut."""
        return self._lead.seconds if self.is_transactional else 0.0

    def start(self) -> None:
        self._saver.start()
        self._thread.start()

    def open(self, stopping: threading.Event) -> None:
        """Before partitions are taken: fences a predecessor of the same name, finishes or aborts what it left."""
        self._open("start_deadline", self._limits.start_deadline / 1000, stopping)

    def submit(self, parcel: Parcel) -> None:
        if not self._inbox.put(parcel):
            raise PublishFailed("The publisher has stopped; the worker is ending.")

    def stop(self, timeout_s: float) -> bool:
        """After the last parcel. False: it did not end in time."""
        self._saver.wait_no_more()
        self._stopping.set()
        if self._thread.is_alive():
            if not self._inbox.close(timeout_s):
                return False
            self._thread.join(timeout_s)
        return self._saver.stop(timeout_s) and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (parcel := self._next()) is not None:
                self._carry_out(parcel)
            self._clear()
        except Exception as error:  # noqa: BLE001 - a thread's last words: the worker must not go on without it
            self._inbox.fail()
            self._metrics.publish_failures.inc()
            self._on_fatal(error)

    def _next(self) -> Parcel | None:
        """The next parcel. While there is none, rewinds and transactions that are open for long are seen to."""
        self._is_idle = True
        try:
            while True:
                try:
                    return self._inbox.take(LOOK_S)
                except queue.Empty:
                    self._clear()
                    self._put_off()
        finally:
            self._is_idle = False

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _carry_out(self, parcel: Parcel) -> None:
        self._clear()
        if parcel.rewinds < self._rewinds.number:
            self._drop(parcel)
            return
        if parcel.outbox.records:
            self._transaction.waiting.append(parcel.outbox)
        try:
            if parcel.cut is not None:
                self._complete(parcel.cut)
            else:
                self._begin()
                self._produce()
        except ProducerLost as failure:
            self._recover(str(failure))
            self._drop(parcel)
        except Aborted as failure:
            self._rewind(str(failure))
            self._drop(parcel)

    def _complete(self, cut: TransactionCut) -> None:
        began = time.monotonic()
        committed = self._attempt(cut)
        if self.is_transactional:  # before a rewind can look: the saver may be late
            for at in committed.wait():
                owned, offset = cut.offsets[at]
                owned.note_committed(offset)
        self._transaction = _Transaction()
        self._health.publishing()
        took = time.monotonic() - began
        self._lead.note(took, None if cut.due_at is None else began - cut.due_at)
        self._metrics.transaction_seconds.observe(took)
        self._saver.submit(CommittedCut(cut, committed, began))  # 6

    def _attempt(self, cut: TransactionCut) -> Committed | CommitRequest:
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
                if attempts >= SAME_OUTPUTS_MAX or not self._may_retry(cut):
                    raise
                log.warning("transaction aborted, its outputs go again", reason=str(failure), attempt=attempts)
                time.sleep(0.02 * 2**attempts)  # a rebalance under way ends meanwhile
            else:
                return committed

    def _may_retry(self, cut: TransactionCut) -> bool:
        return not self._rewinds.needs_clearing and all(self._saver.is_ours(owned) for owned, _ in cut.offsets.values())

    def _begin(self) -> None:
        if not self._transaction.begun:
            self._delivery.begin()
            self._transaction.begun, self._transaction.began_at = True, time.monotonic()

    def _produce(self) -> None:
        transaction = self._transaction
        while transaction.waiting:
            outbox = transaction.waiting.pop(0)
            if self._delivery.is_transactional:
                transaction.sent.append(outbox)
            self._delivery.produce(outbox)

    def _flush(self) -> None:
        self._delivery.flush()

    def _send_offsets(self, permit: object) -> Committed | CommitRequest:
        return self._delivery.send_offsets(permit)  # type: ignore[arg-type]

    def _commit(self) -> None:
        self._delivery.commit()

    # --- when a step fails --------------------------------------------------------------------------------------------

    def _abort(self) -> None:
        """Leave no trace of the open transaction; its outputs wait again. ProducerLost when that cannot be known."""
        transaction = self._transaction
        if transaction.begun:
            self._delivery.abort()
            transaction.begun = False
        transaction.waiting = transaction.sent + transaction.waiting
        transaction.sent = []

    def _put_off(self) -> None:
        """Abort a transaction that is open for long, before the brokers do and fence us. Its outputs go again."""
        if self._transaction.begun and time.monotonic() > self._transaction.began_at + self._open_s:
            if self._delivery.is_transactional:
                log.info("transaction put off: its cut is late", outboxes=len(self._transaction.sent))
            try:
                self._abort()
            except (ProducerLost, Aborted) as failure:
                self._recover(str(failure))

    def _clear(self) -> None:
        """If somebody asked for a rewind: after this no earlier transaction can be committed."""
        if self._rewinds.needs_clearing:
            number = self._rewinds.number
            try:
                self._abort()
            except (ProducerLost, Aborted) as failure:
                self._replace_producer(str(failure))
            self._transaction = _Transaction()
            self._rewinds.clear(number)

    def _recover(self, reason: str) -> None:
        """The outcome of the transaction is unknown: a new producer makes Kafka decide, then everything rewinds."""
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
        self._open("recovery_deadline", self._limits.recovery_deadline / 1000, self._stopping)
        log.info("producer replaced")

    def _open(self, limit: str, wait_s: float, stopping: threading.Event) -> None:
        """`limit`: the name of how long it waits for Kafka."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._delivery.open()
                return
            except ProducerLost as failure:
                self._delivery.abandon()
                if time.monotonic() > deadline or stopping.is_set():
                    raise PublishFailed(
                        f"Expected Kafka to take a producer within {wait_s:g} s (limits.{limit}), found {failure}. Is "
                        "Kafka away? The worker ends; started again, it goes on from the last commit."
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
