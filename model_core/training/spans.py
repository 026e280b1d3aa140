"""The four spans of a history, cut by time: two to learn from, two that decide."""

from dataclasses import dataclass

import numpy as np

from model_core.errors import NotEnoughHistory
from model_core.gate.judge import BLOCKS_WANTED, Slices, block_steps
from model_core.training.dataset import TrainingWindows
from model_core.training.folding import HORIZONS_MIN, ORIGINS_MIN, recent_origins
from model_core.training.past import Past

SLICE_SHARE_MIN, SLICE_SHARE_MAX = 0.15, 0.25  # of the origins, by time: each of the two newest spans
FIT_SHARE = 0.7  # of what is older


@dataclass(frozen=True)
class Spans:
    """Rows of the history that are origins: [fit, validation) [validation, earlier) [earlier, newest) [newest, end).

    Windows before `fit` are sums, if there are any.
    """

    fit: int
    validation: int
    earlier: int
    newest: int
    end: int

    def slices(self, horizon: int) -> Slices:
        """What was before, and the two that decide; no target of one lies in the next."""
        before, earlier = (self.validation, self.earlier - horizon), (self.earlier, self.newest - horizon)
        return Slices(before, earlier, (self.newest, self.end))


def split(windows: TrainingWindows, *, first_model: bool, past: Past | None = None) -> Spans:
    """Cut the origins by time. NotEnoughHistory names what is there and what is needed."""
    horizon = windows.spec.horizon
    first, end = windows.first_origin(), windows.ticks - horizon
    if past is not None:
        first = max(first, past.until - windows.first_tick)
    needed = max(ORIGINS_MIN, HORIZONS_MIN * horizon)
    if not len(windows) or end - first < needed:
        steps = windows.spec.context_length + horizon + needed
        raise NotEnoughHistory(
            f"training needs {steps} steps of history (context_length + horizon + {needed}), found {windows.ticks} "
            f"steps of {len(windows)} series; wait for more readings, train from a longer file (--file), or lower "
            f"context_length, {windows.spec.context_length} now, which rebuilds the state"
        )
    origins = min(end - first, recent_origins(windows.spec))
    wanted = BLOCKS_WANTED * block_steps(windows, first_model=first_model)
    decides = int(np.clip(wanted, origins * SLICE_SHARE_MIN, origins * SLICE_SHARE_MAX))
    earlier = end - 2 * decides
    recent = end - origins
    return Spans(first, recent + int((earlier - recent) * FIT_SHARE), earlier, end - decides, end)
