"""The event clock of a partition: how far event time has come, and which jumps of it are believed.

A reading that would move the clock by more than `jump_ms` waits until a second series (or the third reading of the only
one) has come as far: one device an hour ahead must not make the whole partition late. What is believed then is the
event time that both have reached; a reading more than `jump_ms` ahead of it goes on waiting.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.compiled import address, phase_a

WAITING_MAX = 1000  # unconfirmed readings kept; older ones are given up and counted
READINGS_TO_CONFIRM = 3
BEFORE_ALL = np.iinfo(np.int64).min // 4


@dataclass(frozen=True)
class Arrived:
    """Readings in log order. `moves` are their timestamps as far as they move the clock; BEFORE_ALL: not at all."""

    index: IntArray  # int64 [n], columns
    timestamps_ms: IntArray  # int64 [n]
    values: FloatArray  # float64 [n]
    offsets: IntArray  # int64 [n]
    moves: IntArray  # int64 [n]


@dataclass(frozen=True)
class Placed:
    """Readings in the order in which they count. `newest_ms`: event time seen before the first of them, BEFORE_ALL
    while nothing has moved the clock."""

    index: IntArray  # int64 [n], columns
    timestamps_ms: IntArray  # int64 [n]
    values: FloatArray  # float64 [n]
    offsets: IntArray  # int64 [n]: of the reading, or of the one that confirmed it
    positions: IntArray | None  # int64 [n] in the poll's readings, -1: had to wait for another one; None: 0 … n - 1
    moves: IntArray  # int64 [n], as in Arrived
    newest_ms: int


@dataclass
class _Waiting:
    column: int
    timestamp_ms: int
    value: float


class EventClock:
    """State: `newest_ms` (None before the first reading) and the readings that wait for confirmation."""

    def __init__(self, jump_ms: int) -> None:
        self._jump_ms = jump_ms
        self.newest_ms: int | None = None
        self._waiting: list[_Waiting] = []
        self.given_up = 0

    def admit(self, arrived: Arrived, newcomers: set[int], known: int) -> Placed:
        """Put readings in the order in which they count.

        `known` series were there before, the columns `newcomers` appear with these readings.
        """
        first = BEFORE_ALL if self.newest_ms is None else self.newest_ms
        positions, moves = None, np.ascontiguousarray(arrived.moves)
        newest = phase_a.newest(len(moves), address(moves, np.int64), first, self._jump_ms)
        if self._waiting or newest == phase_a.JUMPED:
            rows = self._admit_one_by_one(arrived, newcomers, known)
            index, stamps, offsets, positions, moves = (
                np.array([row[i] for row in rows], np.int64) for i in (0, 1, 3, 4, 5)
            )
            arrived = Arrived(index, stamps, np.array([row[2] for row in rows], np.float64), offsets, moves)
            newest = max(first, int(moves.max(initial=BEFORE_ALL)))
        if newest > BEFORE_ALL:
            self.newest_ms = newest
        return Placed(
            arrived.index, arrived.timestamps_ms, arrived.values, arrived.offsets, positions, arrived.moves, first
        )

    def forget_column(self, column: int) -> None:
        """Its series was deleted."""
        self._waiting = [reading for reading in self._waiting if reading.column != column]

    def _admit_one_by_one(
        self, arrived: Arrived, newcomers: set[int], known: int
    ) -> list[tuple[int, int, float, int, int, int]]:
        """The rare path: (column, timestamp, value, offset, position, move) of the admitted readings, in order."""
        admitted: list[tuple[int, int, float, int, int, int]] = []
        newest = self.newest_ms
        for row in zip(
            arrived.index.tolist(),
            arrived.timestamps_ms.tolist(),
            arrived.values.tolist(),
            arrived.offsets.tolist(),
            range(len(arrived.index)),
            arrived.moves.tolist(),
            strict=True,
        ):
            column, timestamp, value, offset, position, move = row
            if column in newcomers:
                newcomers.discard(column)
                known += 1
            itself = _Waiting(column, timestamp, value)
            if newest is not None and move - newest > self._jump_ms:
                self._wait(itself)
                believed = self._confirmed(known)
            else:
                admitted.append(row)
                if move > BEFORE_ALL:
                    newest = move if newest is None else max(newest, move)
                believed = newest
            for w in self._release(believed):
                # Also if it came with this poll: nothing may depend on where polls are cut.
                at = position if w is itself else -1
                admitted.append((w.column, w.timestamp_ms, w.value, offset, at, w.timestamp_ms))
                newest = w.timestamp_ms if newest is None else max(newest, w.timestamp_ms)
        return admitted

    def _wait(self, reading: _Waiting) -> None:
        self._waiting.append(reading)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.pop(0)
            self.given_up += 1

    def _confirmed(self, series: int) -> int | None:
        """The event time that a second series, or the third reading of the only one, has reached; None if none has."""
        if series == 1:
            stamps = sorted(reading.timestamp_ms for reading in self._waiting)
            return stamps[-READINGS_TO_CONFIRM] if len(stamps) >= READINGS_TO_CONFIRM else None
        farthest: dict[int, int] = {}
        for reading in self._waiting:
            farthest[reading.column] = max(reading.timestamp_ms, farthest.get(reading.column, BEFORE_ALL))
        return sorted(farthest.values())[-2] if len(farthest) > 1 else None

    def _release(self, believed: int | None) -> list[_Waiting]:
        """The readings that need not wait once event time has reached `believed`, in the order of arrival."""
        if believed is None or not self._waiting:
            return []
        limit = believed + self._jump_ms
        released = [reading for reading in self._waiting if reading.timestamp_ms <= limit]
        if released:
            self._waiting = [reading for reading in self._waiting if reading.timestamp_ms > limit]
        return released

    # --- snapshot ---------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def snapshot(self) -> dict[str, object]:
        return {
            "newest_ms": self.newest_ms,
            "waiting": [[w.column, w.timestamp_ms, w.value] for w in self._waiting],
            "given_up": self.given_up,
        }

    def restore(self, snapshot: dict[str, object]) -> None:
        self.newest_ms = snapshot["newest_ms"]  # type: ignore[assignment]
        self._waiting = [_Waiting(c, t, v) for c, t, v in snapshot["waiting"]]  # type: ignore[attr-defined]
        self.given_up = snapshot["given_up"]  # type: ignore[assignment]
