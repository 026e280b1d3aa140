"""What the page about drift expects of chance is what a Poisson variable does."""

import numpy as np
import pytest

from benchmarks.drift.page import by_chance


@pytest.mark.parametrize(("expected", "ends"), [(0.5, (0, 2)), (6.1, (2, 11)), (12.1, (6, 19))])
def test_the_ends_are_those_of_the_tables(expected: float, ends: tuple[int, int]) -> None:
    assert by_chance(expected) == ends


def test_most_draws_of_a_large_rate_lie_between_them(rng: np.random.Generator) -> None:
    low, high = by_chance(1132.7)
    drawn = rng.poisson(1132.7, 100_000)
    assert ((drawn >= low) & (drawn <= high)).mean() == pytest.approx(0.95, abs=0.01)
