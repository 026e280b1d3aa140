"""Gives free memory back to the system: glibc keeps an arena for each thread, with whatever was freed in it.

A tick with forecasts for every series takes hundreds of megabytes for a second. Without glibc nothing happens here.
"""

from __future__ import annotations

import ctypes

ARENAS_MAX = 2
PAUSE_S = 1.0  # without messages: then it is time
_M_ARENA_MAX = -8  # of <malloc.h>


def few_arenas() -> None:
    """Before threads are started: let them share arenas, so that memory freed by one can be used by another."""
    if (mallopt := _of_libc("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)


class IdleTrim:
    """Gives free memory back once in each pause; under load it would be needed again at once."""

    def __init__(self) -> None:
        self._trim = _of_libc("malloc_trim")
        self._due_at: float | None = None

    def turn(self, now: float, *, worked: bool) -> None:
        """Called in each turn (`now`: time.monotonic()); `worked`: this turn had messages."""
        if worked:
            self._due_at = now + PAUSE_S
        elif self._due_at is not None and now >= self._due_at:
            self._due_at = None
            if self._trim is not None:
                self._trim(0)


def _of_libc(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None)[name]
    except (AttributeError, OSError):
        return None
