"""Whether fetched messages are handed over now, or first grow into a larger poll batch. The cost of a small batch
depends on its partitions, not on its messages.

A batch grows while another one is being processed, and while the outputs it leads to would wait anyway: those of a
transaction leave with its cut. The numbers of handed-over and handled batches are each counted by one thread; time
comes in as an argument.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

SMALL_BATCH = 1_000  # messages: up to about so many a batch costs by its partitions
SHARE_OF_INTERVAL = 0.3  # of transaction_interval: what is read later is hardly processed before the cut


class BatchGrowth:
    """`leaves_at`: until when outputs wait in the pipeline anyway (time.monotonic())."""

    def __init__(self, transaction_interval_ms: int, leaves_at: Callable[[], float]) -> None:
        self._longest_s = SHARE_OF_INTERVAL * transaction_interval_ms / 1000
        self._leaves_at = leaves_at
        self._handed_over = self._handled = 0
        self._end = threading.Event()
        self._since: float | None = None  # when the batch in hand was small enough to wait for the first time

    def handed_over(self) -> None:
        """Poll thread."""
        self._handed_over += 1
        self._since = None

    def handled(self) -> None:
        """Pipeline's thread."""
        self._handled += 1
        self._end.set()

    def await_end(self, timeout_s: float) -> bool:
        """Poll thread: while a batch is under way it waits for the end of one, so long at most. False: none is."""
        if self._handed_over == self._handled:
            return False
        self._end.clear()
        if self._handed_over != self._handled:  # still, or else nobody would wake it
            self._end.wait(timeout_s)
        return True

    @property
    def until(self) -> float:
        """Until when a batch may wait for a cut (time.monotonic())."""
        if self._since is None or self._handed_over != self._handled:
            return float("inf")
        return min(self._leaves_at(), self._since + self._longest_s)

    def should_grow(self, messages: int, now: float) -> bool:
        """Whether a batch of so many messages, which is not full, is kept back. Behind one that waits any batch is."""
        under_way, is_small = self._handed_over - self._handled, messages < SMALL_BATCH
        if under_way > 1 or (under_way and is_small):
            return True
        if not messages or not is_small:
            self._since = None
            return False
        self._since = now if self._since is None else self._since
        return now < self.until
