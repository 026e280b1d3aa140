"""Many JSON texts of one form at once, from columns of texts. No Python code runs for a single text or number."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat

import numpy as np
import orjson
from numpy.typing import NDArray

from model_core.arrays import AnyArray, BoolArray, IntArray
from stream_app.wire.timestamps import MAX_MS, MIN_MS

Texts = list[bytes]
FLAGS_MAX = 32  # that one code stands for


class Lines:
    """Texts that are put together from left to right."""

    def __init__(self) -> None:
        self._columns: list[Iterable[bytes]] = []
        self._fixed = b""  # what comes after them in every text

    def fixed(self, text: bytes) -> None:
        """The same in every text."""
        self._fixed += text

    def column(self, texts: Texts) -> None:
        """One for each text."""
        if self._fixed:
            self._columns.append(repeat(self._fixed, len(texts)))
            self._fixed = b""
        self._columns.append(texts)

    def chosen(self, texts: Sequence[bytes], which: IntArray) -> None:
        """One of a few texts for each text: `which` int64 [n]."""
        if len(texts) == 1:
            self.fixed(texts[0])
        else:
            self.column([texts[index] for index in which.tolist()])

    def flags(self, flags: BoolArray, known: BoolArray) -> None:
        """true and false with commas between them: bool [n, I]; all null where `known` [n] is false."""
        count = flags.shape[1]
        for first in range(0, count, FLAGS_MAX):
            width = min(FLAGS_MAX, count - first)
            codes = flags[:, first : first + width] @ (1 << np.arange(width))
            self.fixed(b"," if first else b"")
            self.chosen(*few(np.where(known, codes, -1), partial(_flags_texts, width)))

    def joined(self, end: bytes) -> Texts:
        """The texts, each with `end` at its end. At least one column must have been put."""
        # Joining all at once and cutting the result again would be five times slower.
        return list(map(b"".join, zip(*self._columns, repeat(self._fixed + end))))


def numbers(array: AnyArray) -> Texts:
    """The JSON of every number of an array, in C order; NaN and infinities are null. float32 in its shortest form."""
    if not array.size:
        return []
    return orjson.dumps(np.ascontiguousarray(array).reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def rows(array: AnyArray) -> Texts:
    """[n, m] → the JSON of each row, without its brackets."""
    if not array.size:
        return [b""] * len(array)
    return [row[2:] for row in _split(np.ascontiguousarray(array))]


def levels(array: AnyArray) -> list[Texts]:
    """[n, Q, m] → for each of Q levels the n JSON texts of its row: `[…` of level 0, `,[…` of others, never the end."""
    rows_ = _split(np.ascontiguousarray(array).reshape(-1, array.shape[-1]))
    count = array.shape[1]
    return [[row[1:] for row in rows_[::count]], *(rows_[level::count] for level in range(1, count))]


def _split(matrix: AnyArray) -> Texts:
    """Rows as `,[1.5,2.5`: cutting at one character is twice as fast as at three."""
    return (b"," + orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]).split(b"]")[:-1]


def strings(values: list[str]) -> Texts:
    """The JSON of each string, without its quotes."""
    text = orjson.dumps(values)[2:-2]
    if b"\\" in text:  # a quote inside, perhaps: they cannot be told from those between
        return [orjson.dumps(value)[1:-1] for value in values]
    return text.split(b'","') if values else []


def escapes(texts: Texts) -> bool:
    """Whether JSON wrote anything in `texts` of `strings` otherwise than it is."""
    return b"\\" in b"".join(texts)


def few(values: IntArray, texts_of: Callable[[IntArray], Texts]) -> tuple[Texts, IntArray]:
    """(texts of the distinct values, which of them each of `values` [n] has): for `Lines.chosen`, where most repeat."""
    if (values == values[:1]).all():
        return texts_of(values[:1]), np.zeros(len(values), np.int64)
    distinct, which = np.unique(values, return_inverse=True)
    return texts_of(distinct), which.reshape(-1)


def _flags_texts(width: int, codes: IntArray) -> Texts:
    """Bits, the lowest first; -1 for unknown ones."""
    words = (b"false", b"true")
    return [
        b",".join([b"null"] * width if code < 0 else [words[code >> bit & 1] for bit in range(width)])
        for code in codes.tolist()
    ]


def times(times_ms: IntArray) -> Texts:
    """int64 [n] ms → RFC 3339 UTC in whole seconds, with milliseconds where one does not start at a second."""
    moments: NDArray[np.datetime64] = np.clip(times_ms, MIN_MS, MAX_MS).astype("datetime64[ms]")
    return [f"{text.removesuffix('.000')}Z".encode() for text in np.datetime_as_string(moments, unit="ms").tolist()]
