"""Scoring: running accuracy of each series, and the results of forecasts whose horizons are not all settled yet.

Running means have a half-life of one season; the first values are averaged plainly. The scaled error is MASE with the
running mean of |y_t − y_{t−m}| as its scale (Hyndman and Koehler 2006).
"""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray, IntArray
from model_core.columns import Columns, Field
from model_core.compiled import ARRAY, REAL, Kernel, address
from model_core.ladder import TRACKED_RUNGS, Rung
from model_core.quantiles import Levels
from model_core.spec import StreamSpec

ISSUED = TRACKED_RUNGS  # the column of `loss` after those of the tracked rungs
_season_change = Kernel("season_change", [ARRAY, ARRAY, REAL, ARRAY])
RESULT_WIDTH = 6  # actual, error, pinball, that of both naive rungs, covered as bits


def scoring_fields(spec: StreamSpec) -> tuple[Field, ...]:
    levels = Levels(spec)
    results: tuple[Field, ...] = ()
    if spec.accuracy == "records":
        rows = -(-spec.horizon // spec.forecast_every)
        inner = (len(spec.scored_horizons), RESULT_WIDTH)
        results = (Field("results", np.float64, rows=rows, inner=inner, fill=np.nan, slots=True),)
    return (
        Field("loss", np.float64, inner=(TRACKED_RUNGS + 1, 2)),  # running pinball, updates
        Field("error", np.float64),  # running mean |error| of the point
        Field("season_change", np.float64, inner=(2,)),  # running mean |y_t − y_{t−m}|, updates
        Field("coverage", np.float64, inner=(max(1, len(levels.intervals)),)),  # one level only: no interval
        Field("scored", np.int64),  # forecasts scored at some horizon
        *results,
    )


def update_mean(mean: AnyArray, updates: AnyArray, value: AnyArray, decay: float) -> FloatArray:
    """Exponentially weighted mean after one more value; plain average until `updates` outweighs the decay."""
    return mean + np.maximum(1.0 - decay, 1.0 / (updates + 1.0)) * (value - mean)


class Scoring:
    """Running scores of one partition's columns. K scored horizons, I central intervals."""

    def __init__(self, spec: StreamSpec, columns: Columns, levels: Levels) -> None:
        self._columns = columns
        self._levels = levels
        self._intervals = len(levels.intervals)
        self._every = spec.forecast_every
        self._rows = -(-spec.horizon // spec.forecast_every)
        self.keeps_results = spec.accuracy == "records"

    def season_change(self, index: IntArray, change: AnyArray, decay: float) -> None:
        """Take |y_t − y_{t−m}| [n], NaN where unknown."""
        assert len(index) == len(change), "one change a column"
        _season_change(
            len(index),
            address(index, np.int64),
            address(change, np.float64),
            decay,
            address(self._columns.flat("season_change"), np.float64),
        )

    def losses(self, index: IntArray, pinball: AnyArray, valid: BoolArray, decay: float) -> None:
        """Pinball of the tracked rungs and of what was issued: [n, K, 4], where valid. One update a tick."""
        state = self._columns.flat("loss")[index]  # [n, 4, 2]
        count = valid.sum(axis=1)  # [n, 4]
        value = np.where(valid, pinball, 0.0).sum(axis=1) / np.maximum(count, 1)
        mean = update_mean(state[..., 0], state[..., 1], value, decay)
        state[..., 0] = np.where(count > 0, mean, state[..., 0])
        state[..., 1] += count > 0
        self._columns.flat("loss")[index] = state

    def issued(self, index: IntArray, error: AnyArray, covered: AnyArray, valid: BoolArray, decay: float) -> None:
        """Errors [n, K] of the issued point and coverage [n, K, I], where valid [n, K]; after `losses`."""
        flat, count = self._columns.flat, np.maximum(valid.sum(axis=1), 1)
        some = valid.any(axis=1)
        index, error, covered, valid, count = index[some], error[some], covered[some], valid[some], count[some]
        updates = flat("loss")[index, ISSUED, 1] - 1  # `losses` has counted this one already
        size = np.where(valid, np.abs(error), 0.0).sum(axis=1) / count
        flat("error")[index] = update_mean(flat("error")[index], updates, size, decay)
        share = (covered & valid[..., None]).sum(axis=1) / count[:, None]
        coverage = flat("coverage")[:, : self._intervals]
        coverage[index] = update_mean(coverage[index], updates[:, None], share, decay)
        flat("scored")[index] += valid.sum(axis=1)

    def naive_losses(self, index: IntArray) -> FloatArray:
        """Running pinball of seasonal naive and last value: float64 [n, 2], infinite where nothing is known."""
        state = self._columns.flat("loss")[index][:, [Rung.SEASONAL_NAIVE, Rung.LAST_VALUE]]
        return np.where(state[..., 1] > 0, state[..., 0], np.inf)

    def running(self, index: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(MASE [n], coverage [n, I], pinball [n], skill [n]); NaN where nothing is known."""
        flat = self._columns.flat
        change = flat("season_change")[index]
        loss = flat("loss")[index, ISSUED]
        naive = self.naive_losses(index).min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mase = np.where(change[:, 1] > 0, flat("error")[index] / change[:, 0], np.nan)
            skill = np.where(np.isfinite(naive) & (naive > 0), 1.0 - loss[:, 0] / naive, np.nan)
        known = loss[:, 1] > 0
        coverage = np.where(known[:, None], flat("coverage")[index, : self._intervals], np.nan)
        return (
            np.where(known & np.isfinite(mase), mase, np.nan),
            coverage,
            np.where(known, loss[:, 0], np.nan),
            np.where(known, skill, np.nan),
        )

    # --- results of single forecasts, kept until their last scored horizon has settled -------------------------------

    def begin_results(self, index: IntArray, origins: IntArray) -> None:
        """A forecast was issued: its row is empty."""
        rows = (origins // self._every) % self._rows
        self._columns.arrays["results"][index >> 8, rows, index & 255] = np.nan
        self._columns.touch("results", index, rows)

    def keep_results(
        self, index: IntArray, origins: IntArray, horizons: IntArray, there: BoolArray, result: AnyArray
    ) -> None:
        """Results float64 [n, K, 6] (see RESULT_WIDTH) of the origins [n, K] where there [n, K], at K horizons."""
        row, horizon = np.nonzero(there)
        columns, slots = index[row], (origins[row, horizon] // self._every) % self._rows
        self._columns.arrays["results"][columns >> 8, slots, columns & 255, horizons[horizon]] = result[row, horizon]
        self._columns.touch("results", columns, slots)

    def results(self, index: IntArray, origins: IntArray) -> FloatArray:
        """float64 [n, K, 6] of forecasts whose last horizon has settled."""
        rows = (origins // self._every) % self._rows
        return self._columns.arrays["results"][index >> 8, rows, index & 255]
