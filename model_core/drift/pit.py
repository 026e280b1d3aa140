"""Histogram of the probability integral transform of one-step forecasts (Dawid 1984): flat when they are calibrated.

The bins are the gaps between the issued quantiles: bin q is expected to hold levels[q] − levels[q − 1] of the values.
"""

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.columns import Columns, Field


def pit_fields(levels: int) -> tuple[Field, ...]:
    return (Field("pit", np.float32, inner=(levels + 1,)),)  # exponentially weighted counts


class PitHistogram:
    """One histogram a column, forgetting with `decay` a value."""

    def __init__(self, columns: Columns, levels: FloatArray) -> None:
        self._columns = columns
        self._expected = np.diff(np.concatenate(([0.0], levels, [1.0])))

    def update(self, index: IntArray, actual: AnyArray, quantiles: AnyArray, decay: float) -> None:
        """Actual values [n] and the quantiles issued for them [n, Q]."""
        counts = self._columns.flat("pit")[index] * np.float32(decay)
        counts[np.arange(len(index)), (quantiles < actual[:, None]).sum(axis=1)] += 1
        self._columns.flat("pit")[index] = counts

    def divergence(self, index: IntArray) -> tuple[float, float]:
        """Of the merged histogram of columns: Σ (share − expected)² / expected, and its weight in values."""
        counts = self._columns.flat("pit")[index].sum(axis=0, dtype=np.float64)
        total = float(counts.sum())
        if total == 0:
            return 0.0, 0.0
        return float((((counts / total) - self._expected) ** 2 / self._expected).sum()), total
