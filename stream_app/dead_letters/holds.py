"""Partitions that are held for a person: the worker that holds one says so in Redis, and `tidecast dead-letters accept`
answers there.

A hold is not part of the state: it ends with the assignment, and its keys in Redis expire. While Redis is away a person
cannot answer; nothing has to be mended after it was emptied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import redis.exceptions
import structlog

from stream_app.checkpoints.commands import PartitionKeys
from stream_app.partitions.names import StreamPartition
from stream_app.runtime.watching import Watcher

if TYPE_CHECKING:
    from stream_app.settings import Settings

LOOK_S = 1.0
EXPIRES_S = 30  # a worker that is gone holds nothing
ACCEPTED = b"accepted"
log = structlog.get_logger(__name__)


class Holds:
    """The holds in Redis. RedisError is passed on."""

    def __init__(self, client: Any, application_id: str) -> None:
        self._client = client
        self._application_id = application_id

    def renew(self, at: StreamPartition, reason: str) -> bool:
        """Say for a while longer that it is held. True: a person has accepted it meanwhile, and the hold is gone."""
        answered = self._client.set(self._key(at), reason, ex=EXPIRES_S, get=True) == ACCEPTED
        if answered:
            self._client.delete(self._key(at))
        return answered

    def reason(self, at: StreamPartition) -> str | None:
        """Why it is held; None if it is not held, or has been accepted."""
        found = self._client.get(self._key(at))
        return None if found in (None, ACCEPTED) else found.decode()

    def accept(self, at: StreamPartition) -> None:
        """Nothing happens when it is not held."""
        self._client.set(self._key(at), ACCEPTED, xx=True, keepttl=True)

    def is_answered(self, at: StreamPartition) -> bool:
        """A worker has taken the answer up."""
        return self._client.get(self._key(at)) != ACCEPTED

    def _key(self, at: StreamPartition) -> str:
        return PartitionKeys(self._client, self._application_id, at.stream, at.partition).name("held")


class HoldWatcher(Watcher):
    """A thread of the worker. `held` returns what is held now, and why; `accept` lets a partition be read on."""

    def __init__(
        self,
        settings: Settings,
        client: Any,
        held: Callable[[], Mapping[StreamPartition, str]],
        accept: Callable[[StreamPartition], None],
    ) -> None:
        super().__init__("hold-watcher", LOOK_S)
        self._holds = Holds(client, settings.application_id)
        self._held = held
        self._accept = accept

    def look(self) -> None:
        for at, reason in self._held().items():
            try:
                if self._holds.renew(at, reason):
                    self._accept(at)
            except redis.exceptions.RedisError as error:
                log.warning("a hold cannot be said or answered", partition=str(at), reason=str(error))
