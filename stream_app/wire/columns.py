"""Decoded readings of one poll as columns in message order, before verdicts, and before they are split by partition.

Shared by all formats: a format fills a `PollColumns`, `verdicts.judge` decides about time, `by_partition` hands over.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.readings import Readings
from stream_app.wire.message_columns import MessageColumns

Names = NDArray[Any]  # of Python's texts: numpy chooses among them as fast as among numbers


@dataclass(frozen=True)
class PollColumns:
    """n readings. `messages[i]` is the index in the poll of the message that reading i came in."""

    series_ids: Names  # str [n]
    timestamps_ms: IntArray  # int64 [n]
    values: FloatArray  # float64 [n], finite
    messages: IntArray  # int64 [n], never decreasing
    positions: IntArray  # int64 [n], within its message

    def __len__(self) -> int:
        return len(self.series_ids)

    @staticmethod
    def of(
        series_ids: list[str],
        timestamps_ms: list[int],
        values: list[float],
        messages: list[int],
        positions: list[int],
    ) -> "PollColumns":
        """Columns of parallel lists, in message order."""
        return PollColumns(
            np.array(series_ids, object),
            np.array(timestamps_ms, np.int64),
            np.array(values, np.float64),
            np.array(messages, np.int64),
            np.array(positions, np.int64),
        )

    @staticmethod
    def concatenate(parts: "list[PollColumns]") -> "PollColumns":
        """The columns of parts in message order, one after another."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return PollColumns.of([], [], [], [], [])
        return PollColumns(
            *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(PollColumns))
        )

    def take(self, index: IntArray) -> "PollColumns":
        """The readings at these places, in this order."""
        return PollColumns(
            self.series_ids[index],
            self.timestamps_ms[index],
            self.values[index],
            self.messages[index],
            self.positions[index],
        )

    def part(self, cut: slice) -> "PollColumns":
        """A part of consecutive readings."""
        return PollColumns(
            self.series_ids[cut], self.timestamps_ms[cut], self.values[cut], self.messages[cut], self.positions[cut]
        )

    def where(self, kept: BoolArray) -> "PollColumns":
        return self if kept.all() else self.take(np.flatnonzero(kept))


def by_partition(
    columns: PollColumns, messages: MessageColumns, deletions: dict[int, list[tuple[int, str]]]
) -> dict[int, Readings]:
    """Split the columns by partition, each in log order. `deletions`: partition → (offset, series)."""
    readings: dict[int, Readings] = {}
    for partition, where in messages.part(columns.messages):
        part = columns.part(where) if isinstance(where, slice) else columns.take(where)
        if len(part):
            gone = tuple(deletions.pop(partition, ()))
            offsets = messages.offsets[part.messages]
            readings[partition] = Readings(part.series_ids.tolist(), part.timestamps_ms, part.values, offsets, gone)
    for partition, gone_alone in deletions.items():
        readings[partition] = replace(Readings.empty(), deletions=tuple(gone_alone))
    return readings
