"""Intermittent demand: level and quantiles against plain recursions, and what a worker makes of seeded streams."""

import math

import numpy as np
import pytest

from model_core.backtest import steps
from model_core.drift.pit import PitHistogram
from model_core.errors import CorruptBundle
from model_core.ladder import Rung
from model_core.libraries import CPU
from model_core.models import DEMAND
from model_core.models.intermittent import OCCURRENCE, RATES, SIZE, Demand, Intermittent, fine_levels
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary
from model_core.training.dataset import TrainingWindows
from model_core.training.demand import fit_demand
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.season_search import SeasonSearch
from model_core.training.train import train
from tests.core.devices import TORCH_DEVICES

DAY_MS, FIRST = 86_400_000, 18_000
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SEASON = {OCCURRENCE: np.array([1.5, 0.5, 1.0]), SIZE: np.array([1.0, 2.0, 0.5])}
FLAT = {OCCURRENCE: np.ones(1), SIZE: np.ones(1)}
TENSORS = {RATES: np.array([0.2, 0.1])}


# --- the oracle: TSB step by step, one window ------------------------------------------------------------------------


def tsb(window: list[float], phase: int, usual: dict[str, np.ndarray], of_size: float, of_sale: float):
    """(how often, how much): p ← (1 − β) p + β [sold], z ← (1 − α) z + α d at sales; weights that are seen beside."""
    often = seen = level = weight = 0.0
    for back, value in zip(range(len(window) - 1, -1, -1), window, strict=True):
        step = (phase - back) % len(usual[OCCURRENCE])
        known = not math.isnan(value)
        sold = known and value > 0
        often = (1 - of_sale) * often + of_sale * sold
        seen = (1 - of_sale) * seen + of_sale * known * usual[OCCURRENCE][step]
        if sold:
            level = (1 - of_size) * level + of_size * value / usual[SIZE][step]
            weight = (1 - of_size) * weight + of_size
    return often / seen, level / weight if weight else 0.0


def mixture(window: list[float], share: float, size: float, level: float, *, whole: bool) -> float:
    """The quantile of the continuous value: zeros from −1 to 0, then the sizes of the window, brought to `size`."""
    if level <= 1 - share:
        return level / (1 - share) - 1
    sizes = sorted(value for value in window if value > 0)
    places = sizes
    if whole:
        places = [value - 1 + (row - sizes.index(value) + 0.5) / sizes.count(value) for row, value in enumerate(sizes)]
    at = min(max((level - (1 - share)) / share * len(sizes) - 0.5, 0.0), len(sizes) - 1.0)
    low, high = math.floor(at), math.ceil(at)
    found = places[low] + (places[high] - places[low]) * (at - low)
    return max(found * size / (sum(sizes) / len(sizes)), 0.0)


def windows_of(rng: np.random.Generator, rows: int = 40, length: int = 30) -> np.ndarray:
    """Counts that are sold with a probability of .02 to .9, some cells missing, one window without a sale."""
    sold = rng.random((rows, length)) < rng.uniform(0.02, 0.9, (rows, 1))
    cells = np.where(sold, rng.geometric(0.4, (rows, length)), 0).astype(np.float32)
    cells[rng.random(cells.shape) < 0.05] = np.nan
    cells[0] = 0
    return cells


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("usual", [FLAT, SEASON])
def test_mean_and_quantiles_are_those_of_the_plain_recursions(rng, usual, whole):
    raw = windows_of(rng)
    phase = rng.integers(0, len(usual[SIZE]), len(raw))
    made = Intermittent(TENSORS | usual, LEVELS, CPU, whole=whole)(raw, phase, 5)
    for row, window in enumerate(raw.tolist()):
        often, level = tsb(window, int(phase[row]), usual, 0.2, 0.1)
        zeros = sum(value == 0 for value in window)
        many = zeros > 0.4 * sum(not math.isnan(value) for value in window)
        for h in range(5):
            step = (int(phase[row]) + h + 1) % len(usual[SIZE])
            share = min(often * usual[OCCURRENCE][step], 1.0)
            size = level * usual[SIZE][step]
            assert made.intermittent[row, h] == (many or share < 0.6)
            assert made.mean[row, h] == pytest.approx(share * size, rel=1e-12)
            expected = [mixture(window, share, size, q, whole=whole) for q in fine_levels(LEVELS)]
            np.testing.assert_allclose(made.quantiles[row, h], expected, rtol=1e-9, atol=1e-12)
    assert made.intermittent.any()
    assert not made.intermittent.all()


def test_steps_beside_intermittent_ones_have_the_sizes_of_the_window_around_the_other_model_s_location(rng):
    raw = np.where(rng.random((40, 30)) < 0.85, rng.geometric(0.2, (40, 30)), 0).astype(np.float32)
    raw[:, 2::3] = 0  # nothing is ever sold at one of three steps: with the others' zeros, less than 40 % or more
    model = Intermittent(TENSORS | {OCCURRENCE: np.array([1.5, 1.5, 0.01]), SIZE: np.ones(3)}, LEVELS, CPU, whole=True)
    alone = model(raw, np.full(40, 2), 6)
    location = alone.mean * rng.choice([0.1, 0.5, 1.5, 3.0, 9.0], alone.mean.shape)
    made = model.beside(alone, location)
    for row, h in np.ndindex(location.shape):
        rare, ratio = alone.intermittent[row, h], location[row, h] / alone.mean[row, h]
        answers = rare or 0.25 < ratio < 4.0
        assert made.intermittent[row, h] == answers
        assert made.mean[row, h] == (alone.mean if rare else location)[row, h]
        if answers:
            factor = 1.0 if rare else ratio
            expected = [q * factor if q > 0 else q for q in alone.quantiles[row, h].tolist()]
            np.testing.assert_allclose(made.quantiles[row, h], expected, rtol=1e-12)
    assert alone.intermittent[:, 2::3].all()
    assert not alone.intermittent.all()
    # Without an intermittent step nothing changes hands.
    other = model.beside(Demand(np.zeros_like(alone.intermittent), alone.mean, alone.quantiles), location)
    assert not other.intermittent.any()
    np.testing.assert_array_equal(other.mean, location)


@pytest.mark.parametrize("device", TORCH_DEVICES)
def test_torch_says_the_same_and_a_row_depends_on_itself_alone(rng, device):
    raw, torch = windows_of(rng), TorchLibrary(device)
    phase = rng.integers(0, 3, len(raw))
    model, other = (Intermittent(TENSORS | SEASON, LEVELS, library, whole=True) for library in (CPU, torch))
    together = model(raw, phase, 7)
    theirs = other(torch.array(raw), torch.array(phase), 7)
    for name in ("intermittent", "mean", "quantiles"):
        np.testing.assert_allclose(getattr(together, name), torch.numpy(getattr(theirs, name)), rtol=1e-9, atol=1e-12)
    for row in range(len(raw)):
        alone = model(raw[row : row + 1], phase[row : row + 1], 7)
        assert alone.quantiles.tobytes() == together.quantiles[row : row + 1].tobytes()
        assert alone.mean.tobytes() == together.mean[row : row + 1].tobytes()


@pytest.mark.parametrize(
    "broken", [{RATES: np.array([0.2])}, {RATES: np.array([0.2, 1.0])}, {SIZE: np.ones(2)}, {OCCURRENCE: None}]
)
def test_tensors_without_sense_are_refused(broken):
    with pytest.raises(CorruptBundle, match="a model of demand needs"):
        Intermittent(TENSORS | SEASON | broken, LEVELS, CPU, whole=True)


# --- seeded streams --------------------------------------------------------------------------------------------------


def shop(rng: np.random.Generator, days: int, products: int) -> np.ndarray:
    """[days, products] counts: half are sold on one day in three and less, the others daily; nothing on Sundays."""
    often = np.concatenate([rng.uniform(0.1, 0.35, products // 2), np.ones(products - products // 2)])
    mean = np.where(often < 1, 1.5, rng.uniform(3, 9, products))
    cells = np.where(rng.random((days, products)) < often, 1 + rng.poisson(mean - 1 + (often < 1), (days, products)), 0)
    cells[np.arange(days) % 7 == 3] = 0
    return cells


def shop_spec(**changes) -> StreamSpec:
    return StreamSpec(
        **(
            {"topic": "t", "freq": DAY_MS, "aggregate": "count", "context_length": 56, "horizon": 3, "calendar": ()}
            | changes
        )
    )


def sales_of(cells: np.ndarray, *, first: int = 0) -> Readings:
    """A reading for each sale (of a `count` stream), in the order of days."""
    day, product = np.nonzero(cells)
    times = np.repeat(cells[day, product], cells[day, product])
    day, product = np.repeat(day, cells[day, product]), np.repeat(product, cells[day, product])
    stamps = (FIRST + first + day) * DAY_MS + 1000
    return Readings([f"p{p}" for p in product.tolist()], stamps, np.ones(len(times)), np.arange(len(times)))


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(3)
    cells, spec = shop(rng, 700, 40), shop_spec()
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    feed.take(0, sales_of(cells[:400]))
    feed.finish()
    made = train(history, spec, version="v1", created_at="", device="cpu")
    return spec, cells, made


def test_demand_is_trained_end_to_end_and_beats_the_naive_forecasts(trained):
    _, _, made = trained
    assert made.verdict.passed, made.verdict.reason
    assert made.bundle.manifest.model == DEMAND
    assert made.bundle.manifest.false_alarms_per_million is None  # the threshold is that of normal scores
    closed = (FIRST + 3) % 7
    usual = made.bundle.tensors[OCCURRENCE]
    assert usual[closed] < 0.05
    assert (np.delete(usual, closed) > 1).all()


def test_the_season_is_that_of_sales_and_slow_forgetting_suits_what_does_not_change(rng):
    cells, spec = shop(rng, 300, 60), shop_spec()
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    feed.take(0, sales_of(cells))
    feed.finish()
    windows = TrainingWindows(spec, history)
    found = fit_demand(windows, SeasonSearch(7, False, {}), (55, 200), (200, 296))
    assert found[RATES][1] <= 0.05
    assert np.argmin(found[OCCURRENCE]) == (FIRST + 3) % 7


def test_what_is_published_of_counts_is_calibrated_and_adds_up(trained):
    """Nine levels by the randomised PIT of one step ahead, coverage, totals; counts are whole and never negative."""
    spec, cells, made = trained
    state = PartitionState(spec, 0)
    log = sales_of(cells)
    start = int(np.searchsorted(log.timestamps_ms, (FIRST + 400) * DAY_MS))
    for _ in steps(state, log.part(0, start), Predictor(spec, None, device="cpu")):
        pass
    state.swap_model(made.bundle.facts())
    alarms = state.columns.flat("drift")["alarms"].sum()
    total, actual, rungs = 0.0, 0.0, np.zeros(4)
    for _, outcome in steps(state, log.part(start, len(log)), Predictor(spec, made.bundle, device="cpu")):
        said = outcome.forecasts
        assert (said.quantiles == np.round(said.quantiles)).all()
        assert (said.quantiles >= 0).all()
        assert (np.diff(said.quantiles, axis=1) >= 0).all()
        rungs += np.bincount(said.rungs, minlength=4)
        for name, origin, mean in zip(said.series_ids, said.origins.tolist(), said.mean, strict=True):
            target = origin + 1 - FIRST
            if 400 <= target < 700:
                total, actual = total + float(mean[0]), actual + float(cells[target, int(name[1:])])
    assert rungs[Rung.MODEL] > 0.99 * rungs.sum()
    assert total == pytest.approx(actual, rel=0.03)
    columns = state.columns
    counts = columns.flat("pit")[: columns.used].sum(axis=0)
    np.testing.assert_allclose(np.cumsum(counts / counts.sum())[:-1], spec.quantile_levels, atol=0.04)
    divergence, _ = PitHistogram(columns, np.array(spec.quantile_levels)).divergence(np.arange(columns.used))
    assert divergence < 0.02
    covered = columns.flat("coverage")[: columns.used, 0]
    assert covered.mean() == pytest.approx(0.8, abs=0.04)
    # Rare sales are no drift: every one of them is far from a median of zero.
    assert columns.flat("drift")["alarms"].sum() - alarms <= 0.1 * columns.used


def test_whether_it_is_a_model_of_demand_is_decided_step_by_step(trained):
    spec, cells, made = trained
    state, log = PartitionState(spec, 0, made.bundle.facts()), sales_of(cells[:200])
    seen = [observed.windows for observed, _ in steps(state, log, Predictor(spec, made.bundle, device="cpu"))]
    batch = [windows for windows in seen if windows is not None][-1]
    own = Predictor(spec, made.bundle, device="cpu").raw(batch).own
    zeros = (batch.windows[:, :, 0] == 0).mean(axis=1)
    known = np.isfinite(own).all(axis=2)
    assert known[zeros > 0.4].all()
    closed = (batch.origins[:, None] + np.arange(1, spec.horizon + 1) - FIRST) % 7 == 3
    assert known[closed].all()
    assert 0 < (zeros > 0.4).sum() < len(zeros)


def test_totals_follow_when_demand_of_all_series_doubles(trained):
    """The mean of single series lags behind; that of all of them together is known, and corrects it."""
    spec, cells, made = trained
    grown = cells[:470].copy()
    grown[430:] *= 2
    state, log = PartitionState(spec, 0, made.bundle.facts()), sales_of(grown)
    total = dict.fromkeys(range(470), 0.0)
    for _, outcome in steps(state, log, Predictor(spec, made.bundle, device="cpu")):
        for origin, mean in zip(outcome.forecasts.origins.tolist(), outcome.forecasts.mean, strict=True):
            if origin + 1 - FIRST < 470:
                total[origin + 1 - FIRST] += float(mean[0])
    late = range(449, 470)
    ratio = sum(total[day] for day in late) / grown[list(late)].sum()
    assert ratio == pytest.approx(1.0, abs=0.08)
    assert state.cohort.corrections()[0] > 1.0
