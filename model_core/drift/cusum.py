"""Two-sided CUSUM on one-step residuals in units of u (Page 1954): g⁺ = max(0, g⁺ + z − k), alarm above h.

After an alarm it starts anew and rests for one season; the unit is frozen while a decision is under way (above h/2).
"""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.columns import Columns, Field

DRIFT_SLACK = 0.5  # k
WINSOR = 4.0  # residuals beyond this many units count as this much
_UP, _DOWN = 0, 1
NO_ALARM = np.iinfo(np.int64).min

FIELDS = (
    Field("cusum", np.float64, inner=(2,)),
    Field("cusum_rest", np.int64, fill=NO_ALARM),  # resting up to this tick; NO_ALARM: not resting
    Field("cusum_alarms", np.int64),
)


class Cusum:
    """State in columns; `threshold` h is calibrated by the trainer."""

    def __init__(self, columns: Columns, threshold: float, rest_ticks: int) -> None:
        self._columns = columns
        self.threshold = threshold
        self.rest_ticks = rest_ticks

    def deciding(self, index: IntArray) -> BoolArray:
        """Is the statistic above h/2: bool [n]."""
        return np.asarray(self._columns.flat("cusum")[index].max(axis=1) > self.threshold / 2)

    def update(self, index: IntArray, ticks: IntArray, residual: AnyArray) -> tuple[AnyArray, BoolArray, BoolArray]:
        """Standardised residuals [n], finite. Returns the statistic [n], who alarms now and whose rest has ended."""
        flat = self._columns.flat
        value = np.clip(residual, -WINSOR, WINSOR)
        state = flat("cusum")[index]
        rest = flat("cusum_rest")[index]
        resting = ticks <= rest
        ended = (rest != NO_ALARM) & ~resting
        state[:, _UP] = np.maximum(0.0, state[:, _UP] + value - DRIFT_SLACK)
        state[:, _DOWN] = np.maximum(0.0, state[:, _DOWN] - value - DRIFT_SLACK)
        state[resting] = 0.0
        statistic = state.max(axis=1)
        alarm = statistic > self.threshold
        state[alarm] = 0.0
        flat("cusum")[index] = state
        flat("cusum_rest")[index] = np.where(alarm, ticks + self.rest_ticks, np.where(ended, NO_ALARM, rest))
        flat("cusum_alarms")[index] += alarm
        return statistic, alarm, ended & ~alarm
