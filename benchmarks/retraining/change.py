"""When the ways of a stream change: how soon a retrained ridge follows, with and without fading of what was before.

ETTh1 and ETTh2 for fourteen months, and then as if its clock ran half as fast again: lags that told something tell
something else. A level or a scale that shifts is not looked at, windows are freed of both. Errors in standard
deviations of the fourteen months, over the two weeks after each training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.accuracy.protocol import Ett, windows_of
from model_core.arrays import FloatArray
from model_core.calendar_features import calendar_of
from model_core.libraries import CPU
from model_core.models.ridge import Ridge
from model_core.preparation import prepare
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.ridge import Choice, RidgeTraining

CHANGE, SPEED = 10_000, 1.5  # hours before the clock runs faster, and how fast
LENGTH, HORIZON, DAY = 168, 24, 24
SINCE_DAYS = (14, 28, 56, 112)  # of the change, when it is trained
HALF_LIVES_DAYS = (None, 180, 60, 20)
SEEN_DAYS = 14  # after a training, on which it is judged
CHOICE = Choice(0.1, "last", "single", {})


def measure(folder: Path, name: str) -> dict[str, dict[str, float]]:
    """Mean squared errors: days since the change, and "no change" → half-life → error."""
    data = Ett.read(folder, name)
    scaled = (data.rows - data.rows[:CHANGE].mean(axis=0)) / data.rows[:CHANGE].std(axis=0)
    found: dict[str, dict[str, float]] = {}
    for days in SINCE_DAYS:
        found[str(days)] = _row(data, hurried(scaled), days)
    found[f"{SINCE_DAYS[-1]}, no change"] = _row(data, scaled, SINCE_DAYS[-1])
    return found


def hurried(rows: FloatArray) -> FloatArray:
    """The rows [T, S] with what follows CHANGE at another speed."""
    times = np.arange(CHANGE, len(rows) - 1, SPEED)
    after = np.stack([np.interp(times, np.arange(len(rows)), column) for column in rows.T], axis=1)
    return np.concatenate([rows[:CHANGE], after])


def _row(data: Ett, rows: FloatArray, days: int) -> dict[str, float]:
    now = CHANGE + days * DAY
    return {
        "none" if half_life is None else f"{half_life} days": _error(data, rows, now, half_life)
        for half_life in HALF_LIVES_DAYS
    }


def _error(data: Ett, rows: FloatArray, now: int, half_life: int | None) -> float:
    """Trained on rows before `now`, judged on the forecasts that begin in SEEN_DAYS after it."""
    spec = StreamSpec(
        topic="ett",
        freq="1h",
        context_length=LENGTH,
        horizon=HORIZON,
        calendar=(),
        training_half_life=None if half_life is None else f"{half_life}d",
    )
    known = windows_of(rows[:now], data.series, data.first_tick, spec)
    ridge = RidgeTraining(known, 24, now)
    tensors = ridge.solve(ridge.sums(known.first_origin(), now - HORIZON), CHOICE)
    ahead = windows_of(rows[: now + SEEN_DAYS * DAY + HORIZON], data.series, data.first_tick, spec)
    return _squared(ahead, Ridge.from_tensors(tensors, CPU), now - 1, now - 1 + SEEN_DAYS * DAY)


def _squared(windows: TrainingWindows, model: Ridge, first: int, last: int) -> float:
    series = np.tile(np.arange(len(windows)), last - first)
    origins = np.repeat(np.arange(first, last), len(windows))
    prepared = prepare(windows.batch(series, origins, 1), calendar_of(windows.spec.grid, (), None))
    answer = model(prepared.inputs) * prepared.scale[:, None] + prepared.center[:, None]
    return float(np.nanmean((windows.targets(series, origins) - answer) ** 2))
