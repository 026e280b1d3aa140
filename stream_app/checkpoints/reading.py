"""Reading the last acknowledged checkpoint. It is accepted only if every piece has the length that the header names.

The reader owns the partition, so nobody else writes, unless it is taken for dead meanwhile: therefore the header is
compared once more at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model_core.columns import Coming, Piece
from model_core.errors import LayoutMismatch
from stream_app.checkpoints import state_copy
from stream_app.checkpoints.bulk_read import Range, WrongLength
from stream_app.checkpoints.commands import PartitionKeys
from stream_app.checkpoints.header import (
    REBUILD,
    Header,
    Identity,
    StateMismatch,
    check_format,
    check_layout,
    check_source,
    overlay_key,
    piece_key,
)
from stream_app.checkpoints.state_copy import CheckpointedState

State = TypeVar("State", bound=CheckpointedState)
# build(meta, id tables, pieces): a state of exactly these; it changes no column beyond loading them.
Build = Callable[[dict[str, Any], list[bytes], Iterable[Piece | Coming]], State]


class Unusable(Exception):
    """There is a checkpoint, and something is wrong with it: the state is rebuilt from the log."""


@dataclass(frozen=True)
class Loaded(Generic[State]):
    tag: str
    header: Header
    state: State
    overlay: list[Piece]


def load(keys: PartitionKeys, fingerprint: str, identity: Identity, build: Build[State]) -> Loaded[State] | None:
    """None where there is nothing. Raises Unusable, StateMismatch, StoreUnavailable."""
    found = keys.header()
    if found is None:
        return None
    tag, body = found
    check_format(keys.where, body)
    try:
        header = Header.decode(body)
    except ValueError as error:
        raise Unusable(f"the header cannot be read: {error}") from error
    check_source(header, keys.where, fingerprint, identity)
    _check_lengths(keys, header)
    overlay = state_copy.decode_overlay(header, _read_overlay(keys, header))
    tables = [Range(piece_key(header.side_label, "ids", block), 0, length) for block, length in enumerate(header.ids)]
    try:
        state = build(header.meta, _read_bytes(keys, tables), _read_pieces(keys, header, overlay))
    except WrongLength as error:
        raise Unusable(str(error)) from error
    except LayoutMismatch as error:
        raise StateMismatch(f"{error} This is the state under {keys.where}. Remedy: {REBUILD}.") from error
    check_layout(header, keys.where, state.columns)
    if keys.tag() != tag:
        raise Unusable("another checkpoint was written while it was read")
    return Loaded(tag, header, state, overlay)


def _check_lengths(keys: PartitionKeys, header: Header) -> None:
    pieces = list(header.pieces())
    found = keys.lengths([key for key, _ in pieces])
    for (key, expected), length in zip(pieces, found, strict=True):
        if length != expected:
            raise Unusable(f"piece {key}: expected {expected} bytes, found {length or 'none'}")


def _read_overlay(keys: PartitionKeys, header: Header) -> bytes:
    if not header.overlay:
        return b""
    try:
        return _read_bytes(keys, [Range(overlay_key(header.side_label), 0, header.overlay)])[0]
    except WrongLength as error:
        raise Unusable(str(error)) from error


def _read_bytes(keys: PartitionKeys, ranges: list[Range]) -> list[bytes]:
    found = []
    for answer in keys.read(ranges):
        data = bytearray(answer.length)
        answer.read(memoryview(data))
        found.append(bytes(data))
    return found


def _read_pieces(keys: PartitionKeys, header: Header, overlay: list[Piece]) -> Iterator[Piece | Coming]:
    """All rows that mean something, straight from the store, then those of the overlay, which win."""
    places: list[tuple[str, int, int]] = []  # field, block, row
    ranges: list[Range] = []
    for name, shape in header.fields.items():
        for number, length in shape.key_lengths(header.blocks):
            key, block = piece_key(header.label_of(name), name, number), number * shape.blocks_per_key
            if not shape.ahead:
                places.append((name, block, 0))
                ranges.append(Range(key, 0, length))
                continue
            for first, last in header.live.runs(shape.rows):
                places.append((name, block, first))
                ranges.append(Range(key, first * shape.row_bytes, (last - first) * shape.row_bytes))
    for (name, block, row), answer in zip(places, keys.read(ranges), strict=True):
        yield Coming(name, block, row, answer.length, answer.read)
    yield from overlay
