"""The ladder: which rung answers, and why. Codes are stored in the state; their names are published.

Rungs 0–2 are tracked side by side at every origin, each with its own unit and offsets, whichever of them answers.
compiled/issue.c chooses; its state is until when a series avoids the model, and which naive rung is preferred.
"""

from enum import IntEnum

import numpy as np

from model_core.columns import Field


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

ISSUING = "issuing"  # group of what a forecast changes when it is issued
_LONG_AGO = np.iinfo(np.int64).min // 4
LADDER_FIELDS = (
    Field("resting_until", np.int64, fill=_LONG_AGO, group=ISSUING),  # origin up to which the model does not answer
    Field("naive_rung", np.int8, fill=Rung.LAST_VALUE, group=ISSUING),  # the naive rung in favour
    Field("naive_since", np.int64, fill=_LONG_AGO, group=ISSUING),  # origin at which it came into favour
)
