"""The level of a series against its slow reference: alarms where a plain program says, at a rate that was learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model_core.drift import level_limits
from model_core.drift.level import SEASONS_MIN
from model_core.outcomes import DriftRecord
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from tests.core.test_training import FIRST_TICK, make_history
from tests.core.waves import Waves

SEASON = 6
KEEP = 0.5 ** (1 / 21)


def oracle(values: list[float], season: int, threshold: float) -> list[int]:
    """Ticks of the alarms of one series whose first value is of tick 0, float by float."""
    found: list[int] = []
    reference = square = up = down = 0.0
    seen = 0
    for first in range(0, len(values), season):
        cells = [value for value in values[first : first + season] if not math.isnan(value)]
        told_at = first + season  # the first cell of the next season says that this one is over
        if 2 * len(cells) < season or told_at >= len(values):
            continue
        off = sum(cells) / len(cells) - reference
        unit, learns = math.sqrt(square), True
        winsorised = off
        if seen >= 14:
            learns = max(up, down) <= threshold / 2
            z = max(-4.0, min(4.0, off / unit)) if unit else 0.0
            up, down = max(0.0, up + z - 2.0), max(0.0, down - z - 2.0)
            winsorised = max(-4 * unit, min(4 * unit, off))
        alarm = seen >= 14 and max(up, down) > threshold
        if learns:
            if seen:
                square += max(1 - KEEP, 1 / seen) * (winsorised**2 - square)
            reference += max(1 - KEEP, 1 / (seen + 1)) * winsorised
            seen += 1
        if alarm:
            found.append(told_at)
            up = down = 0.0
            seen = 0
    return found


class Levels(Waves):
    """Series of which only cells come, tick by tick; the watermark closes each before the next."""

    def __init__(self, series: int, threshold: float, season: int = SEASON) -> None:
        super().__init__(series, facts={"level_threshold": threshold, "season": season}, seasonality=(f"{season}h",))
        self.said: list[DriftRecord] = []
        self.tick = 0

    def see(self, values: np.ndarray) -> Levels:
        """float64 [ticks, series]."""
        for row in values:
            self.closed = self.tick
            self.said += self.settle(range(len(row)), self.tick, row).drift
            self.tick += 1
        self.closed = self.tick
        self.said += self.settle([], [], []).drift
        return self

    def alarms(self, column: int = 0) -> list[int]:
        of = [record for record in self.said if record.series_id == f"s{column}"]
        assert {(record.detector, record.state) for record in of} <= {("level", "drift")}
        return [record.since for record in of]


def wandering(rng: np.random.Generator, seasons: int, series: int, season: int = SEASON) -> np.ndarray:
    """A shape of the day, neighbours that resemble each other, and a level that is not quite still."""
    ticks = seasons * season
    noise = np.zeros((ticks, series))
    for tick in range(1, ticks):
        noise[tick] = 0.8 * noise[tick - 1] + rng.standard_t(4, series)
    slow = np.repeat(rng.normal(0, 0.3, (seasons, series)).cumsum(axis=0), season, axis=0)
    return 50 + 8 * np.sin(2 * np.pi * np.arange(ticks) / season)[:, None] + noise + slow


@pytest.mark.parametrize("number", range(8))
def test_levels_alarm_where_the_plain_program_does(number: int, rng: np.random.Generator) -> None:
    values = wandering(rng, 90, 4)
    values[40 * SEASON + number :, 1] += 60.0
    values[60 * SEASON + number :, 2] -= 40.0
    values[rng.random(values.shape) < [0.0, 0.3][number % 2]] = np.nan
    values[50 * SEASON : 53 * SEASON, 3] = np.nan  # three seasons of silence
    threshold = [2.0, 4.0][number // 4]
    series = Levels(4, threshold).see(values)
    expected = [oracle(values[:, column].tolist(), SEASON, threshold) for column in range(4)]
    assert sum(map(len, expected)) >= 2, "streams without an alarm show nothing"
    assert [series.alarms(column) for column in range(4)] == expected


def test_the_run_over_a_history_alarms_where_the_worker_does(rng: np.random.Generator) -> None:
    values = wandering(rng, 120, 5).astype(np.float32).astype(np.float64)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[70 * SEASON :, :3] += 40.0
    thresholds = np.array([2.0, 5.0])
    means = level_limits.season_means(values, 0, SEASON)
    found = level_limits.run_level(means, np.zeros(5), thresholds)
    for place, threshold in enumerate(thresholds.tolist()):
        for column in range(5):
            told_at = ((np.flatnonzero(found[place, :, column]) + 1) * SEASON).tolist()
            assert told_at == oracle(values[:, column].tolist(), SEASON, threshold)
    assert found.any()


def test_a_level_that_moves_and_stays_is_told_and_one_day_apart_is_not(rng: np.random.Generator) -> None:
    values = 20 + rng.normal(0, 1, (60 * SEASON, 2))
    values[30 * SEASON :, 0] += 4.0
    values[30 * SEASON : 31 * SEASON, 1] += 1e6
    series = Levels(2, 3.5).see(values)
    assert series.alarms(0) == [32 * SEASON]  # the second season is over
    assert series.alarms(1) == []


def test_it_judges_when_its_reference_is_known_and_after_an_alarm_learns_it_anew(rng: np.random.Generator) -> None:
    values = 20 + rng.normal(0, 1, (80 * SEASON, 1))
    values[(SEASONS_MIN - 2) * SEASON :] += 5.0  # too early to be seen
    values[50 * SEASON :] += 40.0  # beyond four units, also of what the early step left
    values[(52 + SEASONS_MIN) * SEASON :] -= 40.0
    series = Levels(1, 3.5).see(values)
    assert series.alarms() == [52 * SEASON, (52 + SEASONS_MIN + 2) * SEASON]


def test_without_a_threshold_it_learns_and_says_nothing(rng: np.random.Generator) -> None:
    values = 20 + rng.normal(0, 1, (40 * SEASON, 1))
    values[30 * SEASON :] += 50.0
    series = Levels(1, math.inf).see(values)
    assert series.alarms() == []
    assert series.columns.flat("level")["seasons"][0] == 39


def test_an_alarm_says_how_much_and_lets_both_cusums_rest() -> None:
    values = 20 + np.sin(np.arange(32.0 * SEASON + 1))[:, None]  # no season is far off by chance
    values[30 * SEASON :] += 9.0
    series = Levels(1, 3.5)
    series.columns.flat("drift")["cusum"][0] = 1.0, 2.0
    (told,) = [record for record in series.see(values).said if record.series_id]
    assert told.threshold == 3.5
    assert told.statistic >= 4.0  # twice a winsor, less the slack
    drift = series.columns.flat("drift")[0]
    assert (drift["cusum"] == 0).all()
    assert drift["rest"] == 33 * SEASON
    assert drift["alarms"] == 1


def test_another_season_begins_anew(rng: np.random.Generator) -> None:
    series = Levels(1, math.inf).see(20 + rng.normal(0, 1, (30 * SEASON, 1)))
    series.settlement.swap(series.facts)
    assert series.columns.flat("level")["seasons"][0] == 29
    facts: Any = type(series.facts)(**(vars(series.facts) | {"season": 4}))
    series.settlement.swap(facts)
    assert series.columns.flat("level")["seasons"][0] == 0


# --- thresholds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [10.0, 60.0])
def test_the_threshold_keeps_the_rate_on_what_comes_after(rate: float, rng: np.random.Generator) -> None:
    """Of levels that resemble their neighbours (.6 a season), learned on one part and counted on the next."""
    seasons, series, season = 3000, 40, 4
    levels = np.zeros((2 * seasons, series))
    for row in range(1, len(levels)):
        levels[row] = 0.6 * levels[row - 1] + rng.normal(size=series)
    values = np.repeat(levels, season, axis=0) + rng.normal(0, 0.5, (len(levels) * season, series))
    spec = StreamSpec(topic="t", freq="1h", seasonality=(f"{season}h",))
    windows = TrainingWindows(spec, make_history(values[: seasons * season]))
    learned = level_limits.learn_level(windows, season, rate)
    assert learned is not None
    means = level_limits.season_means(values[seasons * season :], FIRST_TICK, season)
    alarms = int(level_limits.run_level(means, np.zeros(series), np.array([learned[0]])).sum())
    wanted = rate * means.size * season / 1e6
    assert alarms <= 3 * wanted + 2
    assert alarms >= wanted / 3 - 2


def test_too_few_seasons_are_no_threshold(rng: np.random.Generator) -> None:
    spec = StreamSpec(topic="t", freq="1h")
    windows = TrainingWindows(spec, make_history(rng.normal(size=(24 * 100, 4))))
    assert level_limits.learn_level(windows, 24, 100.0) is None


def test_what_is_rarer_than_what_was_seen_is_extrapolated() -> None:
    """Alarms that halve with each unit of h: 4 at h = 10, so one in sixteen as many lies four units further out."""
    alarms = (4 * 2.0 ** (10 - level_limits.THRESHOLDS)).astype(np.int64)
    h, rate = level_limits.threshold_for(alarms, 10**6, 0.25)
    assert h == pytest.approx(14, abs=1.0)
    assert rate == 0.25
