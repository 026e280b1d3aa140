"""What a process has of one partition, and how its state is compared with another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model_core.spec import StreamSpec
from stream_app.checkpoints import (
    CheckpointStore,
    Identity,
    OwnerToken,
    StateCopy,
    Written,
)
from stream_app.checkpoints.commands import PartitionKeys
from stream_app.checkpoints.header import Header
from stream_app.checkpoints.reading import load
from tests.app.checkpoints.small_state import SmallState

SPEC = StreamSpec(topic="readings", freq="10min")
IDENTITY = Identity("cluster-1", "topic-1", 4, "app")
TINY = {"chunk_bytes": 1500, "chunk_pieces": 3}  # many commands a checkpoint, borders in the middle of rows


class Worker:
    """A store, the token of one partition, and its state: what a process has."""

    def __init__(self, client: Any, application_id: str, **options: int) -> None:
        self.store = CheckpointStore(client, application_id, **options)
        self.keys = PartitionKeys(client, application_id, "s", 0)
        self.token: OwnerToken = self.store.acquire("s", 0, SPEC, IDENTITY)
        self.state = SmallState()

    def copy(self) -> StateCopy:
        return self.store.copy(self.token, self.state, model_version="m1", journal_position=7)

    def write(self, copy: StateCopy) -> Written:
        return self.store.write(self.token, copy)

    def checkpoint(self) -> Written:
        return self.write(self.copy())

    def resume(self) -> Header | None:
        """Read and go on from there; None leaves an empty state."""
        restored = self.store.read(self.token, SmallState.restore)
        if restored is None:
            return None
        self.state = restored.state
        self.state.next_offset = restored.header.next_offset
        self.state.watermark_ms = restored.header.watermark_ms
        return restored.header


def assert_reads(start: Callable[..., Worker], expected: dict[str, Any]) -> None:
    other = start()
    assert other.resume() is not None
    assert_equal(other.state.facts(), expected)


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [name for name in expected if found[name] != expected[name]] == []


def reread(worker: Worker) -> dict[str, Any]:
    """What another process would read now, without becoming the owner."""
    loaded = load(worker.keys, SPEC.fingerprint(), IDENTITY, SmallState.restore)
    assert loaded is not None
    return loaded.state.facts()
