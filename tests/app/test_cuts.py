"""The pipeline is always behind the poll thread: what it copies may have changed hands meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redis

from model_core.partition import PartitionState
from model_core.spec import StreamSpec
from stream_app.assignment import Owned
from stream_app.checkpoints import CheckpointStore, Identity
from stream_app.cuts import Cuts
from stream_app.journal import Journaled
from stream_app.poll_batch import Receipt, StreamPartition
from stream_app.settings.model import Limits

SPEC = StreamSpec(topic="in", freq="10min")
IDENTITY = Identity("cluster", "topic", 1, "group")
AT = StreamPartition("tides", 0)


def taken(store: CheckpointStore) -> Owned:
    """As the poll thread takes a partition, each time anew."""
    token = store.acquire(AT.stream, AT.partition, SPEC, IDENTITY)
    state = PartitionState(SPEC, AT.partition)
    state.next_offset = 5
    return Owned(AT, SPEC, state, token, start_offset=0, emit_from=0, journaled=Journaled.after([], 0))


@pytest.mark.parametrize("then", ["taken anew", "let go of"])
def test_a_partition_that_changed_hands_while_it_was_processed_is_not_copied(
    redis_client: redis.Redis, application_id: str, then: str
) -> None:
    """It ended the worker: a rewind takes partitions anew while the pipeline is in the midst of a poll batch."""
    store = CheckpointStore(redis_client, application_id)
    saver: Any = SimpleNamespace(is_away=False)
    cuts = Cuts(Limits(), store, saver)
    stale = taken(store)
    if then == "taken anew":
        newer = taken(store)
    else:
        store.release(stale.token)
    assert cuts.take({AT: stale}, now=1.0).checkpoints == ()
    assert cuts.take_last({AT: stale}, frozenset([AT]), Receipt()).checkpoints == ()
    if then == "taken anew":
        ((owned, cut),) = cuts.take({AT: newer}, now=10.0).checkpoints
        assert owned is newer
        store.write(owned.token, cut)
