"""Decoded readings of one poll as columns in message order, before verdicts and before they part by partition.

Shared by all formats: a format fills a `PollColumns`, `verdicts.judge` decides about time, `by_partition` hands over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.readings import Readings
from stream_app.wire.decoded import LOG_APPEND_TIME, Message


@dataclass(frozen=True)
class PollColumns:
    """n readings. `messages[i]` is the index in the poll of the message that reading i came in."""

    series_ids: list[str]  # [n]
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
        return PollColumns(
            series_ids,
            np.array(timestamps_ms, np.int64),
            np.array(values, np.float64),
            np.array(messages, np.int64),
            np.array(positions, np.int64),
        )

    @staticmethod
    def concatenate(parts: "list[PollColumns]") -> "PollColumns":
        """Parts in message order, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return PollColumns.of([], [], [], [], [])
        return PollColumns(
            [series_id for part in parts for series_id in part.series_ids],
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("timestamps_ms", "values", "messages", "positions")
            ),
        )

    def take(self, index: IntArray) -> "PollColumns":
        """The readings at these places, in this order."""
        if len(index) == 0:
            return PollColumns.of([], [], [], [], [])
        chosen = itemgetter(*index.tolist())(self.series_ids)
        return PollColumns(
            list(chosen) if len(index) > 1 else [chosen],
            self.timestamps_ms[index],
            self.values[index],
            self.messages[index],
            self.positions[index],
        )

    def where(self, kept: BoolArray) -> "PollColumns":
        return self if kept.all() else self.take(np.flatnonzero(kept))


class Origins:
    """Where the m messages of a poll come from, one row a message."""

    partitions: IntArray  # int64 [m]
    offsets: IntArray  # int64 [m]

    def __init__(self, messages: Sequence[Message]) -> None:
        count = len(messages)
        self.partitions = np.fromiter([message.partition() for message in messages], np.int64, count)
        self.offsets = np.fromiter([message.offset() for message in messages], np.int64, count)
        self._stamps = [message.timestamp() for message in messages]

    @cached_property
    def record_ms(self) -> IntArray:
        """int64 [m], Kafka's timestamp."""
        return np.fromiter(map(itemgetter(1), self._stamps), np.int64, len(self._stamps))

    @cached_property
    def log_append(self) -> BoolArray | None:
        """bool [m], whether the broker's clock wrote it; None when it wrote none."""
        kinds = map(itemgetter(0), self._stamps)
        if LOG_APPEND_TIME not in set(kinds):
            return None
        return np.array([kind == LOG_APPEND_TIME for kind, _ in self._stamps])


def by_partition(
    columns: PollColumns, origins: Origins, deletions: dict[int, list[tuple[int, str]]]
) -> dict[int, Readings]:
    """Part the columns by partition; within each they stay in log order. `deletions`: partition → (offset, series)."""
    partitions = origins.partitions[columns.messages]
    offsets = origins.offsets[columns.messages]
    if len(columns) and (partitions != partitions[0]).any():
        order = np.argsort(partitions, kind="stable")
        columns, partitions, offsets = columns.take(order), partitions[order], offsets[order]
    found, first = np.unique(partitions, return_index=True)
    bounds = [*first.tolist(), len(columns)]
    readings: dict[int, Readings] = {}
    for position, partition in enumerate(found.tolist()):
        part = slice(bounds[position], bounds[position + 1])
        readings[partition] = Readings(
            columns.series_ids[part],
            columns.timestamps_ms[part],
            columns.values[part],
            offsets[part],
            tuple(deletions.pop(partition, ())),
        )
    for partition, gone in deletions.items():
        empty = Readings.empty()
        readings[partition] = Readings(empty.series_ids, empty.timestamps_ms, empty.values, empty.offsets, tuple(gone))
    return readings
