"""How large the one-step errors of a series are against what they used to be (scale), and how one-sided (bias).

Scale is the root mean square of one-step residuals that forgets within a season, divided by the one that forgets within
SLOW_SEASONS; bias is the running mean of the residual divided by the former. An alarm carries both, so that one sees
what kind of drift it is; of a partition, the share of series is reported whose scale or bias is out of proportion.
compiled/drift.h learns them.
"""

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.columns import Columns

SLOW_SEASONS = 10  # half-life of what is usual
SCALE_MAX = 2.0  # beyond it, or below one over it, the errors have another size
BIAS_MAX = 0.5  # the CUSUM's slack: what is less is no drift
UPDATES_MIN = 32.0  # residuals from which they say something
MEAN_ERROR, SQUARE_NOW, SQUARE_USUAL, UPDATES = range(4)


def ratios(columns: Columns, index: IntArray) -> tuple[FloatArray, FloatArray]:
    """(scale [n], bias [n]) of columns, NaN where too little is known."""
    state = columns.flat("drift")["ratios"][index]
    now, usual = state[:, SQUARE_NOW], state[:, SQUARE_USUAL]
    known = (state[:, UPDATES] >= UPDATES_MIN) & (now > 0) & (usual > 0)
    now, usual = np.where(known, now, np.nan), np.where(known, usual, np.nan)
    return np.sqrt(now / usual), state[:, MEAN_ERROR] / np.sqrt(now)


def out_of_proportion(scale: FloatArray, bias: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Whether each is; what is not known is not."""
    return (scale > SCALE_MAX) | (scale < 1 / SCALE_MAX), np.abs(bias) > BIAS_MAX
