"""`training_half_life`: the older a window is, the less it counts, whether its sums were faded or made anew."""

from functools import reduce
from operator import add

import numpy as np
import pytest

from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.predictor import Predictor
from model_core.training import ridge
from model_core.training.dataset import TrainingWindows
from model_core.training.mixer import fit_mixer
from model_core.training.residuals import run
from model_core.training.ridge import RidgeTraining
from model_core.training.train import train
from tests.core.test_training import HORIZON, LENGTH, MADE, daily_waves, make_history, make_spec

HALF_LIFE = "60h"
TICKS, CHANGE = 260, 700


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("holes", [0.0, 0.02])
def test_faded_sums_are_a_refit_on_all_windows_weighted_by_their_age(rng, monkeypatch, holes, squared):
    """Each origin's own sums, weighted by hand, against weeks that were added and faded as time went on."""
    monkeypatch.setattr(ridge, "ABSENT_COST_MAX", 1000.0)  # or windows with holes are thinned out by chunk
    cells = daily_waves(rng, ticks=TICKS)
    cells[rng.random(cells.shape) < holes] = np.nan
    windows = TrainingWindows(make_spec(), make_history(cells))
    fading = TrainingWindows(make_spec(training_half_life=HALF_LIFE), make_history(cells))
    plain, weighted = (RidgeTraining(each, 24, 1, squared=squared) for each in (windows, fading))
    first, last = LENGTH - 1, TICKS - HORIZON
    by_hand = reduce(add, (plain.sums(t, t + 1).faded(0.5 ** ((last - t) / 60)) for t in range(first, last)))
    weekly, known = weighted.sums(first, 100), 100
    while known < last:
        weekly, known = weighted.grown(weekly, known, min(known + 50, last)), min(known + 50, last)
    choice = plain.choose(plain.sums(first, 180), 190, last)
    expected = plain.solve(by_hand, choice)
    for total in (weekly, weighted.sums(first, last)):
        for name, weights in weighted.solve(total, choice).items():
            np.testing.assert_allclose(weights, expected[name], rtol=1e-6, atol=1e-6 * np.abs(expected[name]).max())
    np.testing.assert_array_equal(weekly.rows, by_hand.rows)  # as many windows, whatever they count


def echoes(rng, ticks: int):
    """Each value is followed by its opposite three ticks later; before CHANGE it was by itself."""
    cells = rng.normal(size=(ticks, 3))
    for tick in range(3, ticks):
        cells[tick] += (0.8 if tick < CHANGE else -0.8) * cells[tick - 3]
    return cells


def test_a_model_follows_ways_that_changed(rng):
    cells = echoes(rng, 1200)
    errors = {}
    for half_life in (None, "50h"):
        spec = make_spec(calendar=(), training_half_life=half_life)
        bundle = train(make_history(cells[:1000]), spec, **MADE).bundle
        done = run(TrainingWindows(spec, make_history(cells)), Predictor(spec, bundle, device="cpu"), 24, 1000, 1190)
        errors[half_life] = np.sqrt(np.nanmean(done.residuals[:, :, 0, :3] ** 2))
    assert errors["50h"] < 0.9 * errors[None]


def test_the_network_counts_windows_by_their_age_too(rng, monkeypatch):
    monkeypatch.setattr("model_core.training.mixer.fit_network", lambda parts, _season, _seed: list(parts))
    cells, weights = daily_waves(rng, ticks=200), {}
    tensors = {WINDOW_WEIGHT: np.zeros((window_width(LENGTH, 0), HORIZON), np.float32)}
    tensors |= {TARGET_WEIGHT: np.zeros((0, HORIZON), np.float32)}
    for half_life in (None, HALF_LIFE):
        windows = TrainingWindows(make_spec(calendar=(), training_half_life=half_life), make_history(cells))
        ((_, _, weights[half_life]),) = fit_mixer(windows, tensors, 24, (LENGTH - 1, 194), seed=0)
    age = np.repeat(194 - np.arange(LENGTH - 1, 194), 3)
    np.testing.assert_allclose(weights[HALF_LIFE], weights[None] * 0.5 ** (age / 60))
