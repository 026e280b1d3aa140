"""The incremental scaler: exponentially weighted mean, spread and level of a series, updated tick by tick.

Weights decay by `decay` a tick (West 1979; with decay 1 it is Welford's recurrence). Values are winsorised at eight
standard deviations once enough has been seen, so that one spike cannot dominate the spread. It is never refitted: a
forecast uses it as it stood at the origin. Nor are two of them ever merged (Chan, Golub and LeVeque 1979): a series
lives on one partition, whose ticks come one after the other, and what was winsorised by what came before has no exact
merge. The recurrence itself is compiled/scaler.h.
"""

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.columns import Columns, Field
from model_core.compiled import ARRAY, REAL, Kernel, address

WEIGHT, MEAN, M2, LEVEL = range(4)

FIELDS = (Field("scaler", np.float64, inner=(4,)),)
_update = Kernel("scaler_update", [ARRAY, ARRAY, ARRAY, REAL, REAL])


def half_life_decay(half_life_ticks: float) -> float:
    """Factor a tick after which a weight has halved in `half_life_ticks`."""
    return float(0.5 ** (1.0 / half_life_ticks))


def update_scaler(columns: Columns, index: IntArray, values: FloatArray, decay: float, level_decay: float) -> None:
    """Take one finite float64 value [n] for each of the distinct columns `index` [n]."""
    table = address(columns.flat("scaler"), np.float64)
    _update(len(index), table, address(index, np.int64), address(values, np.float64), decay, level_decay)


def read_scaler(columns: Columns, index: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(mean, standard deviation, level), float64 [n] each; a negative index (no such series) gives zeros."""
    state = columns.flat("scaler")[np.maximum(index, 0)]
    state = np.where((index >= 0)[..., None], state, 0.0)
    weight = np.maximum(state[..., WEIGHT], 1.0)
    return state[..., MEAN], np.sqrt(state[..., M2] / weight), state[..., LEVEL]
