"""The ladder: which rung answers, and why. Codes are stored in the state; their names are published.

Rungs 0–2 are tracked side by side at every origin (each with its own unit and offsets), whichever of them answers.
"""

from enum import IntEnum

import numpy as np

from model_core.arrays import CodeArray, FloatArray, IntArray
from model_core.batches import RawForecast
from model_core.columns import Columns, Field


class Rung(IntEnum):
    MODEL = 0
    SEASONAL_NAIVE = 1
    LAST_VALUE = 2
    LEVEL = 3  # exponentially weighted level, wide quantiles, not tracked


TRACKED_RUNGS = 3
RUNG_NAMES = ("model", "seasonal_naive", "last_value", "level")


class Reason(IntEnum):
    """Why the model does not answer; or, REBUILT, why its intervals are young."""

    OK = 0
    NO_MODEL = 1
    TOO_SHORT = 2
    TOO_MANY_HOLES = 3
    OUT_OF_DISTRIBUTION = 4
    NON_FINITE = 5
    MODEL_FAILED = 6
    WARMING_UP = 7  # no forecast at all
    REBUILT = 8  # the model answers; units and offsets were lost and are learned anew


REASON_NAMES = tuple(reason.name.lower() for reason in Reason)


_LONG_AGO = np.iinfo(np.int64).min // 4
LADDER_FIELDS = (
    Field("resting_until", np.int64, fill=_LONG_AGO),  # origin up to which the model does not answer
    Field("naive_rung", np.int8, fill=Rung.LAST_VALUE),  # the naive rung in favour
    Field("naive_since", np.int64, fill=_LONG_AGO),  # origin at which it came into favour
)
LEVEL_WIDTH = 1.5  # standard deviations a unit of the level's quantiles: wide on purpose


class Ladder:
    """Chooses the rung that answers for each series; state: until when a series keeps off the model."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def choose(
        self, index: IntArray, origins: IntArray, raw: RawForecast, naive_losses: FloatArray, season: int
    ) -> tuple[IntArray, CodeArray]:
        """Rungs int64 [d] and why the model does not answer (Reason, int8 [d]) for forecasts of distinct columns.

        `naive_losses` [d, 2] running pinball of seasonal naive and last value; `season` in ticks is the hysteresis.
        """
        usable = raw.reason == Reason.OK
        until = self._columns.flat("resting_until")[index]
        until = np.where(usable & raw.suspicious, origins + season, until)
        self._columns.flat("resting_until")[index] = until
        resting = origins <= until
        reasons = np.where(usable & resting, np.int8(Reason.OUT_OF_DISTRIBUTION), raw.reason)
        answers = np.asarray(np.isfinite(raw.locations).all(axis=2))  # [d, 3]
        seasonal, last = answers[:, Rung.SEASONAL_NAIVE], answers[:, Rung.LAST_VALUE]
        favourite = self._favourite(index, origins, naive_losses, season)
        rungs = np.where(seasonal & ((favourite == Rung.SEASONAL_NAIVE) | ~last), Rung.SEASONAL_NAIVE, Rung.LAST_VALUE)
        rungs = np.where(seasonal | last, rungs, Rung.LEVEL)
        rungs = np.where(reasons == Reason.OK, Rung.MODEL, rungs)
        return rungs.astype(np.int64), reasons.astype(np.int8)

    def _favourite(self, index: IntArray, origins: IntArray, naive_losses: FloatArray, season: int) -> CodeArray:
        """The naive rung in favour, int8 [d]; it stays so for a season.

        Whichever had the luckier week also believes in the smaller errors: following every turn of the running losses
        would publish intervals that are too narrow (77 % instead of 80 % on white noise).
        """
        flat = self._columns.flat
        favourite, since = flat("naive_rung")[index], flat("naive_since")[index]
        better = np.where(naive_losses[:, 0] < naive_losses[:, 1], Rung.SEASONAL_NAIVE, Rung.LAST_VALUE)
        turn = (origins >= since + season) & (better != favourite)
        favourite = np.where(turn, better, favourite).astype(np.int8)
        flat("naive_rung")[index], flat("naive_since")[index] = favourite, np.where(turn, origins, since)
        return favourite
