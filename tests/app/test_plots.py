"""The figures are valid for plotly, and show the numbers they were given."""

import json

import numpy as np
import plotly.graph_objects
import pytest

from stream_app.pages.plots import (
    Fan,
    coverage_figure,
    fan_figure,
    horizon_figure,
    interval_figure,
    losses_figure,
    ratio_figure,
    reliability_figure,
    strip_figure,
)

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
STEP_MS = 600_000


def fans(rng, horizon=24):
    sorted_quantiles = np.sort(rng.normal(size=(9, horizon)), axis=0)
    past = np.array([1.0, np.nan, 3.0])
    return [Fan(number * STEP_MS, sorted_quantiles, past, np.full(horizon, 2.0)) for number in range(3)]


def all_figures(rng):
    line = rng.normal(size=5)
    return [
        fan_figure(fans(rng), LEVELS, STEP_MS),
        strip_figure(np.arange(5) * STEP_MS, line, line - 1, line, line + 1, interval=0.8),
        reliability_figure(LEVELS, LEVELS),
        horizon_figure(line, line, line),
        interval_figure(["newest", "earlier"], line[:2], line[:2] - 1, np.array([np.inf, 2.0])),
        ratio_figure(line.tolist()),
        losses_figure([1, 2, 3, 6, 12], {"v1": line, "last_value": line}),
    ]


@pytest.mark.parametrize("number", range(7))
def test_plotly_takes_them_and_so_does_strict_json(number, rng):
    figure = all_figures(rng)[number]
    plotly.graph_objects.Figure(figure)
    json.dumps(figure, allow_nan=False)


def test_a_fan_joins_past_and_what_happened_and_leaves_gaps_where_nothing_was_read(rng):
    (first, *_) = fans(rng)
    figure = fan_figure(fans(rng), LEVELS, STEP_MS)
    actual = figure["data"][-1]
    assert actual["y"] == [1.0, None, 3.0] + [2.0] * 24
    assert actual["x0"] == first.origin_ms - 2 * STEP_MS
    assert [trace["x0"] for trace in figure["data"][:-1]] == [first.origin_ms + STEP_MS] * 9
    assert [frame["name"] for frame in figure["frames"]] == ["0", "1", "2"]


def test_without_forecasts_there_is_an_empty_figure():
    assert fan_figure([], LEVELS, STEP_MS)["data"] == []


def test_every_model_has_its_line_and_the_same_look_in_all_figures(rng):
    names = ["v1", "v2 (champion)", "v3", "v4", "v5", "v6"]
    losses = {name: rng.random(3) for name in (*names, "seasonal_naive", "last_value")}
    drawn = losses_figure([1, 2, 3], losses)["data"]
    covered = coverage_figure([1, 2, 3], {name: losses[name] for name in names}, 0.8)["data"]
    assert [trace["name"] for trace in drawn] == list(losses)
    assert [trace["name"] for trace in covered] == [*names, "80% wanted"]
    look = {trace["name"]: (trace["line"]["color"], trace["line"]["dash"]) for trace in drawn}
    assert len(set(look.values())) == len(losses)
    assert {trace["name"]: (trace["line"]["color"], trace["line"]["dash"]) for trace in covered[:-1]} == {
        name: look[name] for name in names
    }


def test_a_point_of_coverage_is_no_cliff_and_a_cliff_is_whole(rng):
    for shares in (np.full(3, 0.795), np.array([0.55, 0.8, 1.0])):
        figure = coverage_figure([1, 2, 3], {"candidate": shares}, 0.8)
        low, high = figure["layout"]["yaxis"]["range"]
        assert low <= min(shares.min(), 0.7)
        assert high >= max(shares.max(), 0.9)
