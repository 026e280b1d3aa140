"""The demo's own scoring agrees with the definitions, written out once more, forecast by forecast."""

import numpy as np
import pytest

from stream_app.demo.scoring import Happened, Scorer
from stream_app.tables import Table

LEVELS = [0.1, 0.5, 0.9]
STEP, HORIZON, SEASON, SPLIT, TICKS = 60_000, 4, 6, 40, 90


def table_of(values: np.ndarray) -> Table:
    """[S, T] → readings; NaN is no reading."""
    ticks, series = np.nonzero(~np.isnan(values.T))
    names = [f"s{number}" for number in range(len(values))]
    return Table(names, series, 1000 * STEP + ticks * STEP, values[series, ticks])


@pytest.fixture
def world(rng):
    """Two series with holes, and a forecast for each origin from tick 30 on."""
    values = np.cumsum(rng.normal(size=(2, TICKS)), axis=1)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, [0, -1]] = 1.0
    forecasts = np.sort(rng.normal(scale=4, size=(2, TICKS, len(LEVELS), HORIZON)), axis=2).astype(np.float32)
    return values, forecasts


def scored(values, published):
    happened = Happened.of(table_of(values), STEP)
    scorer = Scorer(
        happened,
        levels=LEVELS,
        horizon=HORIZON,
        season=SEASON,
        first_origin=1000 + SPLIT,
        kept_origins=np.array([1000 + 50]),
    )
    for series, origin, revision, quantiles in published:
        scorer.add(series, 1000 + origin, revision, quantiles.tolist())
    return scorer, scorer.finish()


def each_forecast(forecasts):
    return [(series, origin, 0, forecasts[series, origin]) for origin in range(30, TICKS) for series in range(2)]


def test_every_sum_agrees_with_the_definitions(world, monkeypatch):
    monkeypatch.setattr("stream_app.demo.scoring.CHUNK_FORECASTS", 7)
    values, forecasts = world
    scorer, scores = scored(values, each_forecast(forecasts))
    for series in range(2):
        pinball, error, seasonal_error, last_error, covered, below, judged = (0.0, 0.0, 0.0, 0.0, 0, [0, 0, 0], 0)
        for origin in range(SPLIT, TICKS):
            seen = values[series, : origin + 1]
            last = seen[~np.isnan(seen)][-1]
            for step in range(1, HORIZON + 1):
                if origin + step >= TICKS or np.isnan(values[series, origin + step]):
                    continue
                actual, quantiles = values[series, origin + step], forecasts[series, origin, :, step - 1].astype(float)
                pinball += np.mean(
                    [max(q * (actual - x), (q - 1) * (actual - x)) for q, x in zip(LEVELS, quantiles, strict=True)]
                )
                older = [values[series, origin + step - SEASON * back] for back in (1, 2, 3)]
                seasonal = next((value for value in older if not np.isnan(value)), None)
                if seasonal is not None:  # with three holes in a row seasonal naive has no answer, and none is compared
                    seasonal_error += abs(actual - seasonal)
                    last_error += abs(actual - last)
                error += abs(actual - quantiles[1])
                covered += quantiles[0] <= actual <= quantiles[2]
                below = [count + (actual <= x) for count, x in zip(below, quantiles, strict=True)]
                judged += 1
        found = scores[series]
        sums = (found.pinball, found.error, found.seasonal_error, found.last_error, found.covered, found.judged)
        expected = (pinball, error, seasonal_error, last_error, covered, judged)
        assert [each.sum() for each in sums] == pytest.approx(expected)
        assert found.below.tolist() == below
        before = values[series, :SPLIT]
        assert scorer.scales()[series] == pytest.approx(np.nanmean(np.abs(before[SEASON:] - before[:-SEASON])))


def test_a_revision_counts_from_the_targets_that_had_not_settled(world):
    values, forecasts = world
    published = [(0, origin, 0, forecasts[0, origin]) for origin in (50, 51, 52)]
    corrected = forecasts[0, 50] + 1
    _, scores = scored(values, [*published, (0, 50, 1, corrected)])
    mixed = np.concatenate([forecasts[0, 50][:, :2], corrected[:, 2:]], axis=1)  # 51 and 52 had settled
    assert scores[0].kept[0].quantiles.tolist() == mixed.tolist()
    _, expected = scored(values, [(0, 50, 0, mixed), *published[1:]])
    assert scores[0].pinball.tolist() == expected[0].pinball.tolist()


def test_a_forecast_that_arrives_twice_counts_once(world):
    values, forecasts = world
    once = each_forecast(forecasts)
    _, expected = scored(values, once)
    _, scores = scored(values, [each for each in once for _ in range(2)])
    assert scores[0].pinball.tolist() == expected[0].pinball.tolist()


def test_of_several_readings_the_first_is_what_happened():
    table = Table(["a"], np.zeros(3, int), np.array([0, 10, 60_000]), np.array([1.0, 2.0, 3.0]))
    assert Happened.of(table, STEP).values.tolist() == [[1.0, 3.0]]
