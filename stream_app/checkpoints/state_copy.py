"""The copy of a state: what changed since the last acknowledged checkpoint, and where each piece of it will go.

Two ways lead a row to the store, and neither touches a byte that the last acknowledged checkpoint needs:

- Most fields have two sides in the store, A and B. A copy goes to the one that the header does not name.
- Fields written `ahead` have one, its rows addressed by tick. A row without a live tick as of the last checkpoint
  is written in place. A row that was live then and has changed (a late correction) goes into the overlay, a piece of
  the standby side. The next copy between which and this one it has not changed again writes it in place: whoever still
  reads the header of this one takes it from the overlay.

Knows nothing of Redis. Runs on the pipeline's thread, between two readings, so it only copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from model_core.arrays import BoolArray, IntArray
from model_core.columns import Columns, Piece
from stream_app.checkpoints.header import (
    Header,
    Identity,
    Labels,
    LiveTicks,
    field_pieces,
    overlay_key,
    piece_key,
)

FREE = np.iinfo(np.int64).min  # instead of a tick: nothing live is in the row
OVERLAY_BYTES_MIN = 4 << 20  # an overlay below this is always cheaper than a full snapshot
OVERLAY_BYTES_MAX = 256 << 20  # one string of Redis holds 512 MiB
OVERLAY_SHARE_MAX = 0.25  # of the live rows; beyond it a full snapshot costs less


class CheckpointedState(Protocol):
    """What a partition's state offers to be kept."""

    @property
    def columns(self) -> Columns: ...

    @property
    def next_offset(self) -> int: ...

    @property
    def watermark_ms(self) -> int | None: ...

    def live_rows(self) -> tuple[int, int]:
        """(first tick, last tick), both included, whose rows may still be read or changed."""

    def meta(self) -> dict[str, Any]:
        """What is no column, as JSON."""


@dataclass(frozen=True)
class Base:
    """The last acknowledged checkpoint, as far as the next copy must know it."""

    tag: str
    labels: Labels
    side: int
    blocks: int
    live: LiveTicks
    overlay: dict[str, BoolArray]  # by field, bool [blocks, rows]: content in place is behind the overlay


class Write(NamedTuple):
    """Bytes for one key: at `offset`, or instead of all it held where `offset` is None."""

    key: str
    offset: int | None
    data: bytes | memoryview


@dataclass(frozen=True)
class StateCopy:
    """A checkpoint that is copied and not yet written. `base_tag` is None for a full snapshot."""

    tag: str
    base_tag: str | None
    header: Header
    pieces: list[Piece]
    new_blocks: range  # blocks whose keys the base does not have
    overlay: bytes
    overlay_rows: dict[str, BoolArray]

    @property
    def full(self) -> bool:
        return self.base_tag is None

    @property
    def bytes(self) -> int:
        return sum(len(piece.data) for piece in self.pieces) + len(self.overlay)

    def as_base(self) -> Base:
        header = self.header
        return Base(self.tag, header.labels, header.side, header.blocks, header.live, self.overlay_rows)

    def writes(self, chunk_bytes: int) -> Iterator[Write]:
        """Where everything goes, in order, none longer than `chunk_bytes`."""
        header = self.header
        for name, field in header.fields.items():
            if field.ahead:  # gives a new key its whole length at once; rows that are not live stay zero
                last = field.block_bytes - 1
                for block in self.new_blocks:
                    yield Write(piece_key(header.labels.ahead, name, block), last, b"\0")
        for piece in self.pieces:
            yield from _split(header, piece, chunk_bytes)
        if self.overlay:
            yield from _split_whole(overlay_key(header.side_label), self.overlay, chunk_bytes)


def copy_state(
    state: CheckpointedState,
    base: Base | None,
    *,
    checkpoint: int,
    nonce: str,
    owner: int,
    fingerprint: str,
    identity: Identity,
    model_version: str | None,
    journal_position: int | None,
) -> StateCopy:
    """Copy what the store lacks. `base` None, or too much to correct: everything, under key names never used."""
    columns, live = state.columns, LiveTicks(*state.live_rows())
    ahead = _delta_ahead(columns, base, live) if base else None
    if base is None or ahead is None:
        base, ahead = None, _full_ahead(columns, live)
        columns.touch_all()
        labels, side = Labels.fresh(checkpoint, nonce), 0
    else:
        labels, side = base.labels, 1 - base.side
    written_ahead = [name for name, field in columns.fields.items() if field.ahead]
    if base is None:
        for name in written_ahead:
            columns.take_changed(name)
    pieces = ahead.in_place + columns.take_dirty(side, but=written_ahead)
    header = Header(
        layout=columns.layout,
        fingerprint=fingerprint,
        identity=identity,
        checkpoint=checkpoint,
        owner=owner,
        next_offset=state.next_offset,
        journal_position=journal_position,
        watermark_ms=state.watermark_ms,
        model_version=model_version,
        blocks=columns.blocks,
        live=live,
        side=side,
        labels=labels,
        fields=field_pieces(columns),
        ids=columns.ids_lengths(),
        overlay=len(ahead.overlay),
        meta=state.meta(),
    )
    return StateCopy(
        tag=f"{checkpoint}-{nonce}",
        base_tag=base.tag if base else None,
        header=header,
        pieces=pieces,
        new_blocks=range(base.blocks if base else 0, columns.blocks),
        overlay=ahead.overlay,
        overlay_rows=ahead.overlay_rows,
    )


# --- fields written ahead ---------------------------------------------------------------------------------------------


class Ahead(NamedTuple):
    """Of the fields written ahead: what goes in place, and what does not."""

    in_place: list[Piece]
    overlay: bytes
    overlay_rows: dict[str, BoolArray]


def ticks_of_rows(live: LiveTicks, rows: int) -> IntArray:
    """The tick that lies in each row: int64 [rows], the newest of those that share it, FREE where none is live."""
    ticks = live.last - (live.last - np.arange(rows, dtype=np.int64)) % rows
    return np.where(ticks >= live.first, ticks, FREE)


def _full_ahead(columns: Columns, live: LiveTicks) -> Ahead:
    pieces: list[Piece] = []
    overlay_rows: dict[str, BoolArray] = {}
    for name, field in columns.fields.items():
        if field.ahead:
            marked = np.zeros((columns.blocks, field.rows), np.bool_)
            overlay_rows[name] = marked.copy()
            marked[:, ticks_of_rows(live, field.rows) != FREE] = True
            pieces += columns.copy(name, marked)
    return Ahead(pieces, b"", overlay_rows)


def _delta_ahead(columns: Columns, base: Base, live: LiveTicks) -> Ahead | None:
    """None: more changed in live rows than an overlay should carry."""
    in_place: list[Piece] = []
    overlaid: list[Piece] = []
    overlay_rows: dict[str, BoolArray] = {}
    overlay_bytes = live_bytes = 0
    marks: dict[str, tuple[BoolArray, BoolArray]] = {}
    for name, field in columns.fields.items():
        if not field.ahead:
            continue
        marks[name] = _destinations(columns.take_changed(name), base, name, live)
        overlay_bytes += int(marks[name][1].sum()) * field.row_bytes
        live_bytes += sum(last - first for first, last in live.runs(field.rows)) * columns.blocks * field.row_bytes
    if overlay_bytes > min(OVERLAY_BYTES_MAX, max(OVERLAY_BYTES_MIN, live_bytes * OVERLAY_SHARE_MAX)):
        return None
    for name, (safe, unsafe) in marks.items():
        in_place += columns.copy(name, safe)
        overlaid += columns.copy(name, unsafe)
        overlay_rows[name] = unsafe
    return Ahead(in_place, encode_overlay(columns, overlaid), overlay_rows)


def _destinations(changed: BoolArray, base: Base, name: str, live: LiveTicks) -> tuple[BoolArray, BoolArray]:
    """Rows to write in place and rows for the overlay, bool [blocks, rows] each."""
    blocks, rows = changed.shape
    now, before = ticks_of_rows(live, rows), ticks_of_rows(base.live, rows)
    behind = np.zeros((blocks, rows), np.bool_)
    behind[: base.blocks] = base.overlay[name]
    new = (np.arange(blocks) >= base.blocks)[:, None]
    # A row that becomes live is written in every block: nothing is known of what lay there while it was free.
    write = (now != FREE) & (changed | behind | new | (now != before))
    # A row that keeps changing stays in the overlay, one write for all: in place it could go only every other time.
    safe = (before == FREE) | (behind & ~changed) | new
    return write & safe, write & ~safe


# --- the overlay ------------------------------------------------------------------------------------------------------
# int32: number of runs; then for each run int32 [field, block, row, rows]; then their bytes in the same order.


def encode_overlay(columns: Columns, pieces: list[Piece]) -> bytes:
    """One string of all pieces; empty for none."""
    if not pieces:
        return b""
    order = list(columns.fields)
    runs = [(order.index(p.field), p.block, p.row, len(p.data) // columns.fields[p.field].row_bytes) for p in pieces]
    table = np.array(runs, "<i4").tobytes()
    return b"".join([len(runs).to_bytes(4, "little"), table, *(piece.data for piece in pieces)])


def decode_overlay(header: Header, data: bytes) -> list[Piece]:
    """The pieces of an overlay, without copying."""
    if not data:
        return []
    order, view = list(header.fields), memoryview(data)
    count = int.from_bytes(data[:4], "little")
    start = 4 + 16 * count
    pieces = []
    for field, block, row, rows in np.frombuffer(data, "<i4", 4 * count, 4).reshape(count, 4).tolist():
        stop = start + rows * header.fields[order[field]].row_bytes
        pieces.append(Piece(order[field], block, row, view[start:stop]))
        start = stop
    assert start == len(data), "the header's length is that of its overlay"
    return pieces


def overlay_marks(header: Header, pieces: list[Piece]) -> dict[str, BoolArray]:
    """Rows that an overlay holds: bool [blocks, rows] of each field written ahead."""
    marks = {
        name: np.zeros((header.blocks, field.rows), np.bool_) for name, field in header.fields.items() if field.ahead
    }
    for piece in pieces:
        field = header.fields[piece.field]
        first = piece.block * field.rows + piece.row
        marks[piece.field].reshape(-1)[first : first + len(piece.data) // field.row_bytes] = True
    return marks


# --- addresses --------------------------------------------------------------------------------------------------------


def _split(header: Header, piece: Piece, chunk_bytes: int) -> Iterator[Write]:
    """Cut a run of rows at the borders of keys and at `chunk_bytes`."""
    if piece.field == "ids":
        yield from _split_whole(piece_key(header.side_label, "ids", piece.block), piece.data, chunk_bytes)
        return
    field, label = header.fields[piece.field], header.label_of(piece.field)
    key_bytes = field.blocks_per_key * field.block_bytes
    address = piece.block * field.block_bytes + piece.row * field.row_bytes
    data = memoryview(piece.data)
    while data:
        number, offset = divmod(address, key_bytes)
        length = min(len(data), key_bytes - offset, chunk_bytes)
        yield Write(piece_key(label, piece.field, number), offset, data[:length])
        address, data = address + length, data[length:]


def _split_whole(key: str, data: bytes | memoryview, chunk_bytes: int) -> Iterator[Write]:
    view = memoryview(data)
    yield Write(key, None, view[:chunk_bytes])
    for start in range(chunk_bytes, len(view), chunk_bytes):
        yield Write(key, start, view[start : start + chunk_bytes])
