"""Quantiles from a location, a unit and dimensionless tables: q[τ,h] = ŷ[h] + u · (base[τ,h] + spread[h] · Δ[τ,b(h)]).

`base` are residual quantiles in units of u, `spread` is their width as standard deviations of a Gaussian, Δ is what the
tracker has learned since (Angelopoulos, Candès and Tibshirani 2023, conformal PID control: its quantile tracker).

`place` and `pinball` are for whole histories, in training; compiled/issue.c and settle.c handle single forecasts.
"""

from statistics import NormalDist

import numpy as np

from model_core.arrays import AnyArray, FloatArray
from model_core.spec import StreamSpec

SPREAD_MIN = 1e-6


class Levels:
    """The quantile levels of a stream and the buckets of its horizon. K scored horizons, one bucket each."""

    def __init__(self, spec: StreamSpec) -> None:
        self.levels = np.array(spec.quantile_levels)  # float64 [Q]
        self.normal = np.array([NormalDist().inv_cdf(level) for level in spec.quantile_levels])
        self.median = spec.quantile_levels.index(0.5)
        self.horizons = np.array(spec.scored_horizons, np.int64)  # [K]
        self.bucket = np.searchsorted(self.horizons, np.arange(1, spec.horizon + 1))  # [H] → index of a bucket
        self.intervals = central_intervals(spec.quantile_levels)

    def bin_scores(self) -> FloatArray:
        """float64 [Q + 1], mean of a standard normal variable between two levels: what a value there counts for."""
        density = np.exp(-0.5 * self.normal**2) / np.sqrt(2 * np.pi)
        edges = np.concatenate(([0.0], density, [0.0]))
        return -np.diff(edges) / np.diff(np.concatenate(([0.0], self.levels, [1.0])))

    def spread(self, base: AnyArray) -> FloatArray:
        """[…, Q] residual quantiles → […, 1] their width; 1 for a Gaussian of unit variance."""
        if len(self.levels) == 1:
            return np.ones_like(base)  # no width to go by; a tiny one would make the offsets powerless
        width = self.normal[-1] - self.normal[0]
        return np.maximum((base[..., -1:] - base[..., :1]) / width, SPREAD_MIN)


def central_intervals(levels: tuple[float, ...]) -> tuple[tuple[int, int], ...]:
    """Index pairs (low, high) of the levels that are symmetric about the median, widest first."""
    pairs = []
    for low, level in enumerate(levels):
        high = next((i for i, other in enumerate(levels) if abs(other - (1 - level)) < 1e-9), None)
        if level < 0.5 and high is not None:
            pairs.append((low, high))
    return tuple(pairs)


def place(location: AnyArray, unit: AnyArray, table: AnyArray, bounds: AnyArray) -> FloatArray:
    """Quantiles in the units of the target: rising along the last axis and within the bounds.

    location […], unit […], table […, Q] in units of u, bounds […, 2] → float64 […, Q].
    """
    quantiles = location[..., None] + unit[..., None] * table
    if not (quantiles[..., 1:] >= quantiles[..., :-1]).all():  # looking is three times cheaper than accumulating
        quantiles = np.maximum.accumulate(quantiles, axis=-1)
    return np.clip(quantiles, bounds[..., :1], bounds[..., 1:])


def pinball(actual: AnyArray, quantiles: AnyArray, levels: FloatArray) -> FloatArray:
    """Mean over levels of ρτ(y − q) = max(τ d, (τ − 1) d): actual […], quantiles […, Q] → […] (Koenker 1978)."""
    difference = actual[..., None] - quantiles
    return np.maximum(levels * difference, (levels - 1) * difference).mean(axis=-1)
