"""Checkpoints: the state of a partition, written to and read from Redis.

The order of a checkpoint: `copy` copies what changed (the pipeline's thread, before the next reading is observed); the
transaction commits; `write` sends the copies to places that the last acknowledged checkpoint does not need (the
saver's thread), then flips the header in one step. Cut off anywhere, Redis holds the one before or the new one.

Each write is fenced by the owner's token and by the last acknowledged checkpoint (commands.py), so neither a
stale owner nor a delta on a base that a failover took back does harm. After a refusal, or a copy that was dropped, the
next copy is a full snapshot under new key names. state_copy.py says what goes where; header.py what the header says.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

import structlog

from model_core.spec import StreamSpec
from stream_app.checkpoints import state_copy
from stream_app.checkpoints.commands import (
    CheckpointRefused,
    OwnershipLost,
    PartitionKeys,
    reaching,
)
from stream_app.checkpoints.header import Header, Identity, Labels, label_of_key
from stream_app.checkpoints.reading import Build, Loaded, State, Unusable, load
from stream_app.checkpoints.state_copy import Base, CheckpointedState, StateCopy, Write
from stream_app.errors import TidecastError

CHUNK_BYTES = 4 << 20
CHUNK_PIECES = 1024  # a script blocks the server for well under 10 ms
REDIS_VERSION_MIN = 7

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OwnerToken:
    """Who may write a partition's state. Compared for equality: a counter that a failover took back fences nobody."""

    stream: str
    partition: int
    counter: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.counter}:{self.nonce}"


@dataclass(frozen=True)
class Restored(Generic[State]):
    """A state as of the last acknowledged checkpoint."""

    header: Header
    state: State


@dataclass(frozen=True)
class Written:
    """What one checkpoint cost."""

    bytes_written: int
    commands: int  # sent to Redis
    pieces: int  # SETRANGE and SET within them
    full: bool


@dataclass
class _Lineage:
    """The checkpoints of one ownership, one after another. `base` is None while the last copy is not acknowledged."""

    token: OwnerToken
    keys: PartitionKeys
    fingerprint: str
    identity: Identity
    next_checkpoint: int
    base: Base | None = None
    latest: int = 0  # checkpoint of the newest copy
    registered: set[str] = field(default_factory=set)
    lengths: dict[str, int] = field(default_factory=dict)  # key → bytes that it has at least
    sweep_due: bool = True  # what others left behind


class CheckpointStore:
    """One per process. `copy` belongs to the pipeline's thread, `write` to the saver's."""

    def __init__(
        self, client: Any, application_id: str, *, chunk_bytes: int = CHUNK_BYTES, chunk_pieces: int = CHUNK_PIECES
    ) -> None:
        self._client = client
        self._application_id = application_id
        self._chunk_bytes = chunk_bytes
        self._chunk_pieces = chunk_pieces
        self._lineages: dict[tuple[str, int], _Lineage] = {}
        self._changing = threading.Lock()  # them: by the poll thread and the saver's

    def check_server(self) -> None:
        """Refuses a server that would throw state away, and one that takes no writes now.

        Raises TidecastError, StoreUnavailable.
        """
        with reaching("server at redis.url"):
            where = {"target_nodes": "primaries"} if hasattr(self._client, "get_primaries") else {}
            found = self._client.info(**where)
        for info in found.values() if where else [found]:
            policy, version = info.get("maxmemory_policy", "unknown"), str(info.get("redis_version", "0"))
            if policy not in ("noeviction", "unknown"):
                raise TidecastError(
                    f"Expected maxmemory-policy noeviction, found {policy} on the Redis at redis.url: it would throw "
                    "the state of series away silently. Remedy: CONFIG SET maxmemory-policy noeviction, and the "
                    "same in its configuration file; or give tidecast a Redis of its own."
                )
            if int(version.partition(".")[0]) < REDIS_VERSION_MIN:
                raise TidecastError(
                    f"Expected Redis {REDIS_VERSION_MIN} or newer (or Valkey), found {version} at redis.url. "
                    "Remedy: upgrade it, or point redis.url at another."
                )
        with reaching("server at redis.url"):
            # No byte, so no key: but a replica, a full or a broken server refuses it as it would a checkpoint.
            self._client.execute_command("SETRANGE", f"{{{self._application_id}:probe}}", 0, b"")

    # --- ownership --------------------------------------------------------------------------------------------------

    def acquire(self, stream: str, partition: int, spec: StreamSpec, identity: Identity) -> OwnerToken:
        """Become the owner of a partition's state; whoever was it before can write no more."""
        keys, nonce = self._keys(stream, partition), secrets.token_hex(4)
        counter, tag = keys.acquire(nonce)
        token = OwnerToken(stream, partition, counter, nonce)
        following = int(tag.partition("-")[0]) + 1 if tag else 1
        with self._changing:
            self._lineages[stream, partition] = _Lineage(token, keys, spec.fingerprint(), identity, following)
        return token

    def acquire_again(self, token: OwnerToken) -> OwnerToken:
        """Become the owner of the same state once more, after Redis forgot it; the next copy is a full snapshot.

        Raises OwnershipLost if this process has acquired it anew meanwhile: then it is up to that owner.
        """
        before = self._lineage(token)
        keys, nonce = self._keys(token.stream, token.partition), secrets.token_hex(4)
        counter, tag = keys.acquire(nonce)
        renewed = OwnerToken(token.stream, token.partition, counter, nonce)
        following = max(before.next_checkpoint, int(tag.partition("-")[0]) + 1 if tag else 1)
        with self._changing:
            self._lineage(token)
            self._lineages[token.stream, token.partition] = _Lineage(
                renewed, keys, before.fingerprint, before.identity, following
            )
        return renewed

    def release(self, token: OwnerToken) -> None:
        """Release a partition; does nothing if another owner has it."""
        place = (token.stream, token.partition)
        with self._changing:
            if place in self._lineages and self._lineages[place].token == token:
                del self._lineages[place]
        self._keys(token.stream, token.partition).release(str(token))

    def forget(self, stream: str, partition: int) -> None:
        """Delete all keys of a partition; a worker that still owns it can write no more."""
        self._lineages.pop((stream, partition), None)
        self._keys(stream, partition).delete_all()

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, token: OwnerToken, build: Build[State]) -> Restored[State] | None:
        """The state as of the last acknowledged checkpoint, made by `build(meta, ids_pieces, pieces)`.

        The next copy of it is a delta, unless it had an older layout. None: there is none, or a piece is missing:
        rebuild it from the log.
        Raises StateMismatch where the state is that of another configuration or log, StoreUnavailable.
        """
        lineage = self._lineage(token)
        lineage.base = None
        keys = lineage.keys
        try:
            loaded = load(keys, lineage.fingerprint, lineage.identity, build)
        except Unusable as reason:
            log.warning("checkpoint unusable", where=keys.where, reason=str(reason), next="rebuild from the log")
            return None
        if loaded is None:
            return None
        if loaded.header.layout == loaded.state.columns.layout:
            loaded.state.columns.mark_written(loaded.header.side)
            lineage.base = _base(lineage, loaded)
            lineage.lengths = dict(loaded.header.pieces())
        else:  # no delta fits on it
            log.info("state is of an older layout", where=keys.where, next="the next checkpoint is a full one")
        return Restored(loaded.header, loaded.state)

    # --- writing ----------------------------------------------------------------------------------------------------

    def copy(
        self,
        token: OwnerToken,
        state: CheckpointedState,
        *,
        model_version: str | None = None,
        journal_position: int | None = None,
    ) -> StateCopy:
        """Copy what changed since the last acknowledged checkpoint; everything, when that one is not known."""
        lineage = self._lineage(token)
        base, lineage.base = lineage.base, None
        checkpoint = lineage.next_checkpoint
        lineage.next_checkpoint, lineage.latest = checkpoint + 1, checkpoint
        return state_copy.copy_state(
            state,
            base,
            checkpoint=checkpoint,
            nonce=token.nonce,
            owner=token.counter,
            fingerprint=lineage.fingerprint,
            identity=lineage.identity,
            model_version=model_version,
            journal_position=journal_position,
        )

    def write(self, token: OwnerToken, copy: StateCopy) -> Written:
        """Send a copy and make it the checkpoint that is read.

        Raises StoreUnavailable (the same copy may be written again), BaseMismatch, OwnershipLost.
        """
        lineage = self._lineage(token)
        keys, before = lineage.keys, lineage.keys.commands
        base_tag = keys.tag() if copy.base_tag is None else copy.base_tag
        fence = (str(token), base_tag, copy.tag)
        pieces = 0
        for chunk in self._chunks(copy):
            new = {write.key for write in chunk} - lineage.registered
            if new:
                keys.register(fence, sorted(new))
                lineage.registered |= new
            if not keys.write(fence, chunk, lineage.lengths):
                break  # it stands already: only the answer to its flip was lost
            pieces += len(chunk)
        keys.flip(fence, copy.header.encode())
        if copy.header.checkpoint == lineage.latest:
            lineage.base = copy.as_base()
        lineage.sweep_due |= copy.full
        self._sweep(lineage, copy)
        return Written(copy.bytes, keys.commands - before, pieces, copy.full)

    def _chunks(self, copy: StateCopy) -> Iterator[list[Write]]:
        chunk: list[Write] = []
        size = 0
        for write in copy.writes(self._chunk_bytes):
            if chunk and (size + len(write.data) > self._chunk_bytes or len(chunk) >= self._chunk_pieces):
                yield chunk
                chunk, size = [], 0
            chunk.append(write)
            size += len(write.data)
        if chunk:
            yield chunk

    def _sweep(self, lineage: _Lineage, copy: StateCopy) -> None:
        if not lineage.sweep_due:
            return
        try:
            lineage.keys.sweep(str(lineage.token), copy.tag, set(copy.header.labels))
            lineage.sweep_due = False
            labels = copy.header.labels
            lineage.registered = {key for key in lineage.registered if label_of_key(key) in labels}
            lineage.lengths = {key: each for key, each in lineage.lengths.items() if label_of_key(key) in labels}
        except CheckpointRefused as error:  # the checkpoint stands; what is left behind goes with the next one
            log.warning("checkpoint sweep failed", where=lineage.keys.where, error=str(error))

    def _keys(self, stream: str, partition: int) -> PartitionKeys:
        return PartitionKeys(self._client, self._application_id, stream, partition)

    def _lineage(self, token: OwnerToken) -> _Lineage:
        lineage = self._lineages.get((token.stream, token.partition))
        if lineage is None or lineage.token != token:
            raise OwnershipLost(
                f"Expected owner {token} of stream {token.stream!r}, partition {token.partition}; this process has "
                "released it or acquired it again since. Use the newest token."
            )
        return lineage


def _base(lineage: _Lineage, loaded: Loaded[State]) -> Base:
    """What was read, with a new standby side: nobody knows what a dead owner left on the old one."""
    header = loaded.header
    standby = Labels.fresh(lineage.next_checkpoint, lineage.token.nonce)[1 - header.side]
    return Base(
        tag=loaded.tag,
        labels=header.labels.with_side(1 - header.side, standby),
        side=header.side,
        blocks=header.blocks,
        live=header.live,
        overlay=state_copy.overlay_marks(header, loaded.overlay),
    )
