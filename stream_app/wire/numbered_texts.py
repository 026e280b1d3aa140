"""Texts that occur again and again (series ids, names of models), each with a number: a table that C code looks
into.
"""

import ctypes

import numpy as np

from model_core.arrays import AnyArray
from model_core.compiled import address
from stream_app.wire import compiled
from stream_app.wire.columns import Names

TEXTS_MAX = 1 << 20  # remembered; with more it begins anew
_TEXTS_LEAST, _TEXT_BYTES = 1 << 10, 32
_ADDRESS, _INT = ctypes.c_void_p, ctypes.c_int64


class _Names(ctypes.Structure):
    """As in names.h."""

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


class NumberedTexts:
    """Texts seen lately, numbered in the order in which they came."""

    def __init__(self) -> None:
        self.table = _Names()
        self._texts: Names = np.empty(0, object)
        self._ends = self._seen = np.empty(0, np.int64)
        self._bytes = np.empty(0, np.uint8)
        self._slots = np.empty(0, np.int32)
        self._known = 0
        self.grow()

    @property
    def known(self) -> Names:
        """object [texts so far], by number. Later texts do not change it."""
        known, count = self._known, self.table.count
        if known < count:
            stops = self._ends[:count].tolist()
            starts = [0, *stops]
            for number in range(known, count):
                text = self._bytes[starts[number] : stops[number]].tobytes()
                self._texts[number] = text.decode()
            self._known = count
        return self._texts[:count]

    def grow(self) -> None:
        """Double the room; from TEXTS_MAX on, begin again with an empty table."""
        table = self.table
        room = max(2 * table.room, _TEXTS_LEAST)
        if room > TEXTS_MAX:
            room, table.count, self._known = TEXTS_MAX, 0, 0
        self._texts = _copied(self._texts, np.empty(room, object))
        self._ends = _copied(self._ends, np.empty(room, np.int64))
        self._seen = _copied(self._seen, np.empty(room, np.int64))
        self._bytes = _copied(self._bytes, np.empty(max(2 * len(self._bytes), room * _TEXT_BYTES), np.uint8))
        self._slots = np.zeros(4 * room, np.int32)
        table.slots, table.slot_mask = address(self._slots, np.int32), len(self._slots) - 1
        table.ends, table.seen = address(self._ends, np.int64), address(self._seen, np.int64)
        table.bytes, table.byte_room = address(self._bytes, np.uint8), len(self._bytes)
        table.room = room
        compiled.place_names(table.count, ctypes.addressof(table))

    @property
    def is_full(self) -> bool:
        """Whether one more may not fit."""
        used = int(self._ends[self.table.count - 1]) if self.table.count else 0
        return self.table.count == self.table.room or used + 1024 > self.table.byte_room

    @property
    def is_largest(self) -> bool:
        """Whether `grow` would empty the table, so that the numbers so far mean nothing any more."""
        return int(self.table.room) == TEXTS_MAX


def _copied(old: AnyArray, new: AnyArray) -> AnyArray:
    new[: len(old)] = old[: len(new)]
    return new
