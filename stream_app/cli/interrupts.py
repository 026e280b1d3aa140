"""Ctrl-C at any moment of a command: exit code 130, no traceback.

While a command works, Ctrl-C raises KeyboardInterrupt, and the command ends in order. Before that, while modules are
being imported, and after it, while the interpreter shuts down, there is nothing to end in order, and an exception in
one of the many callbacks would only be printed: then the process just ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

INTERRUPTED = 130  # exit code: 128 + SIGINT
AGAIN_S = 0.01


def leave_at_once() -> None:
    """From now on. What ignores Ctrl-C, as a shell has it of what runs in the background, goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
        sys.unraisablehook = _not_lost


@contextmanager
def in_order() -> Iterator[None]:
    """While entered, Ctrl-C is a KeyboardInterrupt again; of a process that is not ours nothing changes."""
    ours = signal.getsignal(signal.SIGINT) is _leave
    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: Any) -> None:
    for said in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or in the middle of a write
            said.flush()
    os._exit(INTERRUPTED)


def _not_lost(ignored: sys.UnraisableHookArgs) -> None:
    """A KeyboardInterrupt that came in a callback, where nobody can catch it, comes again."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    # A signal, since only that ends a wait; to the main thread, which alone answers it.
    again = threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()
