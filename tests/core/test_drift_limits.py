"""Thresholds of the detectors: errors are held against what has not learned from them, and few alarms are doubted."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from model_core.drift import limits
from model_core.drift.level_limits import doubt
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.residuals import Run, learn_tables
from tests.core.test_training import HORIZON, make_history, make_spec

STUDENT_80 = {1: 1.376, 3: 0.978, 9: 0.883}  # one-sided 80 % points, of any table


def plain_quantile(cells: list[float], level: float) -> float:
    """Linear between the order statistics."""
    cells = sorted(cells)
    at = level * (len(cells) - 1)
    low = math.floor(at)
    return cells[low] + (at - low) * (cells[min(low + 1, len(cells) - 1)] - cells[low])


def heavy_run(rng: np.random.Generator, origins: int, series: int) -> Run:
    residuals = rng.standard_t(3, size=(origins, series, 3, HORIZON)) + rng.normal(0, 1, (series, 1, 1))
    residuals[rng.random(residuals.shape) < 0.05] = np.nan
    units = np.exp(rng.normal(0, 0.1, (origins, series, 3)))
    return Run(np.arange(series), np.zeros((origins, series, HORIZON)), residuals, units)


def test_each_part_of_a_run_is_held_against_the_others(rng: np.random.Generator) -> None:
    spec, names = make_spec(), ["a", "b", "c"]
    long, short = heavy_run(rng, 1000, 2), heavy_run(rng, 1000, 1)
    short.residuals[400:] = np.nan  # a series that is too short for a table of its own: all series count
    done = Run(
        np.arange(3),
        np.zeros((1000, 3, HORIZON)),
        np.concatenate([long.residuals, short.residuals], axis=1),
        np.concatenate([long.units, short.units], axis=1),
    )
    tables = learn_tables(done, spec, names)
    assert tables.series == ("a", "b")
    near, far = limits.one_step(done, tables, spec, 24, names), limits.ahead(done, tables, spec, 24, names)
    assert far is not None
    low, high = spec.quantile_levels[0], spec.quantile_levels[-1]
    scaled = done.residuals[:, :, 0] / done.units[:, :, 0, None]
    for first, last in pairwise([0, 250, 500, 750, 1000]):
        rows = [row for row in range(1000) if row < first - HORIZON or row >= last + HORIZON]
        for column in range(3):
            columns = [column] if column < 2 else [0, 1, 2]
            for step, found in ((0, near), (-1, far)):
                cells = [float(scaled[row, each, step]) for row in rows for each in columns]
                cells = [cell for cell in cells if not math.isnan(cell)]
                median, unit = plain_quantile(cells, 0.5), done.units[:, column, 0]
                width = (plain_quantile(cells, high) - plain_quantile(cells, low)) / 2.5631
                if step == 0:
                    expected = scaled[first:last, column, 0] - median
                    np.testing.assert_allclose(found.z[first:last, column], expected, rtol=1e-6, atol=1e-9)
                    continue
                looks = np.arange(-(-first // HORIZON), -(-last // HORIZON))
                rows_at = looks * HORIZON
                later = unit[np.minimum(rows_at + HORIZON, 999)]
                expected = (done.residuals[rows_at, column, 0, -1] - unit[rows_at] * median) / (later * width)
                np.testing.assert_allclose(found.z[looks, column], expected, rtol=1e-4, atol=1e-6)


def test_a_run_without_any_error_has_nothing_to_hold_against() -> None:
    empty = Run(np.arange(2), np.zeros((8, 2, HORIZON)), np.full((8, 2, 3, HORIZON), np.nan), np.ones((8, 2, 3)))
    spec = make_spec()
    near = limits.one_step(empty, learn_tables(empty, spec, ["a", "b"]), spec, 24, ["a", "b"])
    assert np.isnan(near.z).all()


def test_what_levels_do_not_use_of_the_rate_the_cusums_get(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, names = make_spec(), ["a", "b"]
    done = heavy_run(rng, 2000, 2)
    windows = TrainingWindows(spec, make_history(rng.normal(size=(2000, 2)), names))
    near = []
    for used in (0.0, 1990.0):
        monkeypatch.setattr(limits, "learn_level", lambda *_, used=used: (5.0, used))
        learned = limits.learn_limits(done, learn_tables(done, spec, names), spec, 24, windows, 2000.0, seed=1)
        assert learned is not None
        assert learned.alarms_per_million <= 2000.0
        near.append(learned.near)
    assert near[0] < near[1]


# --- doubt ------------------------------------------------------------------------------------------------------------


def said(*seasons: int, of: int) -> np.ndarray:
    alarms = np.zeros((of, 3), np.bool_)
    alarms[list(seasons), 1] = True
    return alarms


def test_of_one_alarm_or_none_as_much_again_is_possible() -> None:
    for blocks in (4, 10):
        expected = 1 + STUDENT_80[blocks - 1]
        assert doubt(said(30, of=21 * blocks)) == pytest.approx(expected, abs=2e-3)
        assert doubt(said(of=21 * blocks)) == pytest.approx(expected, abs=2e-3)


def test_alarms_that_come_evenly_are_believed_and_those_of_a_few_weeks_are_not() -> None:
    evenly = said(*range(10, 210, 21), of=210)
    assert doubt(evenly) == 1.0
    at_once = said(*range(42, 52), of=210)  # as many
    assert doubt(at_once) == pytest.approx(1 + STUDENT_80[9], abs=2e-3)


def test_a_short_history_is_doubted_more_than_a_long_one_alike() -> None:
    short = said(3, 30, of=42)
    assert doubt(np.concatenate([said(3, 4, of=42)] * 5)) < doubt(said(3, 4, of=42))
    assert doubt(short) == 1.0  # one in each of its two blocks
    assert doubt(said(of=3)) == pytest.approx(1 + STUDENT_80[1], abs=2e-3)


def test_levels_of_a_short_history_get_a_higher_threshold(rng: np.random.Generator) -> None:
    """The same levels once, and eight times over: as many alarms a season, but they are known better."""
    spec = StreamSpec(topic="t", freq="1h", seasonality=("4h",))
    levels = rng.standard_t(3, size=(60, 64)).repeat(4, axis=0)
    learned = []
    for values in (levels, np.concatenate([levels] * 8)):
        found = limits.learn_level(TrainingWindows(spec, make_history(values)), 4, 1000.0)
        assert found is not None
        learned.append(found[0])
    assert learned[0] >= learned[1]
