"""Scoring: running accuracy of each series, and the results of forecasts whose horizons are not all settled yet.

Running means have a half-life of one season; the first values are averaged plainly. The scaled error is MASE with the
running mean of |y_t − y_{t−m}| as its scale (Hyndman and Koehler 2006). compiled/settle.c keeps them, scoring.c returns
them.
"""

import numpy as np

from model_core.columns import Field
from model_core.compiled import phase_c
from model_core.ladder import TRACKED_RUNGS
from model_core.quantiles import Levels
from model_core.spec import StreamSpec

SCORED = "scored"  # group of what changes when an actual value meets forecasts
RESULT_WIDTH = 6  # actual, error, pinball, that of both naive rungs, covered as bits


def scoring_fields(spec: StreamSpec) -> tuple[Field, ...]:
    levels = Levels(spec)
    results: tuple[Field, ...] = ()
    if spec.accuracy == "records":
        rows = result_rows(spec)
        inner = (len(spec.scored_horizons), RESULT_WIDTH)
        results = (Field("results", np.float64, rows=rows, inner=inner, fill=np.nan, slots=True),)
    intervals = max(1, len(levels.intervals))  # one level only: no interval
    return (
        # Of the tracked rungs and of what was issued: running pinball, updates. One update a tick.
        Field("loss", np.float64, inner=(TRACKED_RUNGS + 1, 2), group=SCORED),
        Field("error", np.float64, group=SCORED),  # running mean |error| of the point
        # Running mean |y_t − y_{t−m}| and the season that is under way (drift/level.py): they change with each cell,
        # whether a forecast waits for it or not.
        Field("season_state", phase_c.SEASON, slots=True),
        Field("coverage", np.float64, inner=(intervals,), group=SCORED),
        Field("scored", np.int64, group=SCORED),  # forecasts scored at some horizon
        *results,
    )


def result_rows(spec: StreamSpec) -> int:
    """Forecasts of a series that may wait for their last horizon; the forecast of origin o lies in row
    (o / forecast_every) mod that number."""
    return -(-spec.horizon // spec.forecast_every)
