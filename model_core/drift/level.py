"""Two-sided CUSUM of a series' own level against a slow reference: shifts that forecasts follow within a few ticks.

Once a season, the mean of its cells is compared with what has been usual for SLOW_SEASONS, in units of how far such
means usually are from it. A mean over a whole season does not depend on the shape of the day, and its spread is the
long-run deviation by batch means, so neighbours within a season may be as alike as they like. The reference keeps its
value while evidence grows (above h/2), so that it does not learn the shift that it should detect. After an alarm it is
learned again, and judges again once it has seen SEASONS_MIN. compiled/level.h computes the steps; level_limits.py
learns h.
"""

from model_core.columns import Field
from model_core.compiled.phase_c import LEVEL

SLOW_SEASONS = 21.0  # half-life of reference and deviation
SLACK = 2.0  # k: what a level does without anything having happened is much, and lasts
WINSOR = 4.0
THRESHOLD_MIN = WINSOR - SLACK  # one season alone is no change that stays
SEASONS_MIN = 14  # from which they say something
GROUP = "level"  # of what changes with a season, not with each cell

FIELDS = (Field("level", LEVEL, group=GROUP),)


def decay() -> float:
    """Of reference and deviation, a season."""
    return float(0.5 ** (1.0 / SLOW_SEASONS))
