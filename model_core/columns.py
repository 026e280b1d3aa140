"""Columns: the state of many series as arrays, one column a series, in blocks of 256, with marks of what has changed.

Every field is one array [blocks, rows, 256, *inner]. A row of a block is contiguous, so a closed tick of 256 series is
one piece of bytes. Fields of one row ("hot": scalers, counters, offsets) can also be seen as [columns, *inner].

A snapshot exists outside in two generations (sides A and B, written in turns), so each row has one bit for each side
that says whether it changed since that side was written. One-row fields that change together form a group and share
their marks. Fields written `ahead` exist outside only once; `take_changed` asks for them. This module does not know
where the pieces go.
"""

import hashlib
import heapq
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.compiled import address, runs
from model_core.errors import LayoutMismatch

BLOCK = 256
_SHIFT, _OFFSET = 8, 255
# Unchanged bytes between two changed rows that are written again, because another piece would cost more.
GAP_BYTES_MAX = 16 << 10
_BOTH = np.uint8(3)
HOT = "hot"  # the group of what changes with every cell
MEMBER = "member"  # of what changes when a series comes


@dataclass(frozen=True)
class Field:
    """One array of the state. `rows` > 1 only for what is addressed by tick or slot; `fill` is a new column's value.

    `ahead`: rows are addressed by tick (tick mod rows) and most changes go into rows that were free before, so that a
    snapshot keeps one copy of the rows instead of two. What such a row holds while no live tick is in it is undefined.
    `group`: the one-row fields that are touched together. `slots`: it is touched by name and in no group, even if a
    setting leaves it one row.
    """

    name: str
    dtype: Any
    rows: int = 1
    inner: tuple[int, ...] = ()
    fill: Any = 0
    ahead: bool = False
    slots: bool = False
    group: str = HOT

    @cached_property
    def row_bytes(self) -> int:
        return BLOCK * int(np.prod(self.inner, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Piece:
    """A run of rows of one field, copied: `data` starts at row `row` of block `block` and may run on into the next
    blocks. The field "ids" has one piece a block: the JSON list of its series."""

    field: str
    block: int
    row: int
    data: bytes | memoryview


@dataclass(frozen=True)
class Coming:
    """The same, with its bytes still on their way: `read` fills a buffer of `length` bytes with them, once."""

    field: str
    block: int
    row: int
    length: int
    read: Callable[[memoryview], None]


def beginning(dtype: Any, **values: Any) -> Any:
    """The fill value of a field whose cells are structs: zeros except for these members."""
    made = np.zeros(1, dtype)
    for name, value in values.items():
        made[name] = value
    return made[0]


class Columns:
    """The arrays of one partition. `ids[c]` is the series of column c, None where the column is free."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = {field.name: field for field in fields}
        self.ids: list[str | None] = []
        self.index: dict[str, int] = {}
        self.arrays: dict[str, AnyArray] = {}
        self._flat: dict[str, AnyArray] = {}
        self._dirty: dict[str, AnyArray] = {}
        # Of each group [blocks]: stands for all its one-row fields.
        self._groups: dict[str, AnyArray] = {field.group: np.zeros(0, np.uint8) for field in fields}
        self._ids_dirty: AnyArray = np.zeros(0, np.uint8)
        self._ids_bytes: dict[int, int] = {}  # length of a block's id table, until it changes
        self._free: list[int] = []  # a heap: which column a series gets depends on the set of free ones only
        self.used = 0  # columns ever handed out
        self.growths = 0  # how often the arrays have moved
        self.loaded_layout: str | None = None  # of the snapshot that they were filled with, if they were
        self.freed: set[int] | None = None  # columns freed since whoever remembers columns looked; None: nobody does
        self._allocate(0)
        assert all(f.rows > 1 for f in fields if f.ahead), "one row cannot be written ahead of itself"

    @property
    def blocks(self) -> int:
        """Blocks in use."""
        return -(-self.used // BLOCK)

    @property
    def layout(self) -> str:
        """Identity of what the bytes of a snapshot mean: names, types, shapes and order of the fields."""
        shape = [(f.name, _kind(f.dtype), f.rows, list(f.inner), f.ahead, BLOCK) for f in self.fields.values()]
        return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.index)

    def flat(self, name: str) -> AnyArray:
        """A field of one row as [columns, *inner]; a view, valid until columns are added."""
        return self._flat[name]

    def add(self, series_ids: list[str]) -> IntArray:
        """Columns for series that have none yet, freed ones first; every field at its fill value.

        Whoever changes whole rows or blocks must keep free columns at their fill values.
        """
        columns = np.empty(len(series_ids), np.int64)
        before = self.blocks
        for position, series_id in enumerate(series_ids):
            assert series_id not in self.index, "a series has one column"
            if self._free:
                column = heapq.heappop(self._free)
                self.ids[column] = series_id
            else:
                column = self.used
                self.used += 1
                self.ids.append(series_id)
            self.index[series_id] = column
            columns[position] = column
        if self.blocks > len(self._ids_dirty):
            self._allocate(max(self.blocks, 2 * len(self._ids_dirty)))
        # A block that was allocated in advance comes into use as a whole, whichever columns are touched later.
        for dirty in (*self._dirty.values(), *self._groups.values()):
            dirty[before : self.blocks] = _BOTH
        self._note_ids(columns)
        return columns

    def remove(self, columns: IntArray) -> None:
        """Free columns and reset them to their fill values."""
        if self.freed is not None:
            self.freed.update(columns.tolist())
        for column in columns.tolist():
            series_id = self.ids[column]
            assert series_id is not None, "a free column cannot be freed again"
            del self.index[series_id]
            self.ids[column] = None
            heapq.heappush(self._free, column)
        blocks, offsets = columns >> _SHIFT, columns & _OFFSET
        for name, field in self.fields.items():
            self.arrays[name][blocks, :, offsets] = field.fill
            self._dirty[name][blocks, :] = _BOTH
        self._note_ids(columns)

    def touched(self, name: str) -> AnyArray:
        """Marks of a field, uint8 [blocks, rows], for kernels, which set 3 where they write. They move when the arrays
        do."""
        return self._dirty[name]

    def touched_group(self, group: str) -> AnyArray:
        """Marks of all one-row fields of a group [blocks], likewise."""
        return self._groups[group]

    def touch(self, name: str, columns: IntArray, rows: IntArray | int = 0) -> None:
        """Note that these cells of a field change."""
        self._dirty[name][columns >> _SHIFT, rows] = _BOTH

    def touch_hot(self, columns: IntArray, group: str = HOT) -> None:
        """Note that any one-row field of a group may have changed in these columns."""
        self._groups[group][columns >> _SHIFT] = _BOTH

    def touch_all(self) -> None:
        """Everything is new to both sides: the next snapshot is a full one."""
        for dirty in (*self._dirty.values(), *self._groups.values()):
            dirty[...] = _BOTH
        self._ids_dirty[...] = _BOTH

    def _note_ids(self, columns: IntArray) -> None:
        self._ids_dirty[columns >> _SHIFT] = _BOTH
        # np.unique imports numpy.ma at its first call, which would be in the midst of the first poll: 60 ms
        for block in np.flatnonzero(np.bincount(columns >> _SHIFT)).tolist():
            self._ids_bytes.pop(block, None)

    def _allocate(self, blocks: int, *, filled: bool = True, given: Mapping[str, AnyArray] | None = None) -> None:
        """Make room for so many blocks. Not `filled`: the caller writes every row, which halves the time of a load.

        `given`: arrays that are there already, for columns that have none yet.
        """
        old = len(self._ids_dirty)
        self.growths += 1
        for name, field in self.fields.items():
            if given and name in given:
                grown = given[name]
            else:
                grown = np.empty((blocks, field.rows, BLOCK, *field.inner), field.dtype)
                if filled:
                    grown[old:] = field.fill
            dirty = np.zeros((blocks, field.rows), np.uint8)
            dirty[old:] = _BOTH
            if old:
                grown[:old] = self.arrays[name]
                dirty[:old] = self._dirty[name]
            self.arrays[name], self._dirty[name] = grown, dirty
            if field.rows == 1:
                self._flat[name] = grown.reshape(blocks * BLOCK, *field.inner)
        for group, dirty in self._groups.items():
            self._groups[group] = np.concatenate([dirty, np.full(blocks - old, _BOTH)])
        self._ids_dirty = np.concatenate([self._ids_dirty, np.full(blocks - old, _BOTH)])

    # --- snapshots ------------------------------------------------------------------------------------------------

    def take_dirty(self, side: int, *, but: Collection[str] = ()) -> list[Piece]:
        """Copies of every row that changed since `side` (0 or 1) was last taken; they count as taken from now on.

        Fields named in `but` are left out. When writing the pieces fails, call `touch_all`: the next are then all.
        """
        bit = np.uint8(1 << side)
        used = self.blocks
        pieces: list[Piece] = []
        for name, field in self.fields.items():
            if name in but:
                continue
            dirty = self._dirty[name][:used]
            own = field.slots or field.rows > 1
            group = None if own else address(self._groups[field.group], np.uint8)
            gap = GAP_BYTES_MAX // field.row_bytes
            pieces += self._pieces(name, runs.take(dirty, group, 1 << side, gap))
        for block in np.flatnonzero(self._ids_dirty[:used] & bit).tolist():
            pieces.append(Piece("ids", block, 0, self._ids_piece(block)))
        for dirty in self._groups.values():
            dirty[:used] &= ~bit
        self._ids_dirty[:used] &= ~bit
        return pieces

    def take_changed(self, name: str) -> BoolArray:
        """Rows of a field written ahead that changed since this was last asked: bool [blocks, rows]."""
        field, used = self.fields[name], self.blocks
        assert field.ahead, "fields on two sides are asked for by take_dirty"
        changed: BoolArray = self._dirty[name][:used] != 0
        self._dirty[name][:used] = 0
        return changed

    def copy(self, name: str, marked: BoolArray, gap: int = 0) -> list[Piece]:
        """Copies of the marked rows (bool [blocks, rows]) of a field, neighbours in one piece; with up to `gap` rows
        between them, which are copied too."""
        return self._pieces(name, runs.of(marked, gap))

    def _pieces(self, name: str, found: IntArray) -> list[Piece]:
        """Copies of runs of rows: int64 [n, 2], first and one after last of each."""
        if not len(found):
            return []
        rows = self.fields[name].rows
        array = self.arrays[name].reshape(-1, BLOCK, *self.fields[name].inner)
        return [Piece(name, first // rows, first % rows, array[first:last].tobytes()) for first, last in found.tolist()]

    def mark_written(self, side: int) -> None:
        """All that is in memory is what `side` holds, and what is written ahead: nothing of it is dirty."""
        bit = np.uint8(1 << side)
        for name, field in self.fields.items():
            self._dirty[name][: self.blocks] &= np.uint8(0) if field.ahead else ~bit
        for dirty in self._groups.values():
            dirty[: self.blocks] &= ~bit
        self._ids_dirty[: self.blocks] &= ~bit

    def lengths(self) -> dict[str, int]:
        """Bytes that a block of each field takes outside; those of `ids` are in `ids_lengths`."""
        return {name: field.rows * field.row_bytes for name, field in self.fields.items()}

    def ids_lengths(self) -> list[int]:
        """Bytes of the id table of each block."""
        for block in range(self.blocks):
            if block not in self._ids_bytes:
                self._ids_piece(block)
        return [self._ids_bytes[block] for block in range(self.blocks)]

    def _ids_piece(self, block: int) -> bytes:
        names = self.ids[block * BLOCK : (block + 1) * BLOCK]
        # surrogatepass: JSON producers can smuggle half a surrogate pair into a name; it must come back as it was
        data = json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self._ids_bytes[block] = len(data)
        return data

    def load(self, ids_pieces: Iterable[bytes], pieces: Iterable[Piece | Coming]) -> None:
        """Fill empty columns: the id tables of the blocks in order, then pieces in any order, a later one winning.

        Rows that no piece names stay at their fill value. Raises LayoutMismatch for a piece that does not fit.
        """
        assert not self.ids, "state is loaded into empty columns only"
        for piece in ids_pieces:
            if len(self.ids) % BLOCK:
                raise LayoutMismatch(f"Expected only the last id table to be shorter than {BLOCK} series.")
            self.ids += json.loads(piece)
        self.used = len(self.ids)
        self.index = {name: column for column, name in enumerate(self.ids) if name is not None}
        self._free = [column for column, name in enumerate(self.ids) if name is None]
        self._allocate(self.blocks, filled=False)
        named = {name: np.zeros(self.blocks * field.rows, np.bool_) for name, field in self.fields.items()}
        for run in pieces:
            self._place(run, named)
        for name, field in self.fields.items():
            rest = ~named[name]
            if rest.any():
                self.arrays[name].reshape(-1, BLOCK, *field.inner)[rest] = field.fill
        self.touch_all()
        self.loaded_layout = self.layout

    def take_over(self, older: "Columns", arrays: Mapping[str, AnyArray]) -> None:
        """Fill empty columns with the series of older ones, which must not be used any more, and with these arrays
        [blocks, rows, 256, *inner]. Fields that are not among them keep their fill values."""
        assert not self.ids, "state is loaded into empty columns only"
        self.ids, self.index, self._free, self.used = older.ids, older.index, older._free, older.used
        self._allocate(self.blocks, given=arrays)
        self.touch_all()
        self.loaded_layout = older.layout

    def _place(self, piece: Piece | Coming, named: dict[str, BoolArray]) -> None:
        field = self.fields.get(piece.field)
        if field is None:
            raise LayoutMismatch(f"Expected one of the fields {sorted(self.fields)}, found {piece.field!r}.")
        length = piece.length if isinstance(piece, Coming) else len(piece.data)
        rows, rest = divmod(length, field.row_bytes)
        first = piece.block * field.rows + piece.row
        if rest or first + rows > self.blocks * field.rows:
            raise LayoutMismatch(
                f"Expected whole rows of {field.row_bytes} bytes within {self.blocks} blocks of {piece.field!r}, "
                f"found {length} bytes from block {piece.block}, row {piece.row}."
            )
        array = self.arrays[piece.field].reshape(-1, BLOCK, *field.inner)
        named[piece.field][first : first + rows] = True
        place = array[first : first + rows].reshape(-1).view(np.uint8).data
        if isinstance(piece, Coming):
            piece.read(place)
        else:
            place[:] = piece.data


def _kind(dtype: Any) -> Any:
    of = np.dtype(dtype)
    return of.str if of.names is None else of.descr
