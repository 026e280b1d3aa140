"""Records on their way out, as columns: there is no Python object for a single record up to Kafka's client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from model_core.arrays import IntArray

Record = tuple[bytes, bytes | None]  # (key, value); None: a tombstone


class TextColumn(NamedTuple):
    """Texts one after another, and where each ends: uint8 [bytes], int64 [n]."""

    data: NDArray[np.uint8]
    ends: IntArray  # int64 [n]

    @staticmethod
    def of(texts: Sequence[bytes]) -> TextColumn:
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        return TextColumn(np.frombuffer(b"".join(texts), np.uint8), ends)

    @staticmethod
    def concatenate(columns: Sequence[TextColumn]) -> TextColumn:
        ends = [column.ends for column in columns]
        starts = np.cumsum([0, *(len(column.data) for column in columns)]).tolist()
        moved = [each + start for each, start in zip(ends, starts, strict=False)]
        return TextColumn(np.concatenate([column.data for column in columns]), np.concatenate(moved))

    def part(self, first: int, end: int) -> TextColumn:
        start = int(self.ends[first - 1]) if first else 0
        stop = int(self.ends[end - 1]) if end else 0
        return TextColumn(self.data[start:stop], self.ends[first:end] - start)

    def texts(self) -> list[bytes]:
        stops = self.ends.tolist()
        text = self.data.tobytes()
        return [text[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


@dataclass(frozen=True, eq=False)
class Records(Sequence[Record]):
    """n records of one topic, in the order in which they were made."""

    keys: TextColumn
    values: TextColumn
    tombstones: NDArray[np.int8] | None = None  # int8 [n], 1 where there is no value; None: nowhere

    @staticmethod
    def of(pairs: Sequence[Record]) -> Records:
        gone = np.array([value is None for _, value in pairs], np.int8)
        return Records(
            TextColumn.of([key for key, _ in pairs]),
            TextColumn.of([value or b"" for _, value in pairs]),
            gone if gone.any() else None,
        )

    @staticmethod
    def concatenate(parts: Sequence[Records]) -> Records:
        parts = [part for part in parts if len(part)]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Records.of([])
        gone = None
        if any(part.tombstones is not None for part in parts):
            each = [np.zeros(len(part), np.int8) if part.tombstones is None else part.tombstones for part in parts]
            gone = np.concatenate(each)
        keys, values = ([getattr(part, name) for part in parts] for name in ("keys", "values"))
        return Records(TextColumn.concatenate(keys), TextColumn.concatenate(values), gone)

    def part(self, first: int, end: int) -> Records:
        gone = None if self.tombstones is None else self.tombstones[first:end]
        return Records(self.keys.part(first, end), self.values.part(first, end), gone)

    @property
    def size_bytes(self) -> int:
        """Of keys and values."""
        return len(self.keys.data) + len(self.values.data)

    def __len__(self) -> int:
        return len(self.keys.ends)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Record]:
        gone = [0] * len(self) if self.tombstones is None else self.tombstones.tolist()
        for key, value, is_gone in zip(self.keys.texts(), self.values.texts(), gone, strict=True):
            yield key, None if is_gone else value
