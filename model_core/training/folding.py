"""Folding: windows that training no longer looks at one by one become sums, and their cells are forgotten.

Training decides everything on the newest part of a history: penalty and prior, quantiles of errors, the gate,
thresholds of drift. From what is older only ridge learns, and for ridge the sums are enough. So a trainer that keeps
running keeps the newest cells and the sums; each window is summed once, and the fit is the one that the whole history
would give.

Only windows far older than any reading may still change enter the sums. The edges lie on pages, so that the same
windows enter whether that happens at once or bit by bit.
"""

import numpy as np

from model_core.grid import WEEK_MS
from model_core.models.ridge_fit import SINGLE_CELLS_MAX
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.history import PAGE, CellHistory
from model_core.training.past import Past
from model_core.training.ridge import RidgeTraining
from model_core.training.season_search import CYCLES_MIN, find_season

ORIGINS_MIN = 64  # a shorter history teaches nothing
HORIZONS_MIN = 8  # and each span must be longer than the targets that reach across its end
# Of the gate's blocks (a week, the horizon where that is longer): its two slices get 16 each at least.
RECENT_BLOCKS = 107
RECENT_TICKS_MAX = 250_000


def recent_origins(spec: StreamSpec) -> int:
    """How many of the newest origins decide everything except ridge's sums."""
    asked = RECENT_BLOCKS * max(spec.horizon, WEEK_MS // spec.step_ms)
    asked = min(asked, RECENT_TICKS_MAX)
    if spec.training_recent is not None:
        asked = spec.grid.steps(spec.training_recent)
    least = max(ORIGINS_MIN, HORIZONS_MIN * spec.horizon, CYCLES_MIN * spec.longest_season + 3 * spec.horizon)
    return max(asked, least)


def fold(history: CellHistory, spec: StreamSpec) -> str | None:
    """Sum and forget what is older than `recent_origins`. Returns why earlier sums were given up, if they were."""
    recent, past = recent_origins(spec), history.past
    until = (history.last_tick + 1 - spec.horizon - recent) // PAGE * PAGE
    first = history.first_tick + spec.context_length - 1
    grows = until > (first if past is None else past.until)
    if not grows and (past is None or spec.context_length <= SINGLE_CELLS_MAX):
        return None
    windows = TrainingWindows(spec, history)
    if not len(windows):
        return None
    season = find_season(windows.target_cells(), spec).ticks
    ridge = RidgeTraining(windows, season, recent)
    given_up = None
    if past is not None and not ridge.takes(past):
        given_up = f"the season is {season} steps now, and columns of windows as long as these are pooled by it"
        past = history.past = None
    first = first if past is None else max(first, past.until)
    if until <= first:
        return given_up
    fresh = ridge.sums(first - windows.first_tick, until - windows.first_tick).faded(ridge.stride)
    if past is not None:
        fresh = past.sums.faded(spec.training_decay ** (until - past.until)) + fresh
    kept_from = until + 1 - max(spec.context_length, spec.longest_season + 1)
    scaler = windows.scaler_at(kept_from - windows.first_tick)
    begun = first if past is None else past.first
    history.forget(kept_from, Past(fresh, np.asarray(ridge.design.starts), begun, until), scaler)
    return given_up
