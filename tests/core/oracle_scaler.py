"""The oracle of the incremental scaler. Part of oracle.py."""

from dataclasses import dataclass

WINSOR, WINSOR_FROM = 8.0, 32.0


@dataclass
class Scaler:
    """Exponentially weighted mean, spread and level, one value after the other."""

    decay: float
    level_decay: float
    weight: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    level: float = 0.0

    def take(self, value: float) -> None:
        delta = value - self.mean
        spread = (self.m2 / max(self.weight, 1.0)) ** 0.5
        if self.weight >= WINSOR_FROM and spread > 0:
            delta = max(-WINSOR * spread, min(WINSOR * spread, delta))
        clipped = self.mean + delta
        kept = self.decay * self.weight
        self.level = value if self.weight == 0 else self.level + (1.0 - self.level_decay) * (clipped - self.level)
        self.m2 = self.decay * self.m2 + kept / (kept + 1.0) * delta * delta
        self.mean += delta / (kept + 1.0)
        self.weight = kept + 1.0

    @property
    def scale(self) -> float:
        return (self.m2 / max(self.weight, 1.0)) ** 0.5
