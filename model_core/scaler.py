"""The incremental scaler: exponentially weighted mean, spread and level of a series, updated tick by tick.

Weights decay by `decay` a tick (West 1979; with decay 1 it is Welford's recurrence). Values are winsorised at
`WINSOR` standard deviations once enough has been seen, so that one spike cannot own the spread. It is never refitted:
a forecast uses it as it stood at the origin.
"""

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.columns import Columns, Field

WINSOR = 8.0
WINSOR_FROM = 32.0  # weight from which the spread is trusted enough to clip by it
WEIGHT, MEAN, M2, LEVEL = range(4)

FIELDS = (Field("scaler", np.float64, inner=(4,)),)


def half_life_decay(half_life_ticks: float) -> float:
    """Factor a tick after which a weight has halved in `half_life_ticks`."""
    return float(0.5 ** (1.0 / half_life_ticks))


def update_scaler(
    columns: Columns, index: IntArray | slice, values: FloatArray, decay: float, level_decay: float
) -> None:
    """Take one finite float64 value [n] for each of the distinct columns `index` [n]."""
    table = columns.flat("scaler")
    weight, mean, m2, level = np.ascontiguousarray(table[index].T)  # [n] each
    spread = np.sqrt(m2 / np.maximum(weight, 1.0))
    clip = np.where((weight >= WINSOR_FROM) & (spread > 0), WINSOR * spread, np.inf)
    delta = np.minimum(np.maximum(values - mean, -clip), clip)
    kept = decay * weight
    total = kept + 1.0
    updated = np.empty((4, len(values)))
    updated[WEIGHT] = total
    updated[MEAN] = mean + delta / total
    updated[M2] = decay * m2 + kept / total * delta * delta
    updated[LEVEL] = np.where(weight == 0, values, level + (1.0 - level_decay) * (mean + delta - level))
    table[index] = updated.T


def read_scaler(columns: Columns, index: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(mean, standard deviation, level), float64 [n] each; a negative index (no such series) gives zeros."""
    state = columns.flat("scaler")[np.maximum(index, 0)]
    state = np.where((index >= 0)[..., None], state, 0.0)
    weight = np.maximum(state[..., WEIGHT], 1.0)
    return state[..., MEAN], np.sqrt(state[..., M2] / weight), state[..., LEVEL]
