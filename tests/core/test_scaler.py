"""The incremental scaler is the textbook recurrence, one value at a time, and a spike does not own it."""

import statistics

import numpy as np
import pytest
from river import stats

from model_core.columns import Columns
from model_core.scaler import FIELDS, half_life_decay, read_scaler, update_scaler
from tests.core.oracle import Scaler


def columns(series: int = 1) -> Columns:
    made = Columns(FIELDS)
    made.add([f"s{i}" for i in range(series)])
    return made


def test_without_forgetting_it_is_mean_and_population_deviation(rng: np.random.Generator) -> None:
    values, state = rng.normal(1e6, 3, 31).tolist(), columns()  # as many as are taken before it winsorises
    for value in values:
        update_scaler(state, np.array([0]), np.array([value]), 1.0, 1.0)
    mean, spread, _ = read_scaler(state, np.array([0]))
    np.testing.assert_allclose(mean, statistics.fmean(values), rtol=1e-12)
    np.testing.assert_allclose(spread, statistics.pstdev(values), rtol=1e-7)


@pytest.mark.parametrize("half_life", [20.0, 1e12])
def test_forgetting_is_rivers_mean_and_variance_of_values_weighted_by_age(
    half_life: float, rng: np.random.Generator
) -> None:
    """A value that is a half-life younger weighs twice as much: river gets weights that grow, not ones that fade."""
    mean, variance, state = stats.Mean(), stats.Var(ddof=0), columns()
    for tick, value in enumerate(rng.normal(50, 3, 400).tolist()):
        update_scaler(state, np.array([0]), np.array([value]), half_life_decay(half_life), 1.0)
        for statistic in (mean, variance):
            statistic.update(value, 2.0 ** (tick / half_life))
    found, spread, _ = read_scaler(state, np.array([0]))
    np.testing.assert_allclose(found, mean.get(), rtol=1e-12)
    np.testing.assert_allclose(spread**2, variance.get(), rtol=1e-10)


def test_many_series_at_once_are_what_each_alone_is(rng: np.random.Generator) -> None:
    decay, level_decay = half_life_decay(40), half_life_decay(5)
    state, plain = columns(7), [Scaler(decay, level_decay) for _ in range(7)]
    for _ in range(300):
        index = rng.permutation(7)[: rng.integers(1, 8)]
        values = rng.normal(5, 1, len(index)) * rng.choice([1, 100], len(index), p=[0.98, 0.02])
        update_scaler(state, index, values, decay, level_decay)
        for column, value in zip(index.tolist(), values.tolist(), strict=True):
            plain[column].take(value)
    found = np.stack(read_scaler(state, np.arange(7)), axis=1)
    np.testing.assert_allclose(found, [[one.mean, one.scale, one.level] for one in plain], rtol=1e-12)


def test_one_spike_counts_as_eight_deviations(rng: np.random.Generator) -> None:
    state = columns()
    for value in rng.normal(0, 1, 500):
        update_scaler(state, np.array([0]), np.array([value]), half_life_decay(1000), 0.5)
    _, before, _ = read_scaler(state, np.array([0]))
    update_scaler(state, np.array([0]), np.array([1e9]), half_life_decay(1000), 0.5)
    mean, after, level = read_scaler(state, np.array([0]))
    assert after[0] < 1.2 * before[0]
    assert abs(mean[0]) < 0.3
    assert level[0] < 8 * before[0]


def test_the_level_starts_at_the_first_value_and_halves_its_distance_in_a_half_life() -> None:
    state = columns()
    for value in [10.0] + [20.0] * 5:
        update_scaler(state, np.array([0]), np.array([value]), 1.0, half_life_decay(5))
    np.testing.assert_allclose(read_scaler(state, np.array([0]))[2], 15.0)


def test_a_series_that_is_not_there_has_no_mean_and_no_spread() -> None:
    assert [part.tolist() for part in read_scaler(columns(), np.array([-1]))] == [[0.0], [0.0], [0.0]]
