"""Many JSON texts of one form at once, from columns. No Python code runs for a single text or number.

The constant parts of a form are stored once; a loop in C (compiled/lines.c) goes over the rows. Numbers are written as
orjson writes them: the shortest text that reads back as the same float, and null for NaN.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from model_core.arrays import AnyArray
from model_core.compiled import address
from stream_app.wire import compiled
from stream_app.wire.records import TextColumn

_ROWS_WITH_LOCK = 64  # writing so few is over before another thread woke up
# As in lines.c: the kinds of parts, and the fields of one.
_FIXED, _TEXTS, _CHOSEN, _SAME, _REALS, _SHORT_REALS, _INTEGERS, _INSTANTS, _FLAGS = range(9)
_KIND, _COUNT, _STRIDE, _DATA, _ENDS, _WHICH, _PART_FIELDS = 0, 1, 2, 3, 4, 5, 8
_KIND_OF = {
    np.dtype(np.float64): _REALS,
    np.dtype(np.float32): _SHORT_REALS,
    np.dtype(np.int64): _INTEGERS,
    np.dtype(np.int8): _FLAGS,
}
_ROOM = np.zeros(9, np.int64)  # the most bytes that one takes, with a comma behind it
_ROOM[[_REALS, _SHORT_REALS, _INTEGERS, _INSTANTS, _FLAGS]] = 26, 18, 22, 26, 6
_OVERRUN = 64  # bytes behind what is written that the kernel may touch
_POWER_MIN, _POWER_MAX = -292, 324


class Form:
    """The form of the texts, from left to right: fixed pieces, and between them the values of columns."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []  # (kind, count)
        self._fixed = b""  # all that is fixed
        self._fixed_at: list[tuple[int, int]] = []  # (part, place in it)
        self._texts: list[tuple[int, str]] = []  # (part, column)
        self._cells: list[tuple[int, str, int]] = []  # (part, column, first element of the row)
        self._template: NDArray[np.int64] | None = None

    def fixed(self, text: bytes) -> None:
        """A piece that is the same in every text."""
        self._fixed_at.append((self._part(_FIXED, len(text)), len(self._fixed)))
        self._fixed += text

    def once(self, column: str) -> None:
        """Bytes that are the same in every text of one call."""
        self._texts.append((self._part(_FIXED), column))

    def texts(self, column: str) -> None:
        """A TextColumn, one string for each text."""
        self._texts.append((self._part(_TEXTS), column))

    def chosen(self, column: str) -> None:
        """One of a few strings: (TextColumn, which of them, int64 [n])."""
        self._texts.append((self._part(_CHOSEN), column))

    def numbers(self, column: str, at: int = 0, width: int = 1) -> int:
        """float64, float32 or int64 [n, …]: of each row `width` from `at` on, with commas between. The part's number"""
        return self._cell(_REALS, column, at, width)

    def instants(self, column: str, at: int = 0) -> None:
        """int64 [n, …] ms → RFC 3339 UTC in whole seconds, with milliseconds where one does not start at a second."""
        self._cell(_INSTANTS, column, at, 1)

    def flags(self, column: str, at: int = 0, width: int = 1) -> None:
        """int8 [n, …]: false, true and null for 0, 1 and 2, with commas between them."""
        self._cell(_FLAGS, column, at, width)

    def same(self, part: int) -> None:
        """The same as another part, once more."""
        self._part(_SAME, part)

    def written(self, count: int, columns: Mapping[str, Any]) -> TextColumn:
        """One text for each of `count` rows."""
        if not count:
            return TextColumn.of([])
        parts = self._begun().copy()
        cells = [_cells(columns[name], count) for name in self._columns]
        room = count * len(self._fixed) + self._fill_cells(parts, cells, count)
        for part, column in self._texts:
            room += _fill_text(parts[part], columns[column], count)
        return _put(parts, count, room)  # what the parts point to lives in `cells` and `columns`

    def _part(self, kind: int, count: int = 0) -> int:
        self._parts.append((kind, count))
        return len(self._parts) - 1

    def _cell(self, kind: int, column: str, at: int, width: int) -> int:
        part = self._part(kind, width)
        self._cells.append((part, column, at))
        return part

    def _begun(self) -> NDArray[np.int64]:
        """The parts of the form that are the same in every call."""
        if self._template is None:
            parts = np.zeros((len(self._parts), _PART_FIELDS), np.int64)
            parts[:, : _COUNT + 1] = self._parts
            self._text = np.frombuffer(self._fixed or b" ", np.uint8)
            for part, place in self._fixed_at:
                parts[part, _DATA] = address(self._text, np.uint8) + place
            names = list(dict.fromkeys(column for _, column, _ in self._cells))
            self._columns = names
            self._cell_parts = np.array([part for part, _, _ in self._cells], np.int64)
            self._cell_column = np.array([names.index(column) for _, column, _ in self._cells], np.int64)
            self._cell_at = np.array([at for _, _, at in self._cells], np.int64)
            self._same = [count for kind, count in self._parts if kind == _SAME]
            self._template = parts
        return self._template

    def _fill_cells(self, parts: NDArray[np.int64], cells: list[AnyArray], count: int) -> int:
        """Fill in kind, stride and address of each; returns the bytes that they may take."""
        if not cells:
            return 0
        facts = [(_KIND_OF[each.dtype], each.nbytes // count, _start(each), each.itemsize) for each in cells]
        kind, stride, start, size = np.array(facts, np.int64).T[:, self._cell_column]
        rows = self._cell_parts
        assert ((self._cell_at + parts[rows, _COUNT]) * size <= stride).all(), "rows are as wide as the form says"
        declared = parts[rows, _KIND]
        kind = np.where(declared == _REALS, kind, declared)
        parts[rows, _KIND], parts[rows, _STRIDE], parts[rows, _DATA] = kind, stride, start + self._cell_at * size
        room = int(_ROOM[kind] @ parts[rows, _COUNT])
        again = sum(int(_ROOM[parts[part, _KIND]] * parts[part, _COUNT]) for part in self._same)
        return count * (room + again)


def _cells(values: AnyArray, count: int) -> AnyArray:
    """The array, contiguous and of a type that the kernel knows."""
    assert len(values) == count, "one row for each"
    if values.dtype not in _KIND_OF:
        values = values.astype(np.int64)
    return np.ascontiguousarray(values)


def _fill_text(part: NDArray[np.int64], value: Any, count: int) -> int:
    """Fill in a text; returns the bytes it may take in all texts together. `value` must outlive the kernel's call."""
    kind = part[_KIND]
    if kind == _FIXED:
        part[_COUNT], part[_DATA] = len(value), address(np.frombuffer(value, np.uint8), np.uint8)
        return count * len(value)
    texts, which = (value, None) if kind == _TEXTS else value
    part[_DATA], part[_ENDS] = address(texts.data, np.uint8), address(texts.ends, np.int64)
    if which is None:
        assert len(texts.ends) == count, "one for each"
        return len(texts.data)
    assert len(which) == count, "one for each"
    part[_WHICH] = address(which, np.int64)
    return count * int(np.diff(texts.ends, prepend=0).max())


def _put(parts: NDArray[np.int64], count: int, room: int) -> TextColumn:
    out, ends, powers = np.empty(room + _OVERRUN, np.uint8), np.empty(count, np.int64), _powers_of_ten()
    put = compiled.put_lines.unlocked if count > _ROWS_WITH_LOCK else compiled.put_lines.keeping
    put(
        count,
        len(parts),
        address(parts, np.int64),
        address(powers, np.uint64),
        address(out, np.uint8),
        address(ends, np.int64),
    )
    return TextColumn(out[: int(ends[-1])].copy(), ends)  # the rest of it was only room


def _start(array: AnyArray) -> int:
    where: int = array.__array_interface__["data"][0]
    return where


@cache
def _powers_of_ten() -> NDArray[np.uint64]:
    """The first 128 bits of 10^e, rounded up, for e from _POWER_MIN to _POWER_MAX: uint64 [e, (high, low)]."""
    powers = []
    for exponent in range(_POWER_MIN, _POWER_MAX + 1):
        above, below = 10 ** max(exponent, 0), 10 ** max(-exponent, 0)
        shift = 128 - above.bit_length() + below.bit_length()
        first = -(-(above << max(shift, 0)) // (below << max(-shift, 0)))
        if first >= 1 << 128:
            first = -(-(above << max(shift - 1, 0)) // (below << max(1 - shift, 0)))
        powers.append((first >> 64, first & (1 << 64) - 1))
    return np.array(powers, np.uint64)


def strings(values: list[str]) -> list[bytes]:
    """The JSON of each string, without its quotes."""
    text = orjson.dumps(values)[2:-2]
    if b"\\" in text:  # a quote inside, perhaps: they cannot be told from those between
        return [orjson.dumps(value)[1:-1] for value in values]
    return text.split(b'","') if values else []


def escapes(texts: list[bytes]) -> bool:
    """Whether JSON escaped anything in `texts`, the JSON of `strings`."""
    return b"\\" in b"".join(texts)
