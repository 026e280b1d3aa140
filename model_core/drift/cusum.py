"""Two-sided CUSUM on residuals in units of u (Page 1954): g⁺ = max(0, g⁺ + z − k), g⁻ the same for −z, alarm above h.

Two of them watch a series. One takes every one-step residual; the other takes the residual a whole horizon ahead, of
every forecast whose span begins where the last one ended. A forecast that corrects itself hides a shift from the first
after one spike; the second still sees how far off it was when it was made.

After an alarm of either, both start again and rest for one season. The unit is frozen while a decision on one-step
residuals is under way (above h/2). compiled/drift.h computes the steps.
"""

import numpy as np

from model_core.columns import Field, beginning
from model_core.compiled.phase_c import DRIFT
from model_core.scoring import SCORED

DRIFT_SLACK = 0.5  # k
WINSOR = 4.0  # residuals beyond this many units count as this much
NO_ALARM = np.iinfo(np.int64).min

# Beside them what ratios.py keeps: all of it changes together.
FIELDS = (Field("drift", DRIFT, group=SCORED, fill=beginning(DRIFT, rest=NO_ALARM)),)
