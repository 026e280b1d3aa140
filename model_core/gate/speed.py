"""How long a model takes for a window. The clock comes from outside: the core has none."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model_core.predictor import Predictor
from model_core.training.dataset import TrainingWindows

WINDOWS = 512
TURNS = 5  # each takes so many, alternating; the quickest counts
STEP_SHARE_MAX = 0.1  # of a step, for one forecast of every series
SLOWER_MAX = 3.0  # times the champion's, where the difference is worth a hundredth of a step

Clock = Callable[[], float]  # seconds, from any beginning


@dataclass(frozen=True)
class Speed:
    """Seconds a window; NaN where it was not measured."""

    candidate: float
    champion: float
    step_share: float  # what one forecast of every series takes, of a step
    passed: bool


def measure_speed(
    windows: TrainingWindows, candidate: Predictor, champion: Predictor | None, season: int, origin: int, clock: Clock
) -> Speed:
    """Both on the same windows at one origin (a row of the history)."""
    series = np.arange(WINDOWS) % len(windows)
    batch = windows.batch(series, np.full(WINDOWS, origin), season)
    seconds: dict[Predictor, float] = {}
    for _ in range(TURNS):
        for predictor in (candidate, champion):
            if predictor is not None:
                began = clock()
                predictor.raw(batch)
                taken = (clock() - began) / WINDOWS
                seconds[predictor] = min(seconds.get(predictor, taken), taken)
    mine = seconds[candidate]
    theirs = seconds[champion] if champion is not None else float("nan")
    round_s = mine * len(windows) / (windows.spec.step_ms / 1000)
    slower = champion is not None and mine > SLOWER_MAX * theirs and round_s > STEP_SHARE_MAX / 10
    return Speed(mine, theirs, round_s, bool(round_s <= STEP_SHARE_MAX and not slower))
