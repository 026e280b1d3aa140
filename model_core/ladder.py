"""The ladder: which rung answers, and why. Codes are stored in the state; their names are published.

Rungs 0–2 are tracked side by side at every origin (each with its own unit and offsets), whichever of them answers.
"""

from enum import IntEnum


class Rung(IntEnum):
    MODEL = 0
    SEASONAL_NAIVE = 1
    LAST_VALUE = 2
    LEVEL = 3  # exponentially weighted level, wide quantiles, not tracked


TRACKED_RUNGS = 3
RUNG_NAMES = ("model", "seasonal_naive", "last_value", "level")


class Reason(IntEnum):
    """Why the model does not answer."""

    OK = 0
    NO_MODEL = 1
    TOO_SHORT = 2
    TOO_MANY_HOLES = 3
    OUT_OF_DISTRIBUTION = 4
    NON_FINITE = 5
    MODEL_FAILED = 6
    WARMING_UP = 7  # no forecast at all
    REBUILT = 8


REASON_NAMES = tuple(reason.name.lower() for reason in Reason)
