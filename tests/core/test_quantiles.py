"""Quantiles rise, stay within their bounds, and cost what the pinball loss says."""

import numpy as np

from model_core.quantiles import Levels, central_intervals, pinball, place
from model_core.spec import StreamSpec
from tests.core.oracle_quantiles import pinball as plain_pinball

DECILES = tuple(round(0.1 * i, 1) for i in range(1, 10))


def levels(quantile_levels: tuple[float, ...] = DECILES, horizon: int = 24) -> Levels:
    return Levels(StreamSpec(topic="t", freq="1h", quantile_levels=quantile_levels, horizon=horizon))


def test_whatever_the_tables_hold_quantiles_rise_within_their_bounds(rng: np.random.Generator) -> None:
    location, unit = rng.normal(0, 5, (50, 4)), rng.exponential(2, (50, 4))
    bounds = np.stack([rng.normal(-3, 1, (50, 1)), rng.normal(3, 1, (50, 1))], axis=-1)
    bounds.sort(axis=-1)
    made = place(location, unit, rng.normal(0, 1, (50, 4, 9)), bounds)
    assert (np.diff(made, axis=-1) >= 0).all()
    assert ((made >= bounds[..., :1]) & (made <= bounds[..., 1:])).all()
    alone = place(location[3:4], unit[3:4], rng.normal(0, 1, (1, 4, 9)), bounds[3:4])
    assert alone.shape == (1, 4, 9)


def test_a_row_is_placed_alike_whatever_stands_beside_it(rng: np.random.Generator) -> None:
    location, unit, table = rng.normal(0, 5, (50, 4)), rng.exponential(2, (50, 4)), rng.normal(0, 1, (50, 4, 9))
    bounds = np.tile([-4.0, 4.0], (50, 1, 1))
    whole = place(location, unit, table, bounds)
    for row in range(50):
        one = slice(row, row + 1)
        assert place(location[one], unit[one], table[one], bounds[one]).tobytes() == whole[one].tobytes()


def test_pinball_is_the_mean_over_levels_of_the_tilted_distance(rng: np.random.Generator) -> None:
    actual, quantiles = rng.normal(size=20), np.sort(rng.normal(size=(20, 9)), axis=1)
    expected = [plain_pinball(y, q, DECILES) for y, q in zip(actual.tolist(), quantiles.tolist(), strict=True)]
    np.testing.assert_allclose(pinball(actual, quantiles, np.array(DECILES)), expected, rtol=1e-12)


def test_intervals_are_the_levels_symmetric_about_the_median_widest_first() -> None:
    assert central_intervals(DECILES) == ((0, 8), (1, 7), (2, 6), (3, 5))
    assert central_intervals((0.05, 0.25, 0.5, 0.75)) == ((1, 3),)


def test_each_step_of_the_horizon_has_the_bucket_of_the_next_scored_one() -> None:
    made = levels()
    assert made.horizons.tolist() == [1, 2, 3, 6, 12, 24]
    assert made.bucket[[0, 1, 2, 3, 5, 6, 11, 12, 23]].tolist() == [0, 1, 2, 3, 3, 4, 4, 5, 5]


def test_the_spread_of_gaussian_residuals_is_their_deviation() -> None:
    made = levels()
    np.testing.assert_allclose(made.spread(3.0 * made.normal[None]), [[3.0]])
    assert levels((0.5,)).spread(np.zeros((2, 1))).tolist() == [[1.0], [1.0]]
