"""Whether the scores of a candidate in the shadow let it take charge: they are on actual values that it could not have
seen.

The interval is the gate's, over bins of ticks in the order of time. The evidence grows while it is looked at, and at
each look noise could pass. So it is looked at only when the number of blocks has doubled, and each look spends a part
of the error that all of them together may make.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray
from model_core.gate.checks import MARGIN
from model_core.gate.interval import BLOCKS_MIN, Difference, relative_difference, spent


@dataclass(frozen=True)
class Evidence:
    """`looks` so far; `difference` at the newest of them, None before the first."""

    bins: int
    blocks: int
    looks: int
    difference: Difference | None
    candidate: float  # mean pinball in units of the series' steps, over all bins; NaN without any
    champion: float

    @property
    def proven(self) -> bool:
        return self.difference is not None and self.difference.upper < -MARGIN

    @property
    def sentence(self) -> str:
        if self.difference is None:
            return f"{self.blocks} of the {BLOCKS_MIN} blocks that a first look takes"
        change = f"{self.difference.mean:+.2%}, at most {self.difference.upper:+.2%}"
        return f"look {self.looks}, {self.difference.blocks} blocks: {change}; {-MARGIN:.0%} is asked"


def shadow_evidence(scores: Mapping[int, tuple[float, float]], bin_ticks: int, block_ticks: int) -> Evidence:
    """`scores`: first tick of a bin → mean pinball of candidate and champion. `block_ticks` as the gate has them."""
    block = -(-block_ticks // bin_ticks)
    first, last = (min(scores), max(scores)) if scores else (0, -1)
    every = np.full((max(0, (last - first) // bin_ticks + 1), 2), np.nan)  # a gap is no neighbourhood
    for since, means in scores.items():
        every[(since - first) // bin_ticks] = means
    known = np.isfinite(every).all(axis=1)
    blocks = int(known.sum()) // block
    looks = int(np.log2(blocks / BLOCKS_MIN)) + 1 if blocks >= BLOCKS_MIN else 0
    difference = None
    if looks:
        taken: FloatArray = every[known][: BLOCKS_MIN * 2 ** (looks - 1) * block]
        difference = relative_difference(taken[:, 0], taken[:, 1], block, spent(looks))
    averages = every[known].mean(axis=0) if known.any() else np.full(2, np.nan)
    return Evidence(int(known.sum()), blocks, looks, difference, float(averages[0]), float(averages[1]))
