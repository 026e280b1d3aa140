"""What a deployment has learned about its series since training, read from its last checkpoints, for exported models.

Reading takes no ownership: the workers go on, and a checkpoint that is replaced meanwhile is read again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import AnyArray
from model_core.bundle import Bundle
from model_core.columns import Coming, Piece
from model_core.export_inputs import series_inputs
from model_core.partition import PartitionState
from model_core.scaler import read_scaler
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.settings import Settings

ATTEMPTS_MAX, PAUSE_S = 10, 0.3


@dataclass(frozen=True)
class Learned:
    """Of S series: inputs of an exported model by name, each with a row a series."""

    series: tuple[str, ...]
    inputs: dict[str, AnyArray]
    next_offsets: dict[int, int]  # partition → first offset that is not in it

    def save(self, file: Path) -> None:
        """safetensors; series and offsets as JSON in its metadata."""
        from safetensors.numpy import save

        offsets = {str(partition): offset for partition, offset in self.next_offsets.items()}
        metadata = {"series": json.dumps(self.series), "next_offsets": json.dumps(offsets)}
        file.write_bytes(save({name: np.ascontiguousarray(array) for name, array in self.inputs.items()}, metadata))


def read_learned(settings: Settings, stream: str, bundle: Bundle) -> Learned:
    """TidecastError where nothing was saved yet, or the state was learned with another model."""
    from stream_app.checkpoints import connect
    from stream_app.checkpoints.commands import PartitionKeys
    from stream_app.kafka.admin import Admin
    from stream_app.runtime.startup import identities

    identity = identities(settings, Admin(settings))[stream]
    timeout_s, cluster = settings.limits.redis_timeout / 1000, settings.redis.cluster
    client = connect(settings.redis.url, timeout_s=timeout_s, cluster=cluster)
    states: list[PartitionState] = []
    for partition in range(identity.partition_count):
        keys = PartitionKeys(client, settings.application_id, stream, partition)
        state = _read(settings, stream, bundle, partition, keys, identity)
        if state is not None:
            states.append(state)
    parts = [_of_partition(state) for state in states]
    series = tuple(name for names, _ in parts for name in names)
    if not series:
        raise TidecastError(
            f"No forecast of stream {stream} is in a checkpoint of {settings.application_id} yet: let a worker run, "
            "or export without --with-state."
        )
    inputs = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    return Learned(series, inputs, {state.partition: state.next_offset for state in states})


def _read(
    settings: Settings, stream: str, bundle: Bundle, partition: int, keys: Any, identity: Any
) -> PartitionState | None:
    from stream_app.checkpoints.reading import Unusable, load

    spec, version = settings.streams[stream], bundle.manifest.version

    def build(meta: dict[str, Any], ids: list[bytes], pieces: Iterable[Piece | Coming]) -> PartitionState:
        if meta["model_version"] != version:
            raise TidecastError(
                f"partition {partition} of {stream} is served by model {meta['model_version'] or 'none'}, expected "
                f"{version}: offsets mean nothing to another model. Export the one that serves, or wait for the swap."
            )
        return PartitionState.restore(spec, partition, meta, ids, pieces, bundle.facts())

    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            loaded = load(keys, spec.fingerprint(), identity, build)
        except Unusable as reason:
            if attempt == ATTEMPTS_MAX:
                raise TidecastError(f"the checkpoint of partition {partition} of {stream}: {reason}.") from reason
            time.sleep(PAUSE_S)
        else:
            return loaded.state if loaded else None
    raise AssertionError("the last attempt returns or raises")


def _of_partition(state: PartitionState) -> tuple[list[str], dict[str, AnyArray]]:
    """Series that had a forecast, in the order of their names."""
    columns, flat = state.columns, state.columns.flat
    names = sorted(name for name, column in columns.index.items() if flat("calibrated")[column])
    index = np.array([columns.index[name] for name in names], np.int64)
    _, scale, _ = read_scaler(columns, index)
    inputs = series_inputs(state, names, scale) | {"fill": flat("fill")[index].astype(np.int64)}
    if "covariates" in columns.fields:
        center, spread, _ = read_scaler(columns, flat("covariates")[index].astype(np.int64))
        inputs |= {"covariate_center": center, "covariate_scale": spread}
    return names, inputs
