"""Shops that are closed at night: what is said of a busy hour must be true of busy hours, not on average of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from model_core.backtest import steps
from model_core.bundle import Bundle
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory
from model_core.training.train import Trained, train

HOUR_MS, FIRST, DAY = 3_600_000, 480_000, 24
OPENS, CLOSES = 6, 22
DAYS, LEARNED = 60, 42
SHOPS = 8


@dataclass(frozen=True)
class Town:
    spec: StreamSpec
    cells: np.ndarray  # [hours, shops]
    made: Trained


def sales(rng: np.random.Generator, *, whole: bool) -> np.ndarray:
    """[hours, shops]: Poisson or more scattered by day, most at noon; nothing at night. Amounts, or how many."""
    hours = np.arange(DAYS * DAY)
    open_for = hours % DAY - OPENS + 0.5
    length = CLOSES - OPENS
    course = np.where((open_for > 0) & (open_for < length), 0.3 + np.sin(np.pi * open_for / length), 0.0)
    mean = course[:, None] * rng.uniform(4, 20, SHOPS) * rng.gamma(16, 1 / 16, (DAYS, SHOPS)).repeat(DAY, axis=0)
    scattered = rng.negative_binomial(4, 4 / (4 + np.maximum(mean, 1e-9)))
    count = np.where(np.arange(SHOPS) % 2, scattered, rng.poisson(mean))
    return count.astype(float) if whole else np.round(count * rng.gamma(9, 1 / 3, count.shape), 2)


@pytest.fixture(scope="module", params=["sum", "count"])
def town(request: pytest.FixtureRequest) -> Town:
    return trained_on(np.random.default_rng(11), request.param)


def trained_on(rng: np.random.Generator, aggregate: str) -> Town:
    cells = sales(rng, whole=aggregate == "count")
    spec = StreamSpec(
        topic="t", freq="1h", aggregate=aggregate, context_length=72, horizon=12, calendar=(), dormant_after=96
    )
    history, known = CellHistory(), cells[: LEARNED * DAY]
    columns = history.columns_of([f"s{shop}" for shop in range(SHOPS)])
    history.put(np.tile(columns, len(known)), np.repeat(np.arange(len(known)) + FIRST, SHOPS), known.reshape(-1))
    return Town(spec, cells, train(history, spec, version="v1", created_at="", device="cpu"))


def readings(town: Town, first: int) -> Readings:
    """What was sold from row `first` on, as a log: one reading of a sum, one for each of a count."""
    hour, shop = np.nonzero(town.cells[first:])
    values = town.cells[first:][hour, shop]
    if town.spec.aggregate == "count":
        times = values.astype(np.int64)
        hour, shop, values = np.repeat(hour, times), np.repeat(shop, times), np.ones(int(times.sum()))
    stamps = (FIRST + first + hour) * HOUR_MS + 1000
    return Readings([f"s{each}" for each in shop.tolist()], stamps, values, np.arange(len(values)))


def test_the_gate_asks_where_a_zero_stands_as_the_worker_does(town: Town) -> None:
    """A zero below all quantiles, held at zero, counted as missed: a third of all hours."""
    coverage = next(check for check in town.made.verdict.checks if check.name == "coverage")
    assert coverage.passed, coverage.said
    assert 0.72 <= town.made.verdict.coverage <= 0.88


def test_intervals_are_true_of_busy_hours_by_themselves(town: Town) -> None:
    shares = covered_by_hour(town, town.made.bundle)
    assert shares[[0, 1, 2, 3, 23]].min() == 1.0  # nothing is sold, and nothing is said to be
    noon = shares[12:16].mean()
    assert 0.72 <= noon <= 0.93
    assert 0.72 <= shares[OPENS + 2 : CLOSES - 2].mean() <= 0.93  # of counts both ends belong to it


def covered_by_hour(town: Town, bundle: Bundle) -> np.ndarray:
    """float64 [24]: share of sales within the widest interval, a whole horizon ahead, as a worker served them."""
    start = (LEARNED - 5) * DAY
    log = readings(town, start)
    before = int(np.searchsorted(log.timestamps_ms, (FIRST + LEARNED * DAY) * HOUR_MS))
    state = PartitionState(town.spec, 0)
    for _ in steps(state, log.part(0, before), Predictor(town.spec, None, device="cpu")):
        pass
    state.swap_model(bundle.facts())
    inside, counted = np.zeros(DAY), np.zeros(DAY)
    for _, outcome in steps(state, log.part(before, len(log)), Predictor(town.spec, bundle, device="cpu")):
        said, h = outcome.forecasts, town.spec.horizon
        target = said.origins + h - FIRST
        there = target < len(town.cells)
        shop = np.array([int(name[1:]) for name in said.series_ids], np.int64)
        actual = town.cells[target[there], shop[there]]
        low, high = said.quantiles[there, 0, h - 1], said.quantiles[there, -1, h - 1]
        np.add.at(inside, target[there] % DAY, (low <= actual) & (actual <= high))
        np.add.at(counted, target[there] % DAY, 1.0)
    return inside / counted
