"""The commonest JSON messages to columns, by a loop in C: flat objects of one reading, or of a pack.

All or nothing: where a message is in any way unusual (escapes, text beyond ASCII, a time that is neither a whole number
nor plain RFC 3339, a member that is not there, …) the answer is None, and json_batch.py looks at them. What is
taken here, it would take alike. Series ids are not made anew for each reading but looked up among those seen before.
"""

import ctypes
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from model_core.arrays import AnyArray, IntArray
from model_core.compiled import address
from model_core.spec import FieldMapping
from stream_app.wire import compiled
from stream_app.wire.columns import Names, PollColumns
from stream_app.wire.message_columns import Bytes
from stream_app.wire.timestamps import bounds_and_scale

NAMES_MAX = 1 << 20  # series ids remembered for a mapping of fields; with more it begins anew
_NAMES_LEAST, _NAME_BYTES = 1 << 10, 32
_LEAST_BYTES = 6  # of a reading in a pack: "a":1,
_WITH_LOCK = 64  # reading so few messages is over before another thread woke up
_NO_ROOM = -2  # as in readings.c
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


class _Names(ctypes.Structure):
    """As in readings.c."""

    _fields_ = [
        ("slots", _ADDRESS),
        ("slot_mask", _INT),
        ("ends", _ADDRESS),
        ("seen", _ADDRESS),
        ("bytes", _ADDRESS),
        ("room", _INT),
        ("byte_room", _INT),
        ("count", _INT),
        ("messages", _INT),
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


class SeriesNames:
    """Series ids seen lately, numbered in the order of their coming."""

    def __init__(self) -> None:
        self.table = _Names()
        self._texts: Names = np.empty(0, object)
        self._ends = self._seen = np.empty(0, np.int64)
        self._bytes = np.empty(0, np.uint8)
        self._slots = np.empty(0, np.int32)
        self._known = 0
        self.grow()

    def texts(self, numbers: IntArray) -> Names:
        """The series ids with these numbers."""
        known, count = self._known, self.table.count
        if known < count:
            stops = self._ends[:count].tolist()
            starts = [0, *stops]
            for number in range(known, count):
                text = self._bytes[starts[number] : stops[number]].tobytes()
                self._texts[number] = text.decode()
            self._known = count
        return self._texts[numbers]

    def grow(self) -> None:
        """Twice the room; from NAMES_MAX on, begin anew."""
        table = self.table
        room = max(2 * table.room, _NAMES_LEAST)
        if room > NAMES_MAX:
            room, table.count, self._known = NAMES_MAX, 0, 0
        self._texts = _copied(self._texts, np.empty(room, object))
        self._ends = _copied(self._ends, np.empty(room, np.int64))
        self._seen = _copied(self._seen, np.empty(room, np.int64))
        self._bytes = _copied(self._bytes, np.empty(max(2 * len(self._bytes), room * _NAME_BYTES), np.uint8))
        self._slots = np.zeros(4 * room, np.int32)
        table.slots, table.slot_mask = address(self._slots, np.int32), len(self._slots) - 1
        table.ends, table.seen = address(self._ends, np.int64), address(self._seen, np.int64)
        table.bytes, table.byte_room = address(self._bytes, np.uint8), len(self._bytes)
        table.room = room
        compiled.place_names(table.count, ctypes.addressof(table))

    @property
    def is_full(self) -> bool:
        """So that one more id may not fit."""
        used = int(self._ends[self.table.count - 1]) if self.table.count else 0
        return self.table.count == self.table.room or used + 1024 > self.table.byte_room


def _copied(old: AnyArray, new: AnyArray) -> AnyArray:
    new[: len(old)] = old[: len(new)]
    return new


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
        self._series = SeriesNames()
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
                if self._series.table.room == NAMES_MAX and begun_anew:
                    return None
                begun_anew |= self._series.table.room == NAMES_MAX
                self._series.grow()
            else:
                room = len(text) // _LEAST_BYTES + 1
        self._readings_a_message = -(-found // count)
        codes, times, values, messages, positions = block[:, :found]
        return PollColumns(
            self._series.texts(codes),
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
    """The reader for a mapping; None where fields are nested, or the same for two things."""
    return _reader(tuple(getattr(fields, name) for name in _FIELDS), separator)
