"""What the page about drift expects of chance is what a Poisson variable does."""

import numpy as np
import pytest

from benchmarks.drift.figures import hit_by_chance
from benchmarks.drift.page import by_chance


@pytest.mark.parametrize(("expected", "ends"), [(0.5, (0, 2)), (6.1, (2, 11)), (12.1, (6, 19))])
def test_the_ends_are_those_of_the_tables(expected: float, ends: tuple[int, int]) -> None:
    assert by_chance(expected) == ends


def test_most_draws_of_a_large_rate_lie_between_them(rng: np.random.Generator) -> None:
    low, high = by_chance(1132.7)
    drawn = rng.poisson(1132.7, 100_000)
    assert ((drawn >= low) & (drawn <= high)).mean() == pytest.approx(0.95, abs=0.01)


def test_windows_hit_by_chance_are_those_that_random_alarms_hit(rng: np.random.Generator) -> None:
    """Two windows, of which one lies half before what is judged: alarms are drawn, ten thousand times."""
    spans, judged, alarms = [[90, 119], [300, 309]], (100, 500), 7
    drawn = rng.integers(*judged, (10_000, alarms))
    hit = sum(((drawn >= first) & (drawn <= last)).any(axis=1).mean() for first, last in spans)
    assert hit_by_chance(alarms, spans, judged) == pytest.approx(hit, abs=0.02)
    assert hit_by_chance(0, spans, judged) == 0
    assert hit_by_chance(1, [[0, 50], [100, 499]], judged) == 1  # one was over before, the other is all there is
