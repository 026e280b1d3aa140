"""The corrector in plain Python, one series and one horizon at a time; it imports nothing of what it judges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


def clip(value: float, most: float) -> float:
    return max(-most, min(most, value))


@dataclass
class Regression:
    """Weighted least squares of errors on features, and how it would have done."""

    decay: float
    rows: list[tuple[np.ndarray, float]] = field(default_factory=list)  # newest last
    losses: list[tuple[float, float]] = field(default_factory=list)

    def weights(self) -> np.ndarray:
        if not self.rows:
            return np.zeros(4)
        shares = self.decay ** np.arange(len(self.rows) - 1, -1, -1)
        x, errors = np.array([row[0] for row in self.rows]), np.array([row[1] for row in self.rows])
        return np.linalg.solve(10.0 * np.eye(4) + (x.T * shares) @ x, (x.T * shares) @ errors)

    def trust(self) -> tuple[float, float]:
        """(how much of the correction counts, width of the quantiles)"""
        ages = range(len(self.losses) - 1, -1, -1)
        without = sum(self.decay**age * loss[0] for age, loss in zip(ages, self.losses, strict=True))
        with_it = sum(self.decay**age * loss[1] for age, loss in zip(ages, self.losses, strict=True))
        if not with_it < without:
            return 0.0, 1.0
        gain = 1.0 - with_it / without
        weight = min(1.0, gain / 0.04)
        return weight, max(0.1, 1.0 - weight * gain)


@dataclass
class PlainCorrector:
    """Of one series. `horizons` are the corrected ones, `season` in ticks, a forecast every so many ticks."""

    horizons: tuple[int, ...]
    season: int
    every: int
    waiting: dict[tuple[int, int], tuple[np.ndarray, float, float, float]] = field(default_factory=dict)
    regressions: dict[int, Regression] = field(default_factory=dict)

    def __post_init__(self) -> None:
        decay = 0.5 ** (self.every / (10 * self.season))
        self.regressions = {h: Regression(decay) for h in self.horizons}

    def learn(self, tick: int, value: float) -> None:
        for h in self.horizons:
            waited = self.waiting.pop((h, tick), None)
            if waited is None or math.isnan(value):
                continue
            x, location, unit, correction = waited
            error = clip((value - location) / unit, 12.0)
            self.regressions[h].rows.append((x, error))
            self.regressions[h].losses.append((abs(error), abs(error - correction)))

    def correct(
        self,
        origin: int,
        model: np.ndarray,
        seasonal: np.ndarray,
        last: np.ndarray,
        window: np.ndarray,
        unit: float,
        known_unit: bool,
    ) -> tuple[np.ndarray, dict[int, float]]:
        """Locations [H] of the rungs and the window [L] → (corrected locations of the model, width by horizon)."""

        def known(value: float) -> float:
            return value if math.isfinite(value) else 0.0

        steps, moves, widths = [0], [0.0], {}
        for h in self.horizons:
            at = h - 1
            features = (
                known(last[at] - model[at]),
                known(seasonal[at] - model[at]),
                known(window[-1] - window[-2]),
                known(window[-1] - window[-7]),
            )
            x = np.array([clip(value / unit, 6.0) for value in features])
            correction = float(x @ self.regressions[h].weights())
            weight, widths[h] = self.regressions[h].trust()
            steps.append(h)
            moves.append(weight * correction * unit)
            if known_unit:
                self.waiting[h, origin + h] = (x, float(np.float32(model[at])), unit, correction)
        steps.append(2 * steps[-1])
        moves.append(0.0)
        return model + np.interp(np.arange(1, len(model) + 1), steps, moves), widths
