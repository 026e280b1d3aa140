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
        self._silent_since: dict[StreamPartition, float] = {}  # of partitions at their end, not yet reported

    def note(
        self, next_offsets: Mapping[StreamPartition, int], ended: Iterable[StreamPartition], now: float
    ) -> dict[StreamPartition, int]:
        """Positions after a turn; returns those that moved."""
        moved = {at: offset for at, offset in next_offsets.items() if self._next_offsets.get(at) != offset}
        self._next_offsets.update(moved)
        for at in moved:
            self._silent_since.pop(at, None)
        for at in ended:
            if at.stream in self._timeouts_s and at in self._next_offsets:
                self._silent_since[at] = now
        return moved

    def idle(self, is_at_end: Callable[[StreamPartition, int], bool], now: float) -> frozenset[StreamPartition]:
        """`is_at_end(partition, next_offset)` is asked only when the time has come."""
        due = [at for at, since in self._silent_since.items() if now - since >= self._timeouts_s[at.stream]]
        idle = []
        for at in due:
            if is_at_end(at, self._next_offsets[at]):
                del self._silent_since[at]
                idle.append(at)
            else:
                self._silent_since[at] = now - self._timeouts_s[at.stream] + ASK_AGAIN_S
        return frozenset(idle)

    def forget(self, partitions: Iterable[StreamPartition]) -> None:
        """Start afresh for partitions that were assigned."""
        for at in partitions:
            self._next_offsets.pop(at, None)
            self._silent_since.pop(at, None)
