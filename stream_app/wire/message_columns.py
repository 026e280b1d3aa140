"""Kafka messages of one topic as columns: decoding works on them, whoever fetched them.

The worker's messages come from C (kafka/fetch_queue.py) and never become Python objects, unless somebody looks at a
single one and gets a `MessageRow`. Messages of confluent-kafka's own consumer become the same columns by `of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from model_core.arrays import BoolArray, IntArray
from stream_app.wire.decoded import LOG_APPEND_TIME, Headers, Message

Bytes = NDArray[np.uint8]
NONE = -1  # bytes of a value or key that is not there, as in fetched.c
_PARTITION, _OFFSET, _VALUE_END, _VALUE_BYTES, _KEY_END, _KEY_BYTES, _RECORD_MS, _RECORD_KIND, _HEADER_END = range(9)
COLUMNS = 9


class Texts(NamedTuple):
    """The bytes that the columns point into. Values are separated by newlines, and a zero byte follows the last one."""

    values: Bytes
    keys: Bytes
    headers: Bytes  # each: bytes of its name and of its value as two int64, its name, its value


def of_bytes(text: bytes) -> Bytes:
    return np.frombuffer(text, np.uint8)


def of_lines(lines: bytes) -> Bytes:
    """Values as in MessageColumns.joined, from values with a newline between them."""
    return of_bytes(lines + b"\0")


@dataclass(frozen=True, eq=False)
class MessageColumns(Sequence[Message]):
    """m messages of a topic in the order of the poll; those of a partition are in log order."""

    topic: str
    block: IntArray  # int64 [COLUMNS, m]
    texts: Texts
    header_starts: IntArray | None = None  # int64 [m]; None: each message's begin where those of the one before end
    is_whole: bool = True  # the values are all that is in their text, one behind the other

    @staticmethod
    def of(messages: Sequence[Message]) -> MessageColumns:
        """Columns of messages that are Python objects already."""
        if isinstance(messages, MessageColumns):
            return messages
        count = len(messages)
        block = np.empty((COLUMNS, count), np.int64)
        values = [message.value() for message in messages]
        keys = [message.key() for message in messages]
        headers = [_packed(message.headers()) for message in messages]
        if count:
            block[_PARTITION] = [message.partition() for message in messages]
            block[_OFFSET] = [message.offset() for message in messages]
            block[_RECORD_KIND], block[_RECORD_MS] = np.array([message.timestamp() for message in messages]).T
        for row, texts in ((_VALUE_BYTES, values), (_KEY_BYTES, keys)):
            block[row] = [NONE if text is None else len(text) for text in texts]
        block[_VALUE_END] = np.cumsum(np.maximum(block[_VALUE_BYTES], 0) + 1) - 1
        block[_KEY_END] = np.cumsum(np.maximum(block[_KEY_BYTES], 0))
        block[_HEADER_END] = list(accumulate(map(len, headers)))
        joined = b"\n".join(value or b"" for value in values) + b"\0"
        texts_ = Texts(of_bytes(joined), of_bytes(b"".join(key or b"" for key in keys)), of_bytes(b"".join(headers)))
        return MessageColumns(messages[0].topic() if count else "", block, texts_)

    @staticmethod
    def concatenate(parts: Sequence[MessageColumns]) -> MessageColumns:
        """The messages of one topic, one part after another; at least one part."""
        if len(parts) == 1:
            return parts[0]
        blocks, values, keys, headers, starts = [], [], [], [], []
        at = [0, 0, 0]
        for number, part in enumerate(parts):
            block = part.block.copy()
            for place, row in enumerate((_VALUE_END, _KEY_END, _HEADER_END)):
                block[row] += at[place]
            starts.append(part._header_starts + at[2])
            blocks.append(block)
            text = part.texts.values
            if number + 1 < len(parts):
                text = text.copy()
                text[-1] = ord("\n")
            values.append(text)
            keys.append(part.texts.keys)
            headers.append(part.texts.headers)
            at = [at[0] + len(text), at[1] + len(keys[-1]), at[2] + len(headers[-1])]
        return MessageColumns(
            parts[0].topic,
            np.concatenate(blocks, axis=1),
            Texts(np.concatenate(values), np.concatenate(keys), np.concatenate(headers)),
            np.concatenate(starts),
            all(part.is_whole and len(part) for part in parts),
        )

    def where(self, kept: BoolArray) -> MessageColumns:
        """The kept messages: bool [m]."""
        return self if kept.all() else self.take(np.flatnonzero(kept))

    def take(self, index: IntArray) -> MessageColumns:
        """The messages at these places, in this order."""
        return MessageColumns(self.topic, self.block[:, index], self.texts, self._header_starts[index], is_whole=False)

    def in_log_order(self) -> MessageColumns:
        """The messages by partition, each once."""
        order = np.lexsort((self.offsets, self.partitions))
        places = self.block[[_PARTITION, _OFFSET]][:, order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (places[:, 1:] != places[:, :-1]).any(axis=0)
        return self.take(order[first])

    # --- columns ---

    @property
    def partitions(self) -> IntArray:
        """int64 [m]"""
        return self.block[_PARTITION]

    @property
    def offsets(self) -> IntArray:
        """int64 [m]"""
        return self.block[_OFFSET]

    @property
    def record_ms(self) -> IntArray:
        """int64 [m], Kafka's timestamp."""
        return self.block[_RECORD_MS]

    @cached_property
    def log_append(self) -> BoolArray | None:
        """bool [m], whether the broker's clock wrote it; None when it wrote none."""
        wrote = self.block[_RECORD_KIND] == LOG_APPEND_TIME
        return wrote if wrote.any() else None

    @property
    def value_bytes(self) -> IntArray:
        """int64 [m]; NONE: it has no value."""
        return self.block[_VALUE_BYTES]

    @property
    def value_ends(self) -> IntArray:
        """int64 [m]: where each ends in `texts.values`."""
        return self.block[_VALUE_END]

    @property
    def key_bytes(self) -> IntArray:
        """int64 [m]; NONE: it has no key."""
        return self.block[_KEY_BYTES]

    @cached_property
    def values(self) -> list[bytes | None]:
        return _cut(self.texts.values, self.block[_VALUE_END], self.value_bytes)

    @cached_property
    def keys(self) -> list[bytes | None]:
        return _cut(self.texts.keys, self.block[_KEY_END], self.key_bytes)

    @property
    def joined(self) -> Bytes | None:
        """All values with a newline between each two, and a zero byte behind them; None where they do not lie so, or
        one has none."""
        return self.texts.values if self.is_whole and len(self) and self.value_bytes.min() >= 0 else None

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """[first, end) of consecutive messages of one partition, in order."""
        if not len(self):
            return []
        starts = [0, *(np.flatnonzero(self.partitions[1:] != self.partitions[:-1]) + 1).tolist()]
        return list(zip(starts, [*starts[1:], len(self)], strict=True))

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
        found = sorted(set(partitions.tolist()))
        first = np.searchsorted(of_each[places], found)
        return list(zip(found, np.split(places, first[1:]), strict=True))

    # --- one by one ---

    def __len__(self) -> int:
        return self.block.shape[1]

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> MessageColumns: ...
    def __getitem__(self, index: int | slice) -> Message | MessageColumns:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return MessageRow(self, range(len(self))[index])

    def __iter__(self) -> Iterator[Message]:
        return (MessageRow(self, row) for row in range(len(self)))

    def headers(self, row: int) -> Headers | None:
        start, end = int(self._header_starts[row]), int(self.block[_HEADER_END, row])
        return _unpacked(self.texts.headers[start:end].tobytes()) if end > start else None

    def row_of_header(self, at: int) -> int | None:
        """Whose header the byte at this place of `texts.headers` belongs to; None: that of none of these messages."""
        rows = np.flatnonzero((self._header_starts <= at) & (at < self.block[_HEADER_END]))
        return int(rows[0]) if len(rows) else None

    @property
    def _header_starts(self) -> IntArray:
        if self.header_starts is not None:
            return self.header_starts
        ends = self.block[_HEADER_END]
        return np.concatenate([[0], ends[:-1]]) if len(ends) else ends


class MessageRow:
    """One message, with the methods of confluent_kafka.Message that decoding uses."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: MessageColumns, row: int) -> None:
        self._columns, self._row = columns, row

    def value(self) -> bytes | None:
        columns, row = self._columns, slice(self._row, self._row + 1)
        return _cut(columns.texts.values, columns.block[_VALUE_END, row], columns.value_bytes[row])[0]

    def key(self) -> bytes | None:
        columns, row = self._columns, slice(self._row, self._row + 1)
        return _cut(columns.texts.keys, columns.block[_KEY_END, row], columns.key_bytes[row])[0]

    def topic(self) -> str:
        return self._columns.topic

    def partition(self) -> int:
        return int(self._columns.partitions[self._row])

    def offset(self) -> int:
        return int(self._columns.offsets[self._row])

    def timestamp(self) -> tuple[int, int]:
        kind, at = self._columns.block[[_RECORD_KIND, _RECORD_MS], self._row].tolist()
        return kind, at

    def headers(self) -> Headers | None:
        return self._columns.headers(self._row)


def _cut(text: Bytes, ends: IntArray, sizes: IntArray) -> list[bytes | None]:
    view = memoryview(text.data)
    return [
        None if size < 0 else view[end - size : end].tobytes()
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
    ]


def _packed(headers: Headers | None) -> bytes:
    parts = []
    for name, value in headers or ():
        named = name.encode()
        parts += [np.array([len(named), NONE if value is None else len(value)]).tobytes(), named, value or b""]
    return b"".join(parts)


def _unpacked(packed: bytes) -> Headers:
    headers: Headers = []
    at = 0
    while at < len(packed):
        name_bytes, value_bytes = np.frombuffer(packed, np.int64, 2, at).tolist()
        value_at = at + 16 + name_bytes
        at = value_at + max(value_bytes, 0)
        value = None if value_bytes < 0 else packed[value_at:at]
        headers.append((packed[value_at - name_bytes : value_at].decode(errors="replace"), value))
    return headers
