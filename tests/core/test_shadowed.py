"""Evidence of the shadow: looked at when it has doubled, with an error that all looks share, never on a few blocks."""

import numpy as np
import pytest

from model_core.gate.interval import BLOCKS_MIN, relative_difference, spent
from model_core.gate.shadowed import Evidence, shadow_evidence

BIN, BLOCK = 6, 24  # ticks: four bins a block
TRIALS = 200


def scores(rng: np.random.Generator, bins: int, better: float = 0.0) -> dict[int, tuple[float, float]]:
    """Losses of neighbouring bins are alike, not beyond a block; those of the candidate are lower by a share."""
    common = np.zeros((bins, 2))
    for at in range(1, bins):
        common[at] = 0.5 * common[at - 1] + rng.normal(0, 0.05, 2)
    means = np.exp(common) * [1 - better, 1]
    return {at * BIN: (float(mine), float(theirs)) for at, (mine, theirs) in enumerate(means)}


def after(found: dict[int, tuple[float, float]], blocks: int) -> Evidence:
    """What is known when that many blocks are."""
    first = sorted(found)[: blocks * BLOCK // BIN]
    return shadow_evidence({since: found[since] for since in first}, BIN, BLOCK)


def test_nothing_is_proven_before_the_first_look(rng: np.random.Generator) -> None:
    found = scores(rng, 100, better=0.5)
    assert shadow_evidence({}, BIN, BLOCK).blocks == 0
    for blocks in range(BLOCKS_MIN):
        evidence = after(found, blocks)
        assert (evidence.looks, evidence.proven) == (0, False)
        assert f"{blocks} of the {BLOCKS_MIN} blocks" in evidence.sentence


def test_it_is_looked_at_when_the_blocks_have_doubled_and_each_look_spends(rng: np.random.Generator) -> None:
    found = scores(rng, 100)
    looks = {blocks: after(found, blocks) for blocks in range(3, 25)}
    assert [each.looks for each in looks.values()] == [1] * 3 + [2] * 6 + [3] * 12 + [4]
    bins = np.array([found[since] for since in sorted(found)])[: 6 * BLOCK // BIN]
    expected = relative_difference(bins[:, 0], bins[:, 1], BLOCK // BIN, spent(2))
    assert all(looks[blocks].difference == expected for blocks in range(6, 12)), "between two looks nothing changes"


def test_a_better_candidate_is_proven_and_a_worse_one_is_not(rng: np.random.Generator) -> None:
    assert after(scores(rng, 400, better=0.15), 48).proven
    assert not after(scores(rng, 400, better=-0.15), 48).proven
    assert not after(scores(rng, 4000, better=0.003), 768).proven, "a change is not worth it for less than a percent"


def test_noise_is_proven_in_few_of_many_trials_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(20)
    proven = 0
    for _ in range(TRIALS):
        found = scores(rng, 24 * BLOCK // BIN)
        proven += any(after(found, blocks).proven for blocks in (3, 6, 12, 24))
    assert proven <= 0.05 * TRIALS


def test_bins_that_are_missing_count_for_nothing(rng: np.random.Generator) -> None:
    found = scores(rng, 40)
    kept = {since: means for since, means in found.items() if not 60 <= since < 120}
    evidence = shadow_evidence(kept, BIN, BLOCK)
    assert (evidence.bins, evidence.blocks) == (30, 7)
    assert evidence.candidate == pytest.approx(np.mean([mine for mine, _ in kept.values()]))
