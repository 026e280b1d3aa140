"""The most common JSON messages to columns, by a loop in C: flat objects of one reading, or of a pack.

All or nothing: if a message is unusual in any way (escapes, text beyond ASCII, a time that is neither a whole number
nor plain RFC 3339, a missing member, …) the answer is None, and json_batch.py takes the messages. Its result would be
the same for whatever is taken here. Series ids are looked up among those seen before, not made again for each reading.
"""

import ctypes
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from model_core.compiled import address
from model_core.spec import FieldMapping
from stream_app.wire import compiled
from stream_app.wire.columns import PollColumns
from stream_app.wire.message_columns import Bytes
from stream_app.wire.numbered_texts import NumberedTexts
from stream_app.wire.timestamps import bounds_and_scale

_LEAST_BYTES = 6  # of a reading in a pack: "a":1,
_WITH_LOCK = 64  # reading so few messages is over before another thread woke up
_NO_ROOM = -2  # as in names.h
_FIELDS = ("series_id", "entity", "timestamp", "value", "values")
_ADDRESS, _INT = ctypes.c_void_p, ctypes.c_int64


class _Shape(ctypes.Structure):
    """As in readings.c."""

    _fields_ = [
        ("names", _ADDRESS),
        ("name_ends", _ADDRESS),
        ("separator", _ADDRESS),
        ("separator_bytes", _INT),
        ("bytes_max", _INT),
        ("multiply", _INT),
        ("divide", _INT),
        ("least", _INT),
        ("most", _INT),
    ]


class _Columns(ctypes.Structure):
    """As in readings.c."""

    _fields_ = [
        ("codes", _ADDRESS),
        ("times", _ADDRESS),
        ("values", _ADDRESS),
        ("messages", _ADDRESS),
        ("positions", _ADDRESS),
        ("room", _INT),
        ("count", _INT),
    ]


class PlainMessages:
    """A reader for one mapping of fields, used by any thread, one at a time."""

    def __init__(self, fields: Sequence[str], separator: str) -> None:
        names = [name.encode() for name in fields]
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._name_ends = np.cumsum([len(name) for name in names])
        self._separator = np.frombuffer(separator.encode(), np.uint8)
        self._shape = _Shape(
            address(self._names, np.uint8),
            address(self._name_ends, np.int64),
            address(self._separator, np.uint8),
            len(self._separator),
        )
        self._series = NumberedTexts()
        self._readings_a_message = 1
        self._lock = threading.Lock()

    def columns(self, text: Bytes, count: int, unit: str, bytes_max: int) -> PollColumns | None:
        """Readings of `count` messages with a newline between each two and a zero byte behind them, or None when any
        of them needs a closer look."""
        with self._lock:
            return self._columns(text, count, unit, bytes_max)

    def _columns(self, text: Bytes, count: int, unit: str, bytes_max: int) -> PollColumns | None:
        shape = self._shape
        shape.bytes_max = bytes_max
        shape.least, shape.most, shape.multiply, shape.divide = bounds_and_scale(unit)
        read = compiled.read_messages.unlocked if count > _WITH_LOCK else compiled.read_messages.keeping
        room, begun_anew = count * self._readings_a_message, False
        while True:
            block = np.empty((5, room), np.int64)
            start = address(block, np.int64)
            made = _Columns(*range(start, start + block.nbytes, block.strides[0]), room)
            places = map(ctypes.addressof, (shape, self._series.table, made))
            found = read(count, address(text, np.uint8), len(text) - 1, *places)
            if found >= 0:
                break
            if found != _NO_ROOM:
                return None
            if self._series.is_full:
                if self._series.is_largest and begun_anew:
                    return None
                begun_anew |= self._series.is_largest
                self._series.grow()
            else:
                room = len(text) // _LEAST_BYTES + 1
        self._readings_a_message = -(-found // count)
        codes, times, values, messages, positions = block[:, :found]
        return PollColumns(
            self._series.known[codes],
            times,
            values.view(np.float64),
            messages,
            positions,
        )


@lru_cache(maxsize=64)
def _reader(fields: tuple[str, ...], separator: str) -> PlainMessages | None:
    text = "".join(fields)
    plain = text.isascii() and text.isprintable() and not set(text) & set('."\\')
    if not plain or len(set(fields)) < len(fields) or not separator.isascii() or not separator.isprintable():
        return None
    return PlainMessages(fields, separator)


def plain_messages(fields: FieldMapping, separator: str) -> PlainMessages | None:
    """The reader for a mapping; None if fields are nested, or two of them have the same name."""
    return _reader(tuple(getattr(fields, name) for name in _FIELDS), separator)
