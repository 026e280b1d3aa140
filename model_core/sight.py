"""Windows as every model of a stream needs them: the part of an answer that does not depend on which model gives it.

A candidate in the shadow answers the windows that the model in charge has just answered; what both need is computed
once. The predictor uses it, and fills in the model's answers.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from model_core.arrays import BoolArray, CodeArray, FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.ladder import TRACKED_RUNGS, Reason, Rung
from model_core.model_inputs import Prepared
from model_core.models.naive import put_naive

CONTEXT_SHARE_MIN = 0.8  # of the context observed, and of L readings ever seen
SEASON_SHARE_MIN = 0.5  # of the last season observed


@dataclass(frozen=True)
class Sight:
    """B windows and both naive forecasts of them. H horizon.

    `prepared` are the parts of `asked` that a model on the CPU has prepared so far, in order; None if no other model
    will need them. A model that answers writes its rung of `locations` over that of the model before.
    """

    batch: WindowBatch  # contiguous
    locations: FloatArray  # float64 [B, 3, H], NaN where a rung has no answer
    observed_share: FloatArray  # float32 [B], of the context
    reason: CodeArray  # int8 [B], why no model is asked (Reason), OK where one is
    gap: IntArray  # int64 [B], cells missing at the end
    prepared: list[Prepared] | None

    def __len__(self) -> int:
        return len(self.reason)

    @cached_property
    def usable(self) -> IntArray:
        """int64 [U], windows that a model is asked about."""
        return np.flatnonzero(self.reason == Reason.OK)

    @cached_property
    def asked(self) -> WindowBatch:
        """The usable windows."""
        return self.batch if len(self.usable) == len(self) else self.batch.rows(self.usable)

    def rows(self, index: IntArray) -> "Sight":
        """Some of the windows, copied."""
        arrays = {name: getattr(self, name)[index] for name in ("locations", "observed_share", "reason", "gap")}
        return replace(self, batch=self.batch.rows(index), prepared=None, **arrays)

    def but(self, declined: BoolArray) -> "Sight":
        """The same windows, in the same arrays, for a model that must not be asked about some of them, bool [B]."""
        reason = np.where(declined & (self.reason == Reason.OK), np.int8(Reason.TOO_MANY_HOLES), self.reason)
        self.locations[declined, Rung.MODEL] = np.nan
        return replace(self, reason=reason, prepared=None)


def look(batch: WindowBatch, horizon: int, *, again: bool = False) -> Sight:
    """The sight of a batch. `again`: more than one model will answer it."""
    batch = batch.contiguous()
    rows, length = batch.windows.shape[:2]
    locations = np.empty((rows, TRACKED_RUNGS, horizon))
    locations[:, Rung.MODEL] = np.nan
    share, season_share = put_naive(batch, locations, Rung.SEASONAL_NAIVE, Rung.LAST_VALUE)
    observed_share = share.astype(np.float32)
    reason = np.full(rows, Reason.OK, np.int8)
    reason[(observed_share < CONTEXT_SHARE_MIN) | (season_share < SEASON_SHARE_MIN)] = Reason.TOO_MANY_HOLES
    reason[batch.readings < CONTEXT_SHARE_MIN * length] = Reason.TOO_SHORT
    return Sight(batch, locations, observed_share, reason, _gaps(batch), [] if again else None)


def _gaps(batch: WindowBatch) -> IntArray:
    """int64 [B], cells missing at the end of each window: mostly none."""
    gap = np.zeros(len(batch), np.int64)
    rows = np.flatnonzero(~np.isfinite(batch.windows[:, -1, 0]))
    if len(rows):
        backwards = np.isfinite(batch.windows[rows, ::-1, 0])
        gap[rows] = np.where(backwards.any(axis=1), backwards.argmax(axis=1), backwards.shape[1])
    return gap
