"""Theta and ETS by statsforecast, fitted anew to each window. Slow, therefore on a sample of origins fixed by a seed.

Each sees the same 512 cells as ridge does. A forecast of ETS can run away: it is clamped to the range of its window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.protocol import CONTEXT, HORIZONS_ALL, SEASON, Errors, judged_origins
from model_core.arrays import AnyArray, FloatArray, IntArray

SAMPLED, SEED = 24, 20_260_101
LONGEST = max(HORIZONS_ALL)


def sample(seed: int = SEED, count: int = SAMPLED) -> IntArray:
    """int64 [count] rows that are test origins of every horizon: drawn once, whoever is compared."""
    first, last = judged_origins(LONGEST)
    return np.sort(np.random.default_rng(seed).choice(np.arange(first, last), count, replace=False))


@dataclass(frozen=True)
class Rival:
    """Errors for each horizon, and processor seconds of one window: fitting and forecasting are one there."""

    name: str
    errors: dict[int, Errors]
    window_s: float


def rivals(rows: FloatArray, origins: IntArray) -> list[Rival]:
    """rows float64 [T, S], standardised. One forecast of the longest horizon serves all of them."""
    from statsforecast.models import AutoETS, Theta  # a second of imports, for this alone

    models = {
        "Theta": lambda: Theta(season_length=SEASON),
        "ETS (additive, clamped)": lambda: AutoETS(season_length=SEASON, model="AZA"),
    }
    found = []
    for name, make in models.items():
        began = time.process_time()
        answers = np.empty((len(origins), rows.shape[1], LONGEST))
        for number, origin in enumerate(origins.tolist()):
            for series in range(rows.shape[1]):
                window = rows[origin + 1 - CONTEXT : origin + 1, series]
                answers[number, series] = clamped(make().forecast(y=window, h=LONGEST)["mean"], window)
        spent = (time.process_time() - began) / (len(origins) * rows.shape[1])
        found.append(Rival(name, errors_of(answers, rows, origins), spent))
    return found


def clamped(answer: AnyArray, window: FloatArray) -> AnyArray:
    """Within what the window has shown; the last value where there is no finite answer."""
    return np.clip(np.where(np.isfinite(answer), answer, window[-1]), window.min(), window.max())


def errors_of(answers: FloatArray, rows: FloatArray, origins: IntArray) -> dict[int, Errors]:
    """answers [n, S, LONGEST] against rows [T, S], the first H of them for each horizon H."""
    actual = np.stack([rows[origins + h] for h in range(1, LONGEST + 1)], axis=2)
    return {h: Errors.of(origins, answers[:, :, :h], actual[:, :, :h]) for h in HORIZONS_ALL}
