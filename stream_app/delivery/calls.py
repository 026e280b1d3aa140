"""Calls on a producer, each with a deadline that really holds.

A call of the client can hang far beyond the timeout it was given (`send_offsets_to_transaction` after a broker died in
the middle of it, seen each time). So each call is made on a thread of its own, which is left behind if it hangs.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stream_app.delivery.failures import ProducerLost

GRACE_S = 2.0  # beyond the timeout that the call itself was given


@dataclass
class _Call:
    function: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class Calls:
    """One at a time. After `abandon`, the thread runs `last` when it gets to it, and ends."""

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, what: str, function: Callable[[], Any], timeout_s: float) -> Any:
        """Its result, or what it raised; ProducerLost when it hangs."""
        call = _Call(function)
        self._queue.put(call)
        if not call.done.wait(timeout_s + GRACE_S):
            raise ProducerLost(f"{what} hangs, {timeout_s + GRACE_S:g} s after it was asked for")
        if call.error is not None:
            raise call.error
        return call.result

    def abandon(self, last: Callable[[], Any]) -> None:
        """Whatever hangs there goes on hanging; nobody waits for it."""
        self._queue.put(_Call(last))
        self._queue.put(None)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call.result = call.function()
            except BaseException as error:  # noqa: BLE001 - handed to the one who asked
                call.error = error
            call.done.set()
            del call  # it holds the producer, which must be free to go
