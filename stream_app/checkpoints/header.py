"""The header of a checkpoint: names and lengths of its pieces, and for whom it was written.

Knows nothing of Redis, only names and bytes. A reader accepts a piece only if the header names its length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from model_core.columns import Columns, Field
from stream_app.errors import TidecastError

FORMAT = 1  # of this module's JSON and key names; that of the arrays is Columns.layout
KEY_BYTES = 4 << 20  # blocks of one field share a key up to this size, so that few keys hold many series


class StateMismatch(TidecastError):
    """The state in Redis means something else than this worker would read into it: it is refused."""


class Identity(msgspec.Struct, frozen=True):
    """The log that a state was made from, and who consumed it."""

    cluster_id: str
    topic_id: str
    partition_count: int
    group: str


class LiveTicks(NamedTuple):
    """Ticks, both ends included, whose rows mean something; (0, -1) is none."""

    first: int
    last: int

    def runs(self, rows: int) -> list[tuple[int, int]]:
        """Their rows (tick mod rows) as [first, last) runs: none, one, or two around the end."""
        count = self.last - self.first + 1
        if count <= 0:
            return []
        if count >= rows:
            return [(0, rows)]
        start, stop = self.first % rows, self.last % rows + 1
        return [(start, stop)] if start < stop else [(0, stop), (start, rows)]


class FieldPieces(msgspec.Struct, frozen=True):
    """How one field lies in its keys: key k holds the blocks k·blocks_per_key and following, row after row."""

    rows: int
    row_bytes: int
    ahead: bool
    blocks_per_key: int

    @classmethod
    def of(cls, field: Field) -> FieldPieces:
        # A growing key would be longer than the last header says. On a side that no header names this is harmless,
        # so blocks may share a key there; what is written ahead has one key a block.
        share = 1 if field.ahead else max(1, KEY_BYTES // (field.rows * field.row_bytes))
        return cls(field.rows, field.row_bytes, field.ahead, share)

    @property
    def block_bytes(self) -> int:
        return self.rows * self.row_bytes

    def key_lengths(self, blocks: int) -> Iterator[tuple[int, int]]:
        """(key number, bytes) of all keys of this field."""
        for first in range(0, blocks, self.blocks_per_key):
            held = min(self.blocks_per_key, blocks - first)
            yield first // self.blocks_per_key, held * self.block_bytes


class Labels(NamedTuple):
    """Name the key sets of sides A and B and of what is written ahead; never used twice for different attempts."""

    a: str
    b: str
    ahead: str

    @classmethod
    def fresh(cls, checkpoint: int, nonce: str) -> Labels:
        return cls(*(f"{checkpoint}-{nonce}-{part}" for part in ("a", "b", "ahead")))

    def with_side(self, side: int, label: str) -> Labels:
        return self._replace(**{("a", "b")[side]: label})


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The last word on a partition's state in Redis; flipped as a whole."""

    format: int = FORMAT
    layout: str
    fingerprint: str
    identity: Identity
    checkpoint: int  # rises by one a checkpoint
    owner: int  # counter of the owner that wrote it
    next_offset: int
    journal_position: int | None
    watermark_ms: int | None
    model_version: str | None
    blocks: int
    live: LiveTicks
    side: int  # 0 (A) or 1 (B)
    labels: Labels
    fields: dict[str, FieldPieces]
    ids: list[int]  # bytes of the id table of each block
    overlay: int  # bytes of the rows that could not be written in place
    meta: dict[str, Any]

    @property
    def side_label(self) -> str:
        return self.labels[self.side]

    def label_of(self, field: str) -> str:
        return self.labels.ahead if self.fields[field].ahead else self.side_label

    def pieces(self) -> Iterator[tuple[str, int]]:
        """(key, bytes) of every piece of the state."""
        for name, field in self.fields.items():
            for number, length in field.key_lengths(self.blocks):
                yield piece_key(self.label_of(name), name, number), length
        for block, length in enumerate(self.ids):
            yield piece_key(self.side_label, "ids", block), length
        if self.overlay:
            yield overlay_key(self.side_label), self.overlay

    def encode(self) -> bytes:
        return json.dumps(msgspec.to_builtins(self)).encode()  # json, not msgspec: meta may hold NaN

    @classmethod
    def decode(cls, body: bytes) -> Header:
        """Raises ValueError for anything that is no header of this format."""
        return msgspec.convert(json.loads(body), cls)


# msgspec looks into a class when it is used first, and a thread that uses it meanwhile crashes the process (in 0.22).
# States are restored by several threads: no first use is left to them.
msgspec.json.Decoder(Header)


def piece_key(label: str, field: str, number: int) -> str:
    return f"{label}:{field}:{number}"


def overlay_key(label: str) -> str:
    return f"{label}:overlay"


def label_of_key(key: str) -> str:
    return key.partition(":")[0]


def field_pieces(columns: Columns) -> dict[str, FieldPieces]:
    return {name: FieldPieces.of(field) for name, field in columns.fields.items()}


def format_of(body: bytes) -> int | None:
    """Format of a header that may be of another version; None where it cannot be told."""
    try:
        found = json.loads(body)["format"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


REBUILD = "`tidecast reset --to earliest` rebuilds it from the log, or go on under a new application_id"
REPROCESS = "Go on under a new application_id (and output prefix), which reprocesses the log"
DIFFERENCES = {
    "cluster_id": ("cluster id", f"This is another Kafka cluster. {REPROCESS}"),
    "topic_id": (
        "topic id",
        f"The topic was deleted and created again: its offsets start anew. {REBUILD}",
    ),
    "partition_count": (
        "partition count",
        f"Keys have moved between partitions; nothing is lost. {REPROCESS}",
    ),
    "group": ("consumer group", f"Its offsets are not those of this group. {REBUILD}"),
}


def check_format(where: str, body: bytes) -> None:
    """Raises StateMismatch for the header of another version of tidecast."""
    found = format_of(body)
    if found is not None and found != FORMAT:
        raise StateMismatch(
            f"Expected a checkpoint of format {FORMAT}, found format {found} under {where}: it was written by another "
            f"version of tidecast. Run that version, or {REBUILD}."
        )


def check_source(header: Header, where: str, fingerprint: str, identity: Identity) -> None:
    """Raises StateMismatch where the state belongs to another configuration or another log."""
    for name, (words, remedy) in DIFFERENCES.items():
        expected, found = getattr(identity, name), getattr(header.identity, name)
        if expected != found:
            raise StateMismatch(f"Expected {words} {expected!r}, found {found!r} in the state under {where}. {remedy}.")
    if header.fingerprint != fingerprint:
        raise StateMismatch(
            f"Expected configuration fingerprint {fingerprint}, found {header.fingerprint} in the state under {where}: "
            "a setting that gives the state its meaning (freq, context_length, aggregate, …) was changed. "
            f"Change it back; or {REBUILD}. `tidecast config show` names these settings."
        )


def check_layout(header: Header, where: str, columns: Columns) -> None:
    """Raises StateMismatch where the arrays were not those that this version read them as."""
    if header.layout != columns.loaded_layout:
        raise StateMismatch(
            f"Expected state layout {columns.loaded_layout}, found {header.layout} under {where}: the arrays are those "
            f"of another version of tidecast. Run that version, or {REBUILD}."
        )
