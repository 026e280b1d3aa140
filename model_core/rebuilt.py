"""The mark on forecasts of a state that was rebuilt from a part of its log: their intervals are young.

Its windows are those of an undisturbed state, but its units and offsets begin again. The model's forecasts say so
(`reason = rebuilt`) for one context length; the other rungs give a reason of their own already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model_core.ladder import Reason
from model_core.outcomes import Forecasts


@dataclass
class Rebuilt:
    """Part of the state: a value that a snapshot keeps."""

    emit_from: int  # offset: what earlier readings caused was published before, by a state that knew more
    ticks: int  # how long forecasts are marked
    until: int | None = None  # first origin that is not; known with the first forecast from `emit_from` on

    def mark(self, forecasts: Forecasts) -> Forecasts:
        """Mark forecasts. They come in the order of their readings, however polls were cut, and the first one decides
        until when they are marked."""
        if self.until is None:
            new = np.flatnonzero(forecasts.offsets >= self.emit_from)
            if not len(new):
                return forecasts
            first = new[forecasts.offsets[new] == forecasts.offsets[new].min()]
            self.until = int(forecasts.origins[first].min()) + self.ticks
        young = (forecasts.origins < self.until) & (forecasts.reasons == Reason.OK)
        if not young.any():
            return forecasts
        return replace(forecasts, reasons=np.where(young, np.int8(Reason.REBUILT), forecasts.reasons))

    def snapshot(self) -> list[int | None]:
        return [self.emit_from, self.ticks, self.until]
