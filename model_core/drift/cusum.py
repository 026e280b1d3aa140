"""Two-sided CUSUM on one-step residuals in units of u (Page 1954): g⁺ = max(0, g⁺ + z − k), alarm above h.

After an alarm it starts anew and rests for one season; the unit is frozen while a decision is under way (above h/2).
compiled/settle.c takes its steps.
"""

import numpy as np

from model_core.columns import Field
from model_core.scoring import SCORED

DRIFT_SLACK = 0.5  # k
WINSOR = 4.0  # residuals beyond this many units count as this much
NO_ALARM = np.iinfo(np.int64).min

FIELDS = (
    Field("cusum", np.float64, inner=(2,), group=SCORED),  # g⁺, g⁻
    Field("cusum_rest", np.int64, fill=NO_ALARM, group=SCORED),  # resting up to this tick; NO_ALARM: not resting
    Field("cusum_alarms", np.int64, group=SCORED),
)
