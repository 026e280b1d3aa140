"""Both naive forecasts: what the last season did, and what the last reading was. They need no training.

Plain numpy, row by row independent: the same bytes on every machine and next to any neighbours.
"""

import numpy as np

from model_core.arrays import FloatArray

# Of the season's cells that the horizon asks for, this share must be observed; the others are filled.
SEASON_SHARE_MIN = 0.5


def last_value(target: FloatArray, season_ticks: int) -> FloatArray:
    """float32 [B, L] context of the target → float64 [B], its newest observed cell.

    NaN where the last season (as far as the context reaches) holds none: an older value is no forecast.
    """
    recent = target[:, -min(season_ticks, target.shape[1]) :]
    observed = np.isfinite(recent)
    newest = recent.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
    values = recent[np.arange(len(recent)), newest].astype(np.float64)
    return np.where(observed.any(axis=1), values, np.nan)


def seasonal_naive(season: FloatArray, last: FloatArray, horizon: int) -> FloatArray:
    """float32 [B, m] last season, oldest first, and float64 [B] last values → float64 [B, H].

    Target h is the cell one season before it; beyond one season the same season is repeated. A hole takes the last
    value; when more than half of the cells asked for are holes the row is NaN: that would be the last value renamed.
    A row is NaN as a whole or not at all.
    """
    needed = season[:, : min(horizon, season.shape[1])].astype(np.float64)
    observed = np.isfinite(needed)
    filled = np.where(observed, needed, last[:, None])
    answers = (observed.mean(axis=1) >= SEASON_SHARE_MIN) & np.isfinite(filled).all(axis=1)
    filled[~answers] = np.nan
    return filled[:, np.arange(horizon) % season.shape[1]]
