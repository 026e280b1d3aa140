"""Decoded readings of one poll as columns in message order, before verdicts and before they part by partition.

Shared by all formats: a format fills a `PollColumns`, `verdicts.judge` decides about time, `by_partition` hands over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.readings import Readings
from stream_app.wire.decoded import LOG_APPEND_TIME, Message

Names = NDArray[Any]  # of Python's texts: numpy chooses among them as fast as among numbers
FEW = 8  # with fewer messages a run than this, each is asked for its offset


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
        return PollColumns(
            np.array(series_ids, object),
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
        """Readings that are neighbours."""
        return PollColumns(
            self.series_ids[cut], self.timestamps_ms[cut], self.values[cut], self.messages[cut], self.positions[cut]
        )

    def where(self, kept: BoolArray) -> "PollColumns":
        return self if kept.all() else self.take(np.flatnonzero(kept))


class Origins:
    """Where the m messages of a poll come from. They come in runs: neighbours of one partition, in log order."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self.partitions = np.fromiter(each("partition", messages), np.int64, len(messages))  # int64 [m]
        starts = [0, *(np.flatnonzero(self.partitions[1:] != self.partitions[:-1]) + 1).tolist()] if messages else []
        self.runs = list(zip(starts, [*starts[1:], len(messages)], strict=False))  # [first, end) of each, in order

    @cached_property
    def offsets(self) -> IntArray:
        """int64 [m]. Asked of the ends of a run; of those between only where the log has gaps."""
        count = len(self._messages)
        if len(self.runs) * FEW > count:
            return np.fromiter(each("offset", self._messages), np.int64, count)
        offsets = np.empty(count, np.int64)
        for start, end in self.runs:
            first, last = self._messages[start].offset(), self._messages[end - 1].offset()
            if last - first == end - 1 - start:  # they rise, so there is no other way to get from one to the other
                offsets[start:end] = np.arange(first, last + 1)
            else:
                offsets[start:end] = list(each("offset", self._messages[start:end]))
        return offsets

    @cached_property
    def record_ms(self) -> IntArray:
        """int64 [m], Kafka's timestamp."""
        return np.fromiter(map(itemgetter(1), each("timestamp", self._messages)), np.int64, len(self._messages))

    @cached_property
    def log_append(self) -> BoolArray | None:
        """bool [m], whether the broker's clock wrote it; None when it wrote none.

        Whose clock it is belongs to the topic, so the ends of a run speak for those between: a timestamp is the dearest
        thing to ask of a message.
        """
        ends = [self._messages[place] for start, end in self.runs for place in (start, end - 1)]
        if LOG_APPEND_TIME not in {kind for kind, _ in each("timestamp", ends)}:
            return None
        return np.array([kind == LOG_APPEND_TIME for kind, _ in each("timestamp", self._messages)])

    def part(self, messages: IntArray) -> list[tuple[int, slice | IntArray]]:
        """(partition, where in `messages` those of it are, in log order), by partition; indices that never decrease."""
        partitions = self.partitions[[start for start, _ in self.runs]]
        order = np.argsort(partitions)
        if len(set(partitions.tolist())) == len(self.runs):
            # one run each: what comes from a partition are neighbours
            borders = np.searchsorted(messages, np.array(self.runs)[order]).tolist()
            return [(at, slice(*border)) for at, border in zip(partitions[order].tolist(), borders, strict=True)]
        of_each = self.partitions[messages]
        places = np.argsort(of_each, kind="stable")
        found = np.unique(partitions)
        first = np.searchsorted(of_each[places], found)
        return list(zip(found.tolist(), np.split(places, first[1:]), strict=True))


def each(method: str, messages: Sequence[Message]) -> Iterator[Any]:
    """What the method says of each message; mapping the type's own is the cheapest call that Python has."""
    return map(getattr(type(messages[0]), method), messages) if messages else iter(())


def by_partition(
    columns: PollColumns, origins: Origins, deletions: dict[int, list[tuple[int, str]]]
) -> dict[int, Readings]:
    """Part the columns by partition; within each they stay in log order. `deletions`: partition → (offset, series)."""
    readings: dict[int, Readings] = {}
    for partition, where in origins.part(columns.messages):
        part = columns.part(where) if isinstance(where, slice) else columns.take(where)
        if len(part):
            gone = tuple(deletions.pop(partition, ()))
            offsets = origins.offsets[part.messages]
            readings[partition] = Readings(part.series_ids.tolist(), part.timestamps_ms, part.values, offsets, gone)
    for partition, gone_alone in deletions.items():
        readings[partition] = replace(Readings.empty(), deletions=tuple(gone_alone))
    return readings
