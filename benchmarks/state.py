"""What the state of a partition weighs, and what copying and reading it costs, in CPU time and without a Redis.

    python benchmarks/state.py [--series 10000] [--context 512] [--horizon 24] [--levels 9]

Prints bytes a series by field; then, for a checkpoint after one more tick of every series (forecasts are not made, so
of phase C's fields only what counts as changed with its block): the copy, its bytes, its writes, the header, the load.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.observe import START_MS, STEP_MS, observe
from model_core.columns import BLOCK
from model_core.partition import PartitionState
from model_core.readings import Readings
from model_core.spec import StreamSpec
from stream_app.checkpoints.header import Header, Identity
from stream_app.checkpoints.state_copy import StateCopy, copy_state

CHUNK_BYTES = 4 << 20


def tick_of(names: list[str], tick: int, rng: np.random.Generator) -> Readings:
    count = len(names)
    offsets = np.arange(count, dtype=np.int64) + tick * count
    return Readings(names, np.full(count, START_MS + tick * STEP_MS), rng.normal(size=count), offsets)


def copy_of(state: PartitionState, base: StateCopy | None, number: int) -> StateCopy:
    identity = Identity("cluster", "topic", 1, "group")
    return copy_state(
        state,
        base.as_base() if base else None,
        checkpoint=number,
        nonce="nonce",
        owner=1,
        fingerprint=state.spec.fingerprint(),
        identity=identity,
        model_version=None,
        journal_position=None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--levels", type=int, default=9)
    parser.add_argument("--forecast-every", type=int, default=12)
    options = parser.parse_args()
    spec = StreamSpec(
        topic="readings",
        freq=STEP_MS,
        readings_per_step=1,
        context_length=options.context,
        horizon=options.horizon,
        quantile_levels=tuple(np.round(np.arange(1, options.levels + 1) / (options.levels + 1), 4).tolist()),
        forecast_every=options.forecast_every,
        min_readings=10_000,
        accuracy="records",
    )
    rng = np.random.default_rng(1)
    names = [f"sensor-{i:06d}" for i in range(options.series)]
    state = PartitionState(spec, 0)
    for tick in range(8):
        observe(state, tick_of(names, tick, rng), 1 << 30)

    columns = state.columns
    weights = {name: field.rows * field.row_bytes / BLOCK for name, field in columns.fields.items()}
    for name, weight in sorted(weights.items(), key=lambda item: -item[1]):
        print(f"{name:16} {weight:9,.1f} bytes a series")
    print(f"{'sum':16} {sum(weights.values()):9,.1f} bytes a series, {columns.blocks} blocks\n")

    base: StateCopy | None = None
    for number in range(1, 6):
        observe(state, tick_of(names, 7 + number, rng), 1 << 30)
        started = time.process_time()
        copy = copy_of(state, base, number)
        copied = time.process_time()
        body = copy.header.encode()
        encoded = time.process_time()
        writes = sum(1 for _ in copy.writes(CHUNK_BYTES))
        split = time.process_time()
        kind = "full" if copy.full else "delta"
        print(
            f"checkpoint {number} ({kind}): {copy.bytes / options.series:8.1f} bytes a series, {writes} writes, "
            f"header {len(body):,} bytes; ms: copy {(copied - started) * 1e3:.1f}, header "
            f"{(encoded - copied) * 1e3:.2f}, addresses {(split - encoded) * 1e3:.2f}"
        )
        base = copy

    full = copy_of(state, None, 9)
    ids = [bytes(piece.data) for piece in full.pieces if piece.field == "ids"]
    pieces = [piece for piece in full.pieces if piece.field != "ids"]
    started = time.process_time()
    meta = Header.decode(full.header.encode()).meta
    PartitionState.restore(spec, 0, meta, ids, pieces)
    print(f"load: {time.process_time() - started:.3f} s for {full.bytes / 1e6:.0f} MB, without reading them from Redis")


if __name__ == "__main__":
    main()
