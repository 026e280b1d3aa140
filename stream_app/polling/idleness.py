"""Which partitions are at their end and have had no reading for the stream's `idle_timeout` of wall clock.

Time comes in as an argument (time.monotonic()).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from model_core.spec import StreamSpec
from stream_app.partitions.names import StreamPartition

ASK_AGAIN_S = 1.0  # after a broker that did not answer, or had more


class Idleness:
    """Used by the poll thread only. Each silence is reported once."""

    def __init__(self, streams: Mapping[str, StreamSpec]) -> None:
        self._timeouts_s = {
            stream: spec.idle_timeout / 1000 for stream, spec in streams.items() if spec.idle_timeout is not None
        }
        self._next_offsets: dict[StreamPartition, int] = {}
        self._ends: dict[StreamPartition, int] = {}  # as the client found them, also where nothing was read
        self._silent_since: dict[StreamPartition, float] = {}  # of partitions at their end, not yet reported

    def note(
        self, next_offsets: Mapping[StreamPartition, int], ended: Mapping[StreamPartition, int], now: float
    ) -> dict[StreamPartition, int]:
        """Positions after a turn, and ends that were reached in it; returns the positions that moved."""
        moved = {at: offset for at, offset in next_offsets.items() if self._next_offsets.get(at) != offset}
        self._next_offsets.update(moved)
        for at in moved:
            self._silent_since.pop(at, None)
        for at, end in ended.items():
            if at.stream in self._timeouts_s:
                self._ends[at], self._silent_since[at] = end, now
        return moved

    def idle(self, is_at_end: Callable[[StreamPartition, int], bool], now: float) -> frozenset[StreamPartition]:
        """`is_at_end(partition, end)`, whether nothing follows, is asked only when the time has come."""
        due = [at for at, since in self._silent_since.items() if now - since >= self._timeouts_s[at.stream]]
        idle = []
        for at in due:
            if is_at_end(at, self._ends[at]):
                del self._silent_since[at]
                idle.append(at)
            else:
                self._silent_since[at] = now - self._timeouts_s[at.stream] + ASK_AGAIN_S
        return frozenset(idle)

    def forget(self, partitions: Iterable[StreamPartition]) -> None:
        """Start afresh for partitions that were assigned."""
        for at in partitions:
            self._next_offsets.pop(at, None)
            self._ends.pop(at, None)
            self._silent_since.pop(at, None)
