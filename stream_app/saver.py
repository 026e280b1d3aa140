"""Checkpoints, while the store is there; and what happens while it is not.

Redis away: the state stays in memory, forecasts go on, the worker is not ready and says why. When more readings than
`limits.backlog_readings_max` are beyond the last checkpoint it waits, and backpressure pauses the input. Once Redis
answers, the next checkpoint is a full one. Runs in the publisher's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from stream_app.assignment import Assignment, Owned
from stream_app.checkpoints import BaseMismatch, CheckpointStore, OwnershipLost, StoreUnavailable
from stream_app.errors import TidecastError
from stream_app.poll_batch import StreamPartition

if TYPE_CHECKING:
    from stream_app.checkpoints import Cut
    from stream_app.health import Health
    from stream_app.metrics import Metrics
    from stream_app.settings import Settings

ASK_AGAIN_S = 1.0
log = structlog.get_logger(__name__)


class Saver:
    """`is_away` is read by the pipeline, which makes no cuts of the state meanwhile."""

    def __init__(
        self, settings: Settings, store: CheckpointStore, assignment: Assignment, health: Health, metrics: Metrics
    ) -> None:
        self._store = store
        self._assignment = assignment
        self._health = health
        self._metrics = metrics
        self._backlog_max = settings.limits.backlog_readings_max
        self._saved: dict[StreamPartition, int] = {}
        self._committed: dict[StreamPartition, int] = {}
        self._stopping = threading.Event()
        self._asked_at = 0.0
        self.is_away = False

    def save(self, owned: Owned, cut: Cut) -> None:
        started = time.monotonic()
        try:
            self._store.write(owned.token, cut)
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
            self._saved[owned.at] = cut.header.next_offset
            self._metrics.checkpoint_seconds.observe(time.monotonic() - started)
            self._metrics.checkpoint_bytes.inc(cut.bytes)
        finally:
            owned.copy_arrived.set()

    def _not_saved(self, owned: Owned) -> None:
        """The state is to be copied again, though no reading may come any more."""
        self._metrics.checkpoint_failures.inc()
        owned.copied = None

    def is_ours(self, owned: Owned) -> bool:
        return self._assignment.owned.get(owned.at) is owned

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
            owned.unproven = True
            owned.commit_again()
            log.warning("ownership taken again", partition=str(owned.at), reason=reason)

    def release(self, owned: Owned) -> None:
        try:
            self._store.release(owned.token)
        except (StoreUnavailable, OwnershipLost) as error:
            log.warning(
                "not released, the next owner takes over all the same", partition=str(owned.at), reason=str(error)
            )
        self._saved.pop(owned.at, None)
        self._committed.pop(owned.at, None)

    def count(self, committed: Mapping[StreamPartition, int]) -> None:
        """Offsets that were committed. Waits here, and with it everything before it, while the backlog is too long."""
        for at, offset in committed.items():
            self._saved.setdefault(at, offset)
            self._committed[at] = offset
        self.look()
        while self.is_away and self._backlog() > self._backlog_max and not self._stopping.wait(ASK_AGAIN_S):
            self._ask()

    def look(self) -> None:
        """Whether the store is back."""
        if self.is_away:
            self._ask()

    def stop(self) -> None:
        self._stopping.set()

    def _backlog(self) -> int:
        return sum(offset - self._saved[at] for at, offset in self._committed.items())

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
