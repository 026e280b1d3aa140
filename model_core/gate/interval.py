"""How certain a difference of losses is when neighbouring origins resemble each other: the moving-block bootstrap
(Künsch 1989), whose standard error of a mean has a closed form, without draws or a seed.

Forecasts of neighbouring origins share most of their targets; taken as independent they seem five times as many. Block
means keep any dependence that is shorter than a block.
"""

import math
from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray

ERROR_RATE = 0.05  # over all attempts at the same data together
BLOCKS_MIN = 3  # fewer say nothing of how blocks differ
FREEDOM_MAX = 300  # degrees of freedom from which Student's t is the normal distribution


@dataclass(frozen=True)
class Difference:
    """mean(mine) / mean(theirs) − 1 over the origins, and the bounds that each are wrong with probability alpha."""

    mean: float
    lower: float  # −∞ and ∞ where there are too few blocks
    upper: float
    origins: int
    blocks: int


def relative_difference(mine: FloatArray, theirs: FloatArray, block: int, alpha: float) -> Difference:
    """Losses float64 [n] at rising origins, NaN where nothing was scored; `block` in origins."""
    there = np.isfinite(mine) & np.isfinite(theirs)
    mine, theirs = mine[there], theirs[there]
    level = float(theirs.mean()) if len(theirs) else 0.0
    if level <= 0:
        return Difference(math.nan, -math.inf, math.inf, len(mine), 0)
    ratio = float(mine.mean()) / level
    blocks = len(mine) // block
    if blocks < BLOCKS_MIN:
        return Difference(ratio - 1, -math.inf, math.inf, len(mine), blocks)
    # The ratio of two means, linearised: its error is that of the mean of what is left over.
    reach = t_quantile(1 - alpha, blocks - 1) * block_error(mine - ratio * theirs, block) / level
    return Difference(ratio - 1, ratio - 1 - reach, ratio - 1 + reach, len(mine), blocks)


def share_error(inside: FloatArray, counted: FloatArray, block: int, alpha: float) -> float:
    """How far Σ inside / Σ counted may be off, either way with probability alpha; float64 [n] at rising origins."""
    there = counted > 0
    inside, counted = inside[there], counted[there]
    blocks = len(counted) // block
    if blocks < BLOCKS_MIN:
        return math.inf
    left_over = inside - inside.sum() / counted.sum() * counted
    return t_quantile(1 - alpha, blocks - 1) * block_error(left_over, block) / float(counted.mean())


def block_error(values: FloatArray, block: int) -> float:
    """Standard error of the mean of float64 [n], n > block.

    The bootstrap's own, Var(block means) · block / n, times n / (n − block) for the mean having been taken from them.
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    means = (total[block:] - total[:-block]) / block
    return math.sqrt(float(means.var()) / (len(values) / block - 1))


def spent(attempt: int) -> float:
    """The error that the k-th attempt (from 1) may make: α_k = .05 · 6 / (π² k²), which add up to .05."""
    return ERROR_RATE * 6 / (math.pi**2 * attempt**2)


def t_quantile(probability: float, freedom: int) -> float:
    """Of Student's t with so many degrees of freedom, probability ≥ .5; by bisection."""
    low, high = 0.0, 1.0
    while _t_within(high, freedom) < 2 * probability - 1:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if _t_within(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return high


def _t_within(t: float, freedom: int) -> float:
    """P(|T| ≤ t), for whole degrees of freedom a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    freedom = min(freedom, FREEDOM_MAX)
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 + odd, freedom, 2):  # each term belongs to cos to the power of `power` − 1
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
