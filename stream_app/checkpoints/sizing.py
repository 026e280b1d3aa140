"""How much memory a series takes, by part: in a worker, and about the same in Redis."""

from __future__ import annotations

from model_core.columns import BLOCK
from model_core.partition import PartitionState
from model_core.spec import StreamSpec

# Measured with 100,000 series (docs/BENCHMARKS.md): what the store takes beside the arrays' own bytes.
REDIS_FACTOR = 1.4
WORKER_FACTOR, WORKER_MB = 1.3, 300  # of the promise for the resident memory


def parts(spec: StreamSpec) -> dict[str, float]:
    """Field → bytes a series, the largest first."""
    found = {name: length / BLOCK for name, length in PartitionState(spec, 0).columns.lengths().items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def state_bytes(spec: StreamSpec) -> float:
    """Bytes a series."""
    return sum(parts(spec).values())
