"""A few members of messages that are flat JSON objects → columns, by a loop in C. Other members are skipped, however
long they are.

A message that is unusual in any way (escapes, text beyond ASCII, not JSON at all, …) is left to the caller. What is
read here, any JSON reader would read alike.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Literal

import numpy as np

from model_core.arrays import AnyArray, BoolArray
from model_core.compiled import address
from stream_app.wire import compiled
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.numbered_texts import NumberedTexts

# first: of a list of numbers, the first one
Kind = Literal["text", "time", "number", "first"]
NOTHING = -1  # a text that is null or missing
NO_TIME = np.iinfo(np.int64).min
_CODES: dict[Kind, int] = {"text": 0, "time": 1, "number": 2, "first": 3}  # as in members.c
_WITH_LOCK = 64  # reading so few messages is over before another thread woke up


class _Member(ctypes.Structure):
    """As in members.c."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("name_bytes", ctypes.c_int64),
        ("kind", ctypes.c_int64),
        ("texts", ctypes.c_void_p),
        ("column", ctypes.c_void_p),
    ]


class Members:
    """A reader for objects of one kind, used by one thread.

    Columns: of a text its number in `texts`, of a time ms since the epoch, of others float64; NOTHING, NO_TIME and NaN
    where it is null or missing.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = dict(kinds)
        self.texts = {name: NumberedTexts() for name, kind in kinds.items() if kind == "text"}
        self._members = (_Member * len(kinds))()
        for member, (name, kind) in zip(self._members, kinds.items(), strict=True):
            member.name, member.name_bytes, member.kind = name.encode(), len(name.encode()), _CODES[kind]
            if kind == "text":
                member.texts = ctypes.addressof(self.texts[name].table)

    def read(self, messages: MessageColumns) -> tuple[BoolArray, dict[str, AnyArray]]:
        """bool [n], which messages are understood, and the columns [n], which mean nothing where one is not."""
        count = len(messages)
        columns = {
            name: np.empty(count, np.int64 if kind in ("text", "time") else np.float64)
            for name, kind in self.kinds.items()
        }
        for member, column in zip(self._members, columns.values(), strict=True):
            member.column = address(column, column.dtype)
        is_read = np.zeros(count, np.int8)
        first, begun_anew = 0, 0
        while (first := self._read(messages, first, is_read)) < count:
            for texts in self.texts.values():
                if texts.is_full:
                    if texts.is_largest:  # the numbers so far mean nothing any more
                        first, begun_anew = 0, begun_anew + 1
                    texts.grow()
            if begun_anew > len(self.texts):  # more texts than one table holds
                is_read[:] = 0
                break
        return is_read.astype(np.bool_), columns

    def _read(self, messages: MessageColumns, first: int, is_read: AnyArray) -> int:
        ends, sizes = (np.ascontiguousarray(each) for each in (messages.value_ends, messages.value_bytes))
        read = compiled.read_members.unlocked if len(messages) > _WITH_LOCK else compiled.read_members.keeping
        return int(
            read(
                len(messages),
                first,
                address(messages.texts.values, np.uint8),
                address(ends, np.int64),
                address(sizes, np.int64),
                len(self._members),
                ctypes.addressof(self._members),
                address(is_read, np.int8),
            )
        )
