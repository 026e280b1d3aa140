"""Rewinds: what is in memory is discarded, and every partition goes on from its checkpoint and its committed offset.

Three threads take part, and this is how they agree. Any thread asks for a rewind. The publisher makes sure that no
earlier transaction can still be committed, and says so. Then the poll thread restores the partitions, and the pipeline,
told through the channel, marks whatever it makes from then on with the new number. What carries an older number is
dropped.
"""

from __future__ import annotations

import threading


class Rewinds:
    """`number` of rewinds asked for so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = self._clear = self._done = 0
        self._reason = ""

    @property
    def number(self) -> int:
        return self._asked

    @property
    def reason(self) -> str:
        return self._reason

    def ask(self, reason: str) -> int:
        """From any thread."""
        with self._lock:
            self._asked += 1
            self._reason = reason
            return self._asked

    @property
    def is_asked(self) -> bool:
        """One is asked for and not done yet."""
        return self._done < self._asked

    @property
    def needs_clearing(self) -> bool:
        """For the publisher: transactions of before may still count."""
        return self._clear < self._asked

    def clear(self, number: int) -> None:
        """The publisher: whatever was under way when `number` was asked for is committed or aborted by now."""
        with self._lock:
            self._clear = max(self._clear, number)

    def take(self) -> int | None:
        """The poll thread: the number to rewind to; None while there is nothing to do, or it is too early."""
        with self._lock:
            if not self.is_asked or self._clear < self._asked:
                return None
            self._done = self._asked
            return self._asked
