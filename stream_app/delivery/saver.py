"""Step 6 of the publisher, on a thread of its own: what is committed is saved while the next transaction goes on.

Redis away: the state stays in memory, forecasts go on, the worker is not ready and says why. When more readings than
`limits.backlog_readings_max` are beyond the last checkpoint it waits, and backpressure pauses the input. Once Redis
answers, the next checkpoint is a full one. State is saved only when its offset is committed, so it never knows of
outputs that were not published.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from stream_app.checkpoints import BaseMismatch, CheckpointStore, OwnershipLost, StoreUnavailable
from stream_app.delivery import CommitFailed
from stream_app.errors import TidecastError
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.runtime.inbox import Inbox

if TYPE_CHECKING:
    from stream_app.checkpoints import StateCopy
    from stream_app.delivery import CommitRequest, Committed
    from stream_app.delivery.parcel import TransactionCut
    from stream_app.observability.health import Health
    from stream_app.observability.metrics import Metrics
    from stream_app.recovery.rewinds import Rewinds
    from stream_app.settings import Settings

ASK_AGAIN_S = 1.0
LOOK_S = 0.1  # how often it looks up when there is nothing to save
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CommittedCut:
    """A cut that is committed, or will be once `committed` is known; and when its transaction began."""

    cut: TransactionCut
    committed: Committed | CommitRequest
    began: float  # time.monotonic()


class Saver:
    """`submit` is called by the publisher's thread and blocks when Redis is behind; the rest runs in its own.

    `owned` tells what is ours now; `is_away` is read by the pipeline, which makes no copies of the state meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        store: CheckpointStore,
        owned: Callable[[], Mapping[StreamPartition, Owned]],
        health: Health,
        metrics: Metrics,
        rewinds: Rewinds,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._owned = owned
        self._health = health
        self._metrics = metrics
        self._rewinds = rewinds
        self._on_fatal = on_fatal
        self._backlog_max = settings.limits.backlog_readings_max
        self._inbox: Inbox[CommittedCut] = Inbox(settings.limits.checkpoint_queue_max)
        self._waits_no_more = threading.Event()
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._asked_at = 0.0
        self.is_away = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, done: CommittedCut) -> None:
        if not self._inbox.put(done):
            raise TidecastError("The state cannot be saved any more; the worker is ending.")

    def wait_no_more(self) -> None:
        """The worker is stopping: a backlog that is too long keeps nobody waiting."""
        self._waits_no_more.set()

    def stop(self, timeout_s: float) -> bool:
        """After the last cut. False: it did not end in time."""
        if self._thread.is_alive():
            if not self._inbox.close(timeout_s):
                return False
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                try:
                    done = self._inbox.take(LOOK_S)
                except queue.Empty:
                    self._look()
                    continue
                if done is None:
                    return
                self._save_all(done)
                self._let_go(done.cut)
                self._wait_while_too_far_behind()
        except Exception as error:  # noqa: BLE001 - a thread's last words: the worker must not go on without it
            self._inbox.fail()
            self._on_fatal(error)

    def _save_all(self, done: CommittedCut) -> None:
        """Of the states, those whose offset is committed, now or before."""
        committed = self._known(done)
        for at, (owned, offset) in done.cut.offsets.items():
            owned.is_ahead = at not in committed
            if owned.is_ahead:
                continue
            owned.note_committed(offset)
            if done.began > (owned.taken_again_at or 0.0):
                owned.taken_again_at = None  # Kafka has taken an offset since: nobody else owns it
        for owned, copy in done.cut.checkpoints:
            if owned.taken_again_at is None and not owned.is_ahead:
                self._save(owned, copy)
            else:
                owned.copied = None
                owned.copy_arrived.set()

    def _known(self, done: CommittedCut) -> frozenset[StreamPartition]:
        try:
            committed = done.committed.wait()
        except CommitFailed as failure:
            self._metrics.publish_failures.inc()
            self._rewinds.ask(str(failure))
            return frozenset()
        for at in done.cut.offsets.keys() - committed:
            log.warning("not committed: the partition is no longer ours", partition=str(at))
        return committed

    def _let_go(self, cut: TransactionCut) -> None:
        for owned in cut.released:
            self._release(owned)
        if cut.receipt is not None:
            cut.receipt.complete()

    def _save(self, owned: Owned, copy: StateCopy) -> None:
        if self.is_away:  # each would wait for an answer in vain, and those behind it for all of them
            self._not_saved(owned)
            owned.copy_arrived.set()
            return
        started = time.monotonic()
        try:
            self._store.write(owned.token, copy)
        except StoreUnavailable as error:
            self._not_saved(owned)
            self._went_away(str(error))
        except BaseMismatch as error:
            self._not_saved(owned)
            log.warning("checkpoint refused, the next is a full one", partition=str(owned.at), reason=str(error))
        except OwnershipLost as error:
            self._not_saved(owned)
            if self.is_ours(owned):
                self._own_again(owned, str(error))
            else:
                log.info("not saved: another worker owns it", partition=str(owned.at))
        else:
            owned.saved_to = copy.header.next_offset
            self._metrics.checkpoint_seconds.observe(time.monotonic() - started)
            self._metrics.checkpoint_bytes.inc(copy.bytes)
        finally:
            owned.copy_arrived.set()

    def _not_saved(self, owned: Owned) -> None:
        """The state is to be copied again, though no reading may come any more."""
        self._metrics.checkpoint_failures.inc()
        owned.copied = None

    def is_ours(self, owned: Owned) -> bool:
        return self._owned().get(owned.at) is owned

    def _own_again(self, owned: Owned, reason: str) -> None:
        """Redis lost our registration (it is empty, or a failover took it back), while Kafka says that we own it.

        What is in memory was committed, so it is right whoever else believes to be the owner. It is written only after
        Kafka has taken another offset: a worker that slept, and has not heard yet that it lost the partition, cannot
        get that far.
        """
        try:
            owned.token = self._store.acquire_again(owned.token)
        except StoreUnavailable as error:
            self._went_away(str(error))
        except OwnershipLost:
            log.info("not saved: the poll thread has taken it anew", partition=str(owned.at))
        else:
            owned.taken_again_at = time.monotonic()
            owned.commit_again()
            log.warning("ownership taken again", partition=str(owned.at), reason=reason)

    def _release(self, owned: Owned) -> None:
        """The next owner takes over all the same, so a store that is away is not waited for."""
        if self.is_away:
            return
        try:
            self._store.release(owned.token)
        except StoreUnavailable as error:
            self._went_away(str(error))
        except OwnershipLost as error:
            log.warning(
                "not released, the next owner takes over all the same", partition=str(owned.at), reason=str(error)
            )

    def _wait_while_too_far_behind(self) -> None:
        """Here, and with it everything before it."""
        self._look()
        while self.is_away and self._backlog() > self._backlog_max and not self._waits_no_more.wait(ASK_AGAIN_S):
            self._ask()

    def _look(self) -> None:
        """Whether the store is back."""
        if self.is_away:
            self._ask()

    def _backlog(self) -> int:
        """Readings beyond the last checkpoints, of what is ours now: those of a partition that went are its owner's."""
        return sum(max(0, each.committed_to - each.saved_to) for each in self._owned().values())

    def _went_away(self, reason: str) -> None:
        if not self.is_away:
            log.error("checkpoints paused", reason=reason)
        self.is_away = True
        self._asked_at = time.monotonic()
        self._health.store_away(reason)

    def _ask(self) -> None:
        if time.monotonic() - self._asked_at < ASK_AGAIN_S:
            return
        self._asked_at = time.monotonic()
        try:
            self._store.check_server()
        except TidecastError as error:
            self._health.store_away(str(error))
        else:
            self.is_away = False
            self._health.store_there()
            log.info("checkpoints resume", backlog_readings=self._backlog())
