"""Histogram of the probability integral transform of one-step forecasts (Dawid 1984): flat when they are calibrated.

The bins are the gaps between the issued quantiles: bin q should hold levels[q] − levels[q − 1] of the values. How far a
merged histogram is from that is reported as population stability index (Siddiqi 2006). compiled/drift.h counts.
"""

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.columns import Columns, Field
from model_core.scoring import SCORED

PSI_WARNING, PSI_DRIFT = 0.1, 0.25
WEIGHT_MIN = 40.0  # values a bin, on average, from which an index says something
SHARE_MIN = 1e-4  # of a bin without any value


def pit_fields(levels: int) -> tuple[Field, ...]:
    return (Field("pit", np.float32, inner=(levels + 1,), group=SCORED),)  # exponentially weighted counts


def psi(share: FloatArray, expected: FloatArray) -> float:
    """Σ (share − expected) ln(share / expected) over bins, float64 [N] each, shares of one whole."""
    share, expected = np.maximum(share, SHARE_MIN), np.maximum(expected, SHARE_MIN)
    return float(((share - expected) * np.log(share / expected)).sum())


class PitHistogram:
    """One histogram a column, forgetting as the running scores do."""

    def __init__(self, columns: Columns, levels: FloatArray) -> None:
        self._columns = columns
        self._expected = np.diff(np.concatenate(([0.0], levels, [1.0])))

    def divergence(self, index: IntArray) -> tuple[float, float]:
        """Of the merged histogram of columns: its PSI, and its weight in values."""
        counts = self._columns.flat("pit")[index].sum(axis=0, dtype=np.float64)
        total = float(counts.sum())
        if total == 0:
            return 0.0, 0.0
        return psi(counts / total, self._expected), total

    def state(self, divergence: float, weight: float) -> str:
        if weight < WEIGHT_MIN * len(self._expected) or divergence < PSI_WARNING:
            return "ok"
        return "drift" if divergence >= PSI_DRIFT else "warning"
