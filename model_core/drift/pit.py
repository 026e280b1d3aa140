"""Histogram of the probability integral transform of one-step forecasts (Dawid 1984): flat when they are calibrated.

The bins are the gaps between the issued quantiles: bin q is expected to hold levels[q] − levels[q − 1] of the values.
compiled/settle.c counts.
"""

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.columns import Columns, Field
from model_core.scoring import SCORED


def pit_fields(levels: int) -> tuple[Field, ...]:
    return (Field("pit", np.float32, inner=(levels + 1,), group=SCORED),)  # exponentially weighted counts


class PitHistogram:
    """One histogram a column, forgetting as the running scores do."""

    def __init__(self, columns: Columns, levels: FloatArray) -> None:
        self._columns = columns
        self._expected = np.diff(np.concatenate(([0.0], levels, [1.0])))

    def divergence(self, index: IntArray) -> tuple[float, float]:
        """Of the merged histogram of columns: Σ (share − expected)² / expected, and its weight in values."""
        counts = self._columns.flat("pit")[index].sum(axis=0, dtype=np.float64)
        total = float(counts.sum())
        if total == 0:
            return 0.0, 0.0
        return float((((counts / total) - self._expected) ** 2 / self._expected).sum()), total
