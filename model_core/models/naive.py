"""Both naive forecasts: what the last season did, and what the last reading was. They need no training.

The last value is the newest observed cell of the last season, as far as the window reaches; an older one is no
forecast. Seasonal naive repeats the last season, and a hole takes the last value. If more than half of the cells it
needs are holes it has no answer, because that would be the last value under another name. A row answers as a whole or
not at all.
"""

import numpy as np

from model_core.arrays import FloatArray
from model_core.batches import WindowBatch
from model_core.compiled import ARRAY, INT, Kernel, address

_answer = Kernel("naive_answer", [INT, INT, INT, INT, ARRAY, ARRAY, INT, *[ARRAY] * 4])


def put_naive(
    batch: WindowBatch, locations: FloatArray, seasonal_rung: int, last_rung: int
) -> tuple[FloatArray, FloatArray]:
    """Write both into their rungs of locations float64 [B, rungs, H].

    Returns the observed share of the context and of the last season, float64 [B] each.
    """
    rows, rungs, horizon = locations.shape
    share, season_share = np.empty(rows), np.empty(rows)
    first = address(locations, np.float64)
    _answer(
        rows,
        *batch.windows.shape[1:],
        batch.season.shape[1],
        horizon,
        address(batch.windows, np.float32),
        address(batch.season, np.float32),
        rungs * horizon,
        first + 8 * seasonal_rung * horizon,
        first + 8 * last_rung * horizon,
        address(share, np.float64),
        address(season_share, np.float64),
    )
    return share, season_share
