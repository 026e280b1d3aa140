"""Runs at the end of a window: a series that has stopped (missing cells), or stands still (equal cells).

A run is reported when it is a season long (at most half a context) and twice as long as any earlier run in the window:
a series that rests every night is not faulty. compiled/drift.h looks whenever a forecast is due; its only state is what
it has reported.
"""

import numpy as np

from model_core.columns import Field
from model_core.ladder import ISSUING

FIELDS = (Field("run_state", np.int8, group=ISSUING),)  # a code of alarms.Said, 0 while there is nothing to tell
