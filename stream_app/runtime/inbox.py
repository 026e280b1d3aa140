"""The bounded queue in front of a thread: a sender waits while it is full, but only as long as the thread lives."""

from __future__ import annotations

import queue
import threading
from typing import Generic, TypeVar

PUT_WAIT_S = 0.2  # until it is looked whether the thread has failed meanwhile
Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """`put` and `close` are for those who send, `take` and `fail` for the thread."""

    def __init__(self, items_max: int) -> None:
        self._queue: queue.Queue[Item | None] = queue.Queue(items_max)
        self._failed = threading.Event()

    def put(self, item: Item) -> bool:
        """Waits for room. False: the thread has failed."""
        while not self._failed.is_set():
            try:
                self._queue.put(item, timeout=PUT_WAIT_S)
                return True
            except queue.Full:
                continue
        return False

    def close(self, timeout_s: float) -> bool:
        """No more items will come. False: there was no room for so long."""
        try:
            self._queue.put(None, timeout=timeout_s)
            return True
        except queue.Full:
            return False

    def take(self, timeout_s: float) -> Item | None:
        """The next item; None if no more will come. Raises queue.Empty if none came in time."""
        return self._queue.get(timeout=timeout_s)

    def fail(self) -> None:
        """The thread takes nothing more, so nobody must wait for it."""
        self._failed.set()
