"""What a stopped deployment left in Redis, as a state; and when two of them are the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from confluent_kafka.admin import AdminClient

from model_core.partition import PartitionState
from stream_app.checkpoints import CheckpointStore, Restored, connect
from stream_app.runtime.startup import identities
from stream_app.settings import Settings

if TYPE_CHECKING:
    from tests.app.running_worker import World


def saved_state(world: World, config: Path, partition: int) -> PartitionState:
    settings = Settings.load(config, {})
    spec = settings.streams["tides"]
    identity = identities(settings, AdminClient({"bootstrap.servers": world.bootstrap}))["tides"]
    store = CheckpointStore(connect(world.redis_url), settings.application_id)
    token = store.acquire("tides", partition, spec, identity)
    restored: Restored[PartitionState] | None = store.read(
        token, lambda meta, ids, pieces: PartitionState.restore(spec, partition, meta, ids, pieces)
    )
    assert restored is not None
    return restored.state


def same_state(one: PartitionState, other: PartitionState) -> None:
    """Every live row of every series, and what is no column."""
    assert one.columns.index.keys() == other.columns.index.keys()
    mine = np.array(list(one.columns.index.values()), np.int64)
    others = np.array([other.columns.index[series_id] for series_id in one.columns.index], np.int64)
    assert one.live_rows() == other.live_rows()
    first, last = one.live_rows()
    for name, field in one.columns.fields.items():
        rows = np.arange(first, last + 1) % field.rows if field.ahead else np.arange(field.rows)
        left, right = (
            state.columns.arrays[name][columns >> 8, :, columns & 255][:, rows]
            for state, columns in ((one, mine), (other, others))
        )
        np.testing.assert_array_equal(left, right, err_msg=name)
    np.testing.assert_equal(one.meta(), other.meta())
