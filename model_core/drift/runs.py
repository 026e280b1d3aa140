"""Runs at the end of a window: a series that has stopped (missing cells), or stands still (equal ones).

A run is told of when it is a season long (at most half a context) and twice as long as any before it in the window:
what rests every night is no fault. compiled/drift.h looks, where a forecast is due; it needs no state but what it has
said.
"""

import numpy as np

from model_core.columns import Field
from model_core.ladder import ISSUING

FIELDS = (Field("run_state", np.int8, group=ISSUING),)  # a code of alarms.Said, 0 while there is nothing to tell
