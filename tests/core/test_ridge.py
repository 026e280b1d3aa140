"""Ridge: the closed form against plain least squares, sums that add up, and targets that are missing."""

import numpy as np
import pytest

from model_core.libraries import CPU
from model_core.model_inputs import ModelInputs
from model_core.models.ridge import Ridge, target_features, window_features, window_width
from model_core.models.ridge_fit import Sums, design

ROWS, COLUMNS, HORIZON, EXTRA = 600, 14, 4, 3


def make_rows(rng, rows: int = ROWS, missing: float = 0.0):
    x = rng.normal(size=(rows, COLUMNS))
    d = rng.normal(size=(rows, HORIZON, EXTRA)).astype(np.float32)
    y = x @ rng.normal(size=(COLUMNS, HORIZON)) + d.sum(axis=2) + rng.normal(size=(rows, HORIZON))
    y[rng.random(y.shape) < missing] = np.nan
    return x, d, y


def summed(*parts) -> Sums:
    total = Sums.empty(COLUMNS, HORIZON, EXTRA)
    for part in parts:
        total.add(*part)
    return total


def least_squares(x, d, y, penalty: float, prior, weight=None):
    """Each horizon for itself: the penalty as rows of their own, by numpy's lstsq."""
    weights = []
    every = np.ones(len(x)) if weight is None else weight
    for h in range(HORIZON):
        kept = np.isfinite(y[:, h])
        times = every[kept, None]
        features = np.concatenate([x[kept], d[kept, h]], axis=1) * times
        strength = np.sqrt(penalty * (times**2).sum())
        towards = np.concatenate([prior[:, h], np.zeros(EXTRA)])
        system = np.concatenate([features, strength * np.eye(COLUMNS + EXTRA)])
        right = np.concatenate([y[kept, h] * times[:, 0], strength * towards])
        weights.append(np.linalg.lstsq(system, right, rcond=None)[0])
    return np.array(weights).T


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("penalty", [1e-4, 0.3])
def test_the_closed_form_is_penalised_least_squares(rng, penalty, missing):
    rows = make_rows(rng, missing=missing)
    prior = rng.normal(size=(COLUMNS, HORIZON))
    solved = summed(rows).solve(penalty, prior)
    expected = least_squares(*rows, penalty, prior)
    np.testing.assert_allclose(solved.window, expected[:COLUMNS], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(solved.target.T, expected[COLUMNS:], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_rows_count_by_their_weight(rng, missing):
    rows, weight = make_rows(rng, missing=missing), rng.uniform(0, 3, ROWS)
    prior = rng.normal(size=(COLUMNS, HORIZON))
    solved = summed((*rows, weight)).solve(0.05, prior)
    expected = least_squares(*rows, 0.05, prior, weight)
    np.testing.assert_allclose(solved.window, expected[:COLUMNS], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(solved.target.T, expected[COLUMNS:], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_what_has_faded_counts_less(rng, missing):
    """Sums that fade each time before new rows come are the sums of all rows, weighted by their age."""
    parts = [make_rows(rng, rows=200, missing=missing) for _ in range(4)]
    prior = np.zeros((COLUMNS, HORIZON))
    total = summed()
    for part in parts:
        total = total.faded(0.7) + summed(part)
    every = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    weight = np.sqrt(0.7 ** np.repeat([3, 2, 1, 0], 200))
    expected = least_squares(*every, 1e-3, prior, weight)
    np.testing.assert_allclose(total.solve(1e-3, prior).window, expected[:COLUMNS], rtol=1e-6, atol=1e-9)


def test_sums_of_parts_are_the_sums_of_all(rng):
    whole = make_rows(rng, missing=0.1)
    first, second = (tuple(a[:250] for a in whole), tuple(a[250:] for a in whole))
    prior = np.zeros((COLUMNS, HORIZON))
    together = summed(whole).solve(1e-3, prior)
    for merged in (summed(first) + summed(second), summed(first, second), summed(second) + summed(first)):
        np.testing.assert_allclose(merged.solve(1e-3, prior).window, together.window, rtol=1e-6, atol=1e-9)


def test_a_missing_target_takes_its_row_from_that_horizon_only(rng):
    x, d, y = make_rows(rng)
    holed = y.copy()
    holed[100:300, 2] = np.nan
    prior = np.zeros((COLUMNS, HORIZON))
    full, some = summed((x, d, y)).solve(1e-3, prior), summed((x, d, holed)).solve(1e-3, prior)
    others = [0, 1, 3]
    np.testing.assert_allclose(some.window[:, others], full.window[:, others], rtol=1e-9, atol=1e-12)
    kept = np.r_[0:100, 300:ROWS]
    without = summed((x[kept], d[kept], y[kept])).solve(1e-3, prior)
    np.testing.assert_allclose(some.window[:, 2], without.window[:, 2], rtol=1e-8, atol=1e-10)


def test_a_strong_penalty_leads_to_the_prior(rng):
    prior = rng.normal(size=(COLUMNS, HORIZON))
    np.testing.assert_allclose(summed(make_rows(rng)).solve(1e9, prior).window, prior, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "horizon", "covariates", "season", "known"),
    [(4, 1, 0, 2, 0), (48, 6, 1, 24, 1), (100, 300, 2, 24, 1), (432, 24, 3, 144, 2), (2000, 96, 1, 5000, 0)],
)
def test_the_design_covers_every_column_once_and_stays_small(length, horizon, covariates, season, known):
    layout = design(length, horizon, covariates, season, known)
    assert layout.width == window_width(length, covariates, known * horizon)
    assert layout.starts[0] == 0
    assert (layout.sizes > 0).all()
    assert layout.sizes.sum() == layout.width
    assert len(layout.starts) < 900


def test_pooled_weights_act_as_they_do_when_spread_out(rng):
    layout = design(120, 6, 1, 24)
    features = rng.normal(size=(50, layout.width)).astype(np.float32)
    weights = rng.normal(size=(len(layout.starts), 6))
    np.testing.assert_allclose(layout.pool(features) @ weights, features @ layout.spread(weights), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("length", "covariates"), [(48, 0), (432, 2), (768, 0)])
def test_columns_may_be_pooled_after_they_were_summed(rng, length, covariates):
    fine, coarse = (design(length, 3, covariates, 24, single_cells=single) for single in (True, False))
    assert len(fine.starts) > len(coarse.starts) or length == 48
    features = rng.normal(size=(40, fine.width)).astype(np.float32)
    extra = rng.normal(size=(40, 3, 2)).astype(np.float32)
    targets = rng.normal(size=(40, 3))
    targets[5:9, 1] = np.nan
    later, before = Sums.empty(len(fine.starts), 3, 2), Sums.empty(len(coarse.starts), 3, 2)
    later.add(fine.pool(features), extra, targets)
    before.add(coarse.pool(features), extra, targets)
    into = fine.coarser(coarse)
    solved, expected = (sums.solve(0.1, np.zeros((len(coarse.starts), 3))) for sums in (later.pooled(into), before))
    np.testing.assert_allclose(solved.window, expected.window, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(solved.target, expected.target, rtol=1e-4, atol=1e-6)
    answer = solved.finer(into).apply(fine.pool(features), extra)
    np.testing.assert_allclose(answer, solved.apply(coarse.pool(features), extra), rtol=1e-4, atol=1e-5)


def test_a_very_long_window_has_blocks_in_any_case():
    assert len(design(2000, 24, 0, 24, single_cells=True).starts) == len(design(2000, 24, 0, 24).starts)


@pytest.mark.parametrize("name", ["last", "season"])
def test_a_prior_is_the_naive_forecast_of_its_name(rng, name):
    length, horizon, season = 100, 30, 24
    layout = design(length, horizon, 0, season)
    prior = layout.prior(name, horizon)
    target = rng.normal(size=length)
    features = np.concatenate([[1.0, 0.3], target, np.zeros(layout.width - 2 - length)])
    answer = features @ layout.spread(prior)
    expected = [target[-1] if name == "last" else target[length - season + h % season] for h in range(horizon)]
    np.testing.assert_allclose(answer, expected)


def test_there_is_no_seasonal_prior_for_a_season_beyond_the_window():
    assert design(50, 6, 0, 80).prior("season", 6) is None


def test_the_model_computes_what_was_fitted(rng):
    length, covariates, known, calendar = 60, 2, 1, 5

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    inputs = ModelInputs(
        library=CPU,
        target=normal(20, length),
        roughness=normal(20),
        covariates=normal(20, length, covariates),
        known=normal(20, HORIZON, known),
        calendar=normal(3, HORIZON, calendar),
        calendar_row=rng.integers(0, 3, 20),
    )
    layout = design(length, HORIZON, covariates, 24, known)
    features, extra = window_features(inputs), target_features(inputs)
    sums = Sums.empty(len(layout.starts), HORIZON, calendar + known)
    sums.add(layout.pool(features), extra, rng.normal(size=(20, HORIZON)))
    weights = sums.solve(0.1, layout.prior("last", HORIZON))
    model = Ridge.from_tensors(weights.tensors(layout), CPU)
    expected = weights.apply(layout.pool(features), extra)
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-4, atol=1e-4)
