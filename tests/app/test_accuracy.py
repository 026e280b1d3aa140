"""The accuracy benchmark: its protocol against plain arithmetic, and that the test part has no say before it may."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import gift, ours, page
from benchmarks.accuracy.figures import counted_by_batches, save_method
from benchmarks.accuracy.protocol import (
    CONTEXT,
    ClosedPart,
    Errors,
    Ett,
    NoData,
    Sealed,
    judged_origins,
    standardised,
    stream,
    train_origins,
    validation_origins,
)
from benchmarks.accuracy.rivals import clamped, sample
from model_core.training import ridge

DAYS_30 = 720
HORIZON = 96


def made(rng, series: int = 1, rows: int = 17_420) -> Ett:
    """Daily waves over a very slow walk."""
    hours = np.arange(rows)[:, None]
    waves = 3 * np.sin(2 * np.pi * hours / 24 + rng.uniform(0, 6, series))
    walk = rng.normal(0, 0.01, (rows, series)).cumsum(axis=0)
    names = tuple("abcdefg"[:series])
    return Ett("made", names, 400_000, 20 + waves + walk + rng.normal(0, 0.5, (rows, series)))


# --- protocol -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("windows", "counted"), [(2785, 2688), (2689, 2688), (2545, 2432), (256, 256), (100, 0)])
def test_of_test_windows_others_count_those_in_full_batches(windows, counted):
    assert len([n for start in range(0, windows, 128) if start + 128 <= windows for n in range(128)]) == counted
    assert counted_by_batches(windows) == counted


@pytest.mark.parametrize(("horizon", "windows"), [(96, 2785), (192, 2689), (336, 2545), (720, 2161)])
def test_parts_have_the_windows_of_the_protocol(horizon, windows):
    """Each part's rows, context rows before it included, cut into every window that fits."""
    ends = {"train": 12 * DAYS_30, "validation": 16 * DAYS_30, "test": 20 * DAYS_30}
    starts = {"train": 0, "validation": 12 * DAYS_30 - CONTEXT, "test": 16 * DAYS_30 - CONTEXT}
    found = {
        "train": train_origins(horizon),
        "validation": validation_origins(horizon),
        "test": judged_origins(horizon),
    }
    for part, (first, last) in found.items():
        begins = range(starts[part], ends[part] - CONTEXT - horizon + 1)
        assert list(range(first, last)) == [begin + CONTEXT - 1 for begin in begins], part
    assert found["test"][1] - found["test"][0] == windows


def test_the_standard_deviations_are_of_the_training_part_alone(rng):
    data = made(rng, series=2)
    rows = data.rows.copy()
    rows[12 * DAYS_30 :] *= 1000
    known, changed = standardised(data.rows), standardised(rows)
    np.testing.assert_array_equal(known[: 12 * DAYS_30], changed[: 12 * DAYS_30])
    train = known[: 12 * DAYS_30]
    np.testing.assert_allclose([train.mean(axis=0), train.std(axis=0)], [[0, 0], [1, 1]], atol=1e-9)


def test_errors_are_means_over_windows_series_and_steps(rng):
    forecasts, actual = rng.normal(size=(2, 5, 3, 4))
    errors = Errors.of(np.arange(10, 15), forecasts, actual)
    differences = [
        forecasts[n, s, h] - actual[n, s, h] for n in range(5) for s in range(3) for h in range(4)
    ]  # every number counts once
    assert errors.mse == pytest.approx(sum(d * d for d in differences) / len(differences))
    assert errors.mae == pytest.approx(sum(map(abs, differences)) / len(differences))
    some = errors.at(np.array([11, 14]))
    assert some.mae == pytest.approx(np.abs(forecasts[[1, 4]] - actual[[1, 4]]).mean())


def test_the_sample_is_of_test_windows_of_every_horizon():
    origins = sample()
    assert len(set(origins.tolist())) == len(origins)
    assert origins.min() >= 16 * DAYS_30 - 1
    assert origins.max() + 720 < 20 * DAYS_30


def test_a_forecast_that_runs_away_is_clamped_to_its_window():
    window = np.array([3.0, -1.0, 2.0])
    np.testing.assert_array_equal(clamped(np.array([9.0, -9.0, np.nan, 1.0]), window), [3.0, -1.0, 2.0, 1.0])


def test_a_folder_without_the_data_is_named(tmp_path):
    with pytest.raises(NoData, match=r"ETTh1\.csv\.gz"):
        Ett.read(tmp_path, "ETTh1")


# --- nothing leaks --------------------------------------------------------------------------------------------------


def test_the_test_part_is_closed_until_the_method_is_saved(rng, tmp_path):
    sealed = Sealed(made(rng))
    path = tmp_path / "methods.json"
    with pytest.raises(ClosedPart):
        sealed.open(path, "made-96")
    save_method(tmp_path, "made-192", {"model": "ridge"})
    with pytest.raises(ClosedPart):
        sealed.open(path, "made-96")
    assert len(sealed.before_test) == 16 * DAYS_30
    save_method(tmp_path, "made-96", {"model": "ridge"})
    assert len(sealed.open(path, "made-96")) == 20 * DAYS_30
    assert set(json.loads(path.read_text())) == {"made-96", "made-192"}


class Closed(Sealed):
    """Whoever fits has no business with the test part."""

    def open(self, methods: Path, cell: str):
        raise AssertionError("opened while fitting")


@pytest.fixture(scope="module")
def known():
    """A series, and what is fitted to it: both used by several tests."""
    data = made(np.random.default_rng(5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge, "PENALTIES", (1e-2, 1e-1))  # fewer to choose from take less time
        return data, ours.fit(Closed(data), HORIZON)


def test_what_comes_later_does_not_change_earlier_forecasts(known, tmp_path, monkeypatch):
    """Weekly refits over three weeks; what the first week's targets do not reach is replaced by nonsense."""
    data, fitted = known
    first, _ = judged_origins(HORIZON)
    monkeypatch.setattr(ours, "judged_origins", lambda _horizon: (first, first + 400))
    rows = data.rows.copy()
    rows[first + ours.WEEK + HORIZON :] = 1e6
    spoiled, sealed = Sealed(Ett(data.name, data.series, data.first_tick, rows)), Sealed(data)
    np.testing.assert_array_equal(spoiled.before_test, sealed.before_test)
    path = save_method(tmp_path, "made", fitted.method)
    before, after = (ours.refit_weekly(each, fitted, each.open(path, "made"), HORIZON)[0] for each in (sealed, spoiled))
    np.testing.assert_array_equal(after.origins, np.arange(first, first + 400))
    np.testing.assert_array_equal(after.squared[: ours.WEEK], before.squared[: ours.WEEK])
    assert (after.squared[2 * ours.WEEK :] > 1e3 * before.squared[2 * ours.WEEK :]).all()


def test_the_fit_is_of_the_training_part_alone(known):
    data, fitted = known
    rows = data.rows.copy()
    rows[12 * DAYS_30 :] = np.nan
    sealed = Sealed(Ett(data.name, data.series, data.first_tick, rows))
    training = ours.trainer(sealed.windows(sealed.before_test, HORIZON))
    sums = training.sums(*train_origins(HORIZON))
    assert int(sums.rows[0]) == 12 * DAYS_30 - CONTEXT - HORIZON + 1
    np.testing.assert_array_equal(sums.gram.numpy(), fitted.sums.gram.numpy())
    np.testing.assert_array_equal(sums.window_y.numpy(), fitted.sums.window_y.numpy())


def test_the_mean_of_two_ridges_is_one_ridge(known, tmp_path, monkeypatch):
    """Of one and itself it is that one; of two that differ its squared error is below the mean of theirs."""
    data, fitted = known
    first, _ = judged_origins(HORIZON)
    monkeypatch.setattr(ours, "judged_origins", lambda _horizon: (first, first + 200))
    sealed = Sealed(data)
    rows = sealed.open(save_method(tmp_path, "made", fitted.method), "made")
    other = replace(fitted, choice=replace(fitted.choice, penalty=30.0))
    alone = [ours.refit_weekly(sealed, each, rows, HORIZON)[0] for each in (fitted, other)]
    same, mean = (
        ours.refit_weekly_together(sealed, each, rows, HORIZON) for each in ([fitted, fitted], [fitted, other])
    )
    np.testing.assert_allclose(same.squared, alone[0].squared, rtol=1e-6)
    np.testing.assert_array_equal(mean.origins, np.arange(first, first + 200))
    assert abs(alone[0].mse - alone[1].mse) > 1e-4 * alone[0].mse
    assert (mean.squared <= (alone[0].squared + alone[1].squared) / 2 * (1 + 1e-6)).all()
    assert (mean.squared > np.minimum(alone[0].squared, alone[1].squared) / 4).all()


def test_shuffled_targets_leave_no_skill(known, tmp_path):
    data, fitted = known
    sealed = Sealed(data)
    rows = sealed.open(save_method(tmp_path, "made", fitted.method), "made")
    first, last = judged_origins(HORIZON)
    means = ours.window_means(rows, HORIZON, first, last, CONTEXT)
    windows = ours.ShuffledTargets(stream(HORIZON), sealed.history(sealed.train))
    windows.shuffle(*train_origins(HORIZON), np.random.default_rng(1))
    training = ours.trainer(windows)
    of_noise = training.solve(training.sums(*train_origins(HORIZON)), fitted.choice)
    served = {
        name: ours.serve(sealed.windows(rows, HORIZON), tensors, first, last)
        for name, tensors in (("fitted", fitted.tensors), ("shuffled", of_noise))
    }
    skill = {name: 1 - each.model.mse / means.mse for name, each in served.items()}
    assert skill["fitted"] > 0.3
    assert skill["shuffled"] < 0.03
    # Both naive forecasts, told plainly.
    origin = first + 1000
    last_value = rows[origin + 1 : origin + 1 + HORIZON] - rows[origin]
    assert served["fitted"].last_value.squared[1000, 0] == pytest.approx((last_value**2).mean(), rel=1e-4)
    season = np.tile(rows[origin - 23 : origin + 1], (HORIZON // 24, 1))
    seasonal = rows[origin + 1 : origin + 1 + HORIZON] - season
    assert served["fitted"].seasonal_naive.squared[1000, 0] == pytest.approx((seasonal**2).mean(), rel=1e-4)
    own_mean = rows[origin + 1 : origin + 1 + HORIZON] - rows[origin + 1 - CONTEXT : origin + 1].mean()
    assert means.squared[1000, 0] == pytest.approx((own_mean**2).mean())


# --- GIFT-Eval ------------------------------------------------------------------------------------------------------


def test_twenty_windows_lie_end_to_end_at_the_end():
    origins = gift.window_origins(17_420)
    targets = [origin + h for origin in origins.tolist() for h in range(1, 49)]
    assert targets == list(range(17_420 - 20 * 48, 17_420))
    assert len(gift.window_origins(1000)) == 3  # a tenth of the data: 100 rows, three windows


def test_mase_and_crps_are_their_definitions(rng):
    rows = rng.normal(size=(200, 2)).cumsum(axis=0)
    origins = np.array([120, 150])
    median, actual = rng.normal(size=(2, 2, 2, 3))
    total = []
    for n, origin in enumerate(origins.tolist()):
        for s in range(2):
            past = rows[: origin + 1, s].tolist()
            step = np.mean([abs(past[t] - past[t - 24]) for t in range(24, len(past))])
            total += [abs(actual[n, s, h] - median[n, s, h]) / step for h in range(3)]
    assert gift.mase(rows, origins, median, actual) == pytest.approx(np.mean(total))
    quantiles = np.sort(rng.normal(size=(2, 2, 3, 9)), axis=3)
    by_level = []
    for q in range(9):
        level = (q + 1) / 10
        losses = [
            2 * abs((y - f) * ((y <= f) - level))
            for y, f in zip(actual.reshape(-1), quantiles[..., q].reshape(-1), strict=True)
        ]
        by_level.append(sum(losses) / np.abs(actual).sum())
    assert gift.crps(quantiles, actual) == pytest.approx(np.mean(by_level))


# --- page -----------------------------------------------------------------------------------------------------------


def test_what_was_not_run_is_said_to_be_missing(tmp_path: Path):
    text = page.write_page(tmp_path).read_text()
    assert "not run" in text
    assert "Not run yet" in text
    assert not (tmp_path / "accuracy" / page.PLOT).exists()
