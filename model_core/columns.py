"""Columns: the state of many series as arrays, one column a series, in blocks of 256, with what changed since when.

Every field is one array [blocks, rows, 256, *inner]: a row of a block is contiguous, so that a closed tick of 256
series is one piece of bytes. Fields of one row ("hot": scalers, counters, offsets) are also seen as [columns, *inner].

Two generations of a snapshot exist outside (sides A and B, written in turns), so each row remembers with one bit a
side whether it changed since that side was written. This module knows nothing of where the pieces go.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import AnyArray, IntArray

BLOCK = 256
_SHIFT, _OFFSET = 8, 255
SIDES = 2
_BOTH = np.uint8(3)


@dataclass(frozen=True)
class Field:
    """One array of the state. `rows` > 1 only for what is addressed by tick or slot; `fill` is a new column's value."""

    name: str
    dtype: Any
    rows: int = 1
    inner: tuple[int, ...] = ()
    fill: float = 0
    ahead: bool = False  # rows addressed by tick, persisted once: new ticks are written ahead of the live ones

    @property
    def row_bytes(self) -> int:
        return BLOCK * int(np.prod(self.inner, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Piece:
    """A run of consecutive rows of one block of one field, copied: `data` starts at row `row`."""

    field: str
    block: int
    row: int
    data: bytes


class Columns:
    """The arrays of one partition. `ids[c]` is the series of column c, None where the column is free."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = {field.name: field for field in fields}
        self.ids: list[str | None] = []
        self.index: dict[str, int] = {}
        self.arrays: dict[str, AnyArray] = {}
        self._flat: dict[str, AnyArray] = {}
        self._dirty: dict[str, AnyArray] = {}
        self._ids_dirty = np.zeros(0, np.uint8)
        self._free: list[int] = []
        self.used = 0  # columns ever handed out
        self._allocate(0)

    @property
    def blocks(self) -> int:
        """Blocks in use."""
        return -(-self.used // BLOCK)

    def __len__(self) -> int:
        return len(self.index)

    def flat(self, name: str) -> AnyArray:
        """A field of one row as [columns, *inner]; a view, valid until columns are added."""
        return self._flat[name]

    def add(self, series_ids: list[str]) -> IntArray:
        """Columns for series that have none yet, freed ones first; every field at its fill value."""
        columns = np.empty(len(series_ids), np.int64)
        for position, series_id in enumerate(series_ids):
            if self._free:
                column = self._free.pop()
                self.ids[column] = series_id
            else:
                column = self.used
                self.used += 1
                self.ids.append(series_id)
            self.index[series_id] = column
            columns[position] = column
        if self.blocks > len(self._ids_dirty):
            self._allocate(max(self.blocks, 2 * len(self._ids_dirty)))
        self._ids_dirty[columns >> _SHIFT] = _BOTH
        return columns

    def remove(self, columns: IntArray) -> None:
        """Free columns and reset them to their fill values."""
        for column in columns.tolist():
            series_id = self.ids[column]
            assert series_id is not None, "a free column cannot be freed again"
            del self.index[series_id]
            self.ids[column] = None
            self._free.append(column)
        blocks, offsets = columns >> _SHIFT, columns & _OFFSET
        for name, field in self.fields.items():
            self.arrays[name][blocks, :, offsets] = field.fill
            self._dirty[name][blocks, :] = _BOTH
        self._ids_dirty[blocks] = _BOTH

    def touch(self, name: str, columns: IntArray, rows: IntArray | int = 0) -> None:
        """Note that these cells of a field change."""
        self._dirty[name][columns >> _SHIFT, rows] = _BOTH

    def touch_rows(self, name: str, rows: IntArray | int) -> None:
        """Note that these rows change in every block."""
        self._dirty[name][:, rows] = _BOTH

    def touch_hot(self, columns: IntArray) -> None:
        """Note that any one-row field of these columns may have changed."""
        self._hot[np.unique(columns >> _SHIFT) if len(columns) < 64 else columns >> _SHIFT] = _BOTH

    def touch_all(self) -> None:
        """Everything is new to both sides: the next snapshot is a full one."""
        for dirty in self._dirty.values():
            dirty[...] = _BOTH
        self._hot[...] = _BOTH
        self._ids_dirty[...] = _BOTH

    def _allocate(self, blocks: int) -> None:
        old = len(self._ids_dirty)
        for name, field in self.fields.items():
            grown = np.full((blocks, field.rows, BLOCK, *field.inner), field.fill, field.dtype)
            dirty = np.zeros((blocks, field.rows), np.uint8)
            dirty[old:] = _BOTH
            if old:
                grown[:old] = self.arrays[name]
                dirty[:old] = self._dirty[name]
            self.arrays[name], self._dirty[name] = grown, dirty
            if field.rows == 1:
                self._flat[name] = grown.reshape(blocks * BLOCK, *field.inner)
        self._hot = np.concatenate([self._hot, np.full(blocks - old, _BOTH)]) if old else np.full(blocks, _BOTH)
        self._ids_dirty = np.concatenate([self._ids_dirty, np.full(blocks - old, _BOTH)])

    # --- snapshots ------------------------------------------------------------------------------------------------

    def take_dirty(self, side: int) -> list[Piece]:
        """Copies of every row that changed since `side` (0 or 1) was last taken; they count as taken from now on.

        When writing them fails, call `touch_all`: the next one is then a full snapshot.
        """
        bit = np.uint8(1 << side)
        pieces: list[Piece] = []
        used = self.blocks
        for name, field in self.fields.items():
            dirty = self._dirty[name]
            marked = (dirty[:used] & bit) != 0
            if field.rows == 1:
                marked[:, 0] |= (self._hot[:used] & bit) != 0
            for block in np.flatnonzero(marked.any(axis=1)).tolist():
                for first, last in _runs(marked[block]):
                    pieces.append(Piece(name, block, first, self.arrays[name][block, first:last].tobytes()))
            dirty &= ~bit
        for block in np.flatnonzero(self._ids_dirty[:used] & bit).tolist():
            pieces.append(Piece("ids", block, 0, self._ids_piece(block)))
        self._hot &= ~bit
        self._ids_dirty &= ~bit
        return pieces

    def lengths(self) -> dict[str, int]:
        """Bytes a block of each field has outside; `ids` is listed by `ids_lengths`."""
        return {name: field.rows * field.row_bytes for name, field in self.fields.items()}

    def ids_lengths(self) -> list[int]:
        """Bytes of the id table of each block."""
        return [len(self._ids_piece(block)) for block in range(self.blocks)]

    def _ids_piece(self, block: int) -> bytes:
        names = self.ids[block * BLOCK : (block + 1) * BLOCK]
        return json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()

    def load(self, ids_pieces: list[bytes], pieces: Iterator[tuple[str, int, bytes]]) -> None:
        """Fill empty columns from whole blocks: the id tables in order, then (field, block, bytes) of each block."""
        assert not self.ids, "state is loaded into empty columns only"
        for piece in ids_pieces:
            self.ids += json.loads(piece)
        self.used = len(self.ids)
        self.index = {name: column for column, name in enumerate(self.ids) if name is not None}
        self._free = [column for column, name in enumerate(self.ids) if name is None]
        self._allocate(self.blocks)
        for name, block, data in pieces:
            field = self.fields[name]
            self.arrays[name][block] = np.frombuffer(data, field.dtype).reshape(field.rows, BLOCK, *field.inner)
        self.touch_all()


def _runs(marked: AnyArray) -> list[tuple[int, int]]:
    """Consecutive marked rows as [first, last) pairs."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
