"""Sums that are kept between trainings: what they teach is what the whole history would have taught."""

import numpy as np
import pytest

from model_core.errors import LayoutMismatch
from model_core.ladder import Rung
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.training import ridge
from model_core.training.dataset import TrainingWindows
from model_core.training.folding import fold, recent_origins
from model_core.training.history import PAGE, CellHistory, HistoryFeed
from model_core.training.kept_history import from_bytes, to_bytes
from model_core.training.ridge import Choice, RidgeTraining
from model_core.training.season_search import SeasonSearch
from model_core.training.train import train
from tests.core.test_training import FIRST_TICK, HORIZON, MADE, daily_waves, make_history, make_spec

RECENT = "560h"  # little more than the three weeks that looking for a season takes
TICKS, TRAININGS = 2700, (1400, 1950, 2700)
SITES = ("a", "b", "c")
CHOICE = Choice(0.01, "last", "single", {})


def put(history: CellHistory, cells, first: int, names) -> None:
    columns = history.columns_of(list(names))
    ticks = np.repeat(np.arange(len(cells)) + FIRST_TICK + first, len(columns))
    history.put(np.tile(columns, len(cells)), ticks, cells.reshape(-1))


def restarted(spec, history: CellHistory) -> CellHistory:
    """What another process would go on with."""
    kept = from_bytes(spec, to_bytes(spec, history, HistoryFeed(spec, history), {}))
    assert kept.told is None
    return kept.history


def bit_by_bit(spec, cells, names) -> CellHistory:
    """As a trainer has it that was away after each of TRAININGS."""
    history, done = CellHistory(), 0
    for ticks in TRAININGS:
        put(history, cells[done:ticks], done, names)
        assert fold(history, spec) is None
        history, done = restarted(spec, history), ticks
    return history


def solved(spec, history: CellHistory) -> dict:
    """The weights that all windows lead to, those of the past and those of the cells that are there."""
    windows = TrainingWindows(spec, history)
    training = RidgeTraining(windows, 24, recent_origins(spec))
    first = windows.first_origin() if history.past is None else history.past.until - windows.first_tick
    total = training.grown(training.before(history.past), first, windows.ticks - spec.horizon)
    return training.solve(total, CHOICE)


def find(monkeypatch, season: int) -> None:
    """Which season is found in noise is another test's matter."""
    monkeypatch.setattr("model_core.training.folding.find_season", lambda _cells, _spec: SeasonSearch(season, True, {}))


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = 1e-6 * np.abs(values).max(initial=0)
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=scale, err_msg=name)


def plain(rng):
    return daily_waves(rng, TICKS), [f"s{i}" for i in range(3)]


def with_covariates(rng):
    """Rain drives the flow; both have holes, and the price of what comes is known."""
    rain, price = rng.gamma(0.5, 2.0, (TICKS, 3)), daily_waves(rng, TICKS)
    flow = daily_waves(rng, TICKS) + np.roll(rain, 2, axis=0) + 0.2 * price
    rain[rng.random(rain.shape) < 0.1] = np.nan
    names = [f"{site}.{variable}" for variable in ("flow", "rain", "price") for site in SITES]
    return np.concatenate([flow, rain, price], axis=1), names


def sales(rng):
    return rng.poisson(1.5 + np.sin(np.arange(TICKS) * 2 * np.pi / 24), (3, TICKS)).T.astype(float), list(SITES)


CASES = {
    "plain": (plain, {}),
    "fading": (plain, {"training_half_life": "400h"}),
    "holes": (plain, {}),
    "thinned": (plain, {}),
    "covariates": (with_covariates, {"past_covariates": ("rain",), "future_covariates": ("price",)}),
    "blocks": (plain, {"context_length": 800}),
}


@pytest.mark.parametrize("case", CASES)
def test_sums_grown_over_restarts_are_those_of_the_whole_history(rng, monkeypatch, case):
    """Against a refit on every window of a history of which nothing was folded or forgotten."""
    made, changes = CASES[case]
    spec = make_spec(**{"training_recent": RECENT} | changes)
    cells, names = made(rng)
    if case == "holes":
        cells[rng.random(cells.shape) < 0.05] = np.nan
    if case == "blocks":
        find(monkeypatch, 24)
    if case == "thinned":
        monkeypatch.setattr(ridge, "ROWS_MIN", 500)
        monkeypatch.setattr(ridge, "PRODUCTS_MAX", 1.0)
    history = bit_by_bit(spec, cells, names)
    assert history.past is not None
    assert len(history) < min(TICKS, recent_origins(spec) + PAGE + 2 * spec.longest_season + spec.context_length)
    whole = solved(spec, make_history(cells, names))
    same(solved(spec, history), whole)
    history.past = None
    with pytest.raises(AssertionError):  # without the sums it would not be so
        same(solved(spec, history), whole)


@pytest.mark.parametrize("demand", [False, True])
def test_many_small_trainings_give_the_model_of_a_single_one(rng, demand):
    """Coefficients, quantiles, thresholds and forecasts: `train` on what is left, and on the whole history."""
    changes = {"aggregate": "count"} if demand else {"training_half_life": "600h"}
    spec = make_spec(training_recent=RECENT, **changes)
    cells, names = (sales if demand else plain)(rng)
    whole, history = make_history(cells, names), bit_by_bit(spec, cells, names)
    bundle, at_once = (train(each, spec, **MADE).bundle for each in (history, whole))
    same(bundle.tensors, at_once.tensors)
    assert bundle.manifest == at_once.manifest.model_copy(update={"sha256": bundle.manifest.sha256})
    assert bundle.manifest.training.first_tick == FIRST_TICK
    assert len(whole) == TICKS, "training leaves a history as it is"
    windows = TrainingWindows(spec, whole)
    batch = windows.batch(np.arange(len(windows)), np.full(len(windows), TICKS - HORIZON), 24)
    answers = [Predictor(spec, each, device="cpu").raw(batch).locations[:, Rung.MODEL] for each in (bundle, at_once)]
    np.testing.assert_allclose(*answers, rtol=1e-6)


# --- what cannot go on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticks", [1950, 3300])
def test_another_season_of_long_windows_begins_the_sums_anew(rng, monkeypatch, ticks):
    """Their columns are pooled by it; the cells that are there are summed again, if there are enough."""
    spec = make_spec(training_recent=RECENT, context_length=800)
    cells, history = daily_waves(rng, 3300), CellHistory()
    put(history, cells[:1950], 0, SITES)
    find(monkeypatch, 24)
    assert fold(history, spec) is None
    assert history.past is not None
    begun = history.past.first
    put(history, cells[1950:ticks], 1950, SITES)
    find(monkeypatch, 168)
    assert "season is 168" in (fold(history, spec) or "")
    assert history.past is None if ticks == 1950 else history.past.first > begun
    assert fold(history, spec) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"accuracy": "records", "max_future": "2h"}, "configuration"),
        ({"calendar": ("hour_of_day",)}, "calendar"),
        ({"training_half_life": "30d"}, "half_life"),
    ],
)
def test_what_was_kept_is_taken_over_as_far_as_it_means_the_same(rng, changes, told):
    spec = make_spec(training_recent=RECENT)
    cells = daily_waves(rng, TICKS)
    history = make_history(cells)
    fold(history, spec)
    content = to_bytes(spec, history, HistoryFeed(spec, history), {"places": {"0": 7}})
    other = make_spec(training_recent=RECENT, **changes)
    if told == "configuration":
        with pytest.raises(LayoutMismatch, match=told):
            from_bytes(other, content)
        return
    kept = from_bytes(other, content)
    assert kept.beside == {"places": {"0": 7}}
    np.testing.assert_array_equal(kept.history.values(), history.values())
    assert (kept.history.past is None) == (told is not None)
    assert (told or "") in (kept.told or "")


def test_bytes_of_another_layout_or_none_at_all_are_refused(rng, monkeypatch):
    spec, history = make_spec(), make_history(daily_waves(rng, 100))
    content = to_bytes(spec, history, HistoryFeed(spec, history), {})
    for damaged in (b"", content[:500], content[: len(content) // 2]):
        with pytest.raises(LayoutMismatch, match="cannot be read"):
            from_bytes(spec, damaged)
    monkeypatch.setattr("model_core.training.kept_history.LAYOUT", 99)
    with pytest.raises(LayoutMismatch, match="layout 99"):
        from_bytes(spec, content)


@pytest.mark.parametrize("deduplicate", ["off", "timestamp"])
def test_readings_before_and_after_a_restart_share_their_cells(rng, deduplicate):
    """Out of order, on two partitions, the restart anywhere: the cells of whoever was never away."""
    spec = make_spec(deduplicate=deduplicate, max_out_of_orderness="3h", allowed_lateness="1h", aggregate="sum")
    number = 900
    ticks = np.sort(rng.integers(0, 200, number)) - rng.integers(0, 4, number)
    stamps = (FIRST_TICK + ticks) * spec.step_ms + rng.integers(0, 3, number)
    names = [f"s{i}" for i in rng.integers(0, 5, number)]
    readings = Readings(names, stamps, rng.normal(size=number), np.arange(number))
    cut = int(rng.integers(100, 800))
    whole, history = CellHistory(), CellHistory()
    feed, uncut = HistoryFeed(spec, history), HistoryFeed(spec, whole)
    for partition in range(2):
        uncut.take(partition, readings)
        feed.take(partition, readings.part(0, cut))
    kept = from_bytes(spec, to_bytes(spec, history, feed, {}))
    for partition in range(2):
        kept.feed.take(partition, readings.part(cut, number))
    for each in (uncut, kept.feed):
        each.finish()
    np.testing.assert_array_equal(kept.history.values(), whole.values())
    assert kept.history.series_ids == whole.series_ids
    assert kept.feed.rejected == uncut.rejected
