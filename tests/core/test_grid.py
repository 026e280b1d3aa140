"""Ticks, days that are local, and the calendar of a tick."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from model_core.grid import DAY_MS, HOUR_MS, Calendar, Grid

BERLIN = Grid(DAY_MS, "Europe/Berlin")


def utc_ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("grid", [Grid(1000), Grid(600_000), Grid(DAY_MS), BERLIN, Grid(DAY_MS, "America/New_York")])
def test_a_tick_holds_exactly_the_moments_from_its_start_to_its_end(grid: Grid, rng: np.random.Generator) -> None:
    ticks = grid.ticks(rng.integers(0, utc_ms(2090, 1, 1), 2000))
    starts, ends = grid.starts_ms(ticks), grid.ends_ms(ticks)
    for moments, expected in ((starts, ticks), (ends - 1, ticks), (ends, ticks + 1), (starts - 1, ticks - 1)):
        kept = expected >= 0
        np.testing.assert_array_equal(grid.ticks(moments)[kept], expected[kept])


def test_local_days_have_23_and_25_hours() -> None:
    for day, hours in ((date(2026, 3, 28), 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)):
        tick = (day - date(1970, 1, 1)).days
        assert BERLIN.start_ms(tick + 1) - BERLIN.start_ms(tick) == hours * HOUR_MS
    assert BERLIN.tick(utc_ms(2026, 3, 28, 23)) == (date(2026, 3, 29) - date(1970, 1, 1)).days


@pytest.mark.parametrize("grid", [Grid(HOUR_MS), BERLIN])
def test_the_watermark_closes_a_tick_at_its_end_and_not_a_millisecond_sooner(grid: Grid) -> None:
    tick = grid.tick(utc_ms(2026, 3, 29, 12))
    end = grid.start_ms(tick + 1)
    assert grid.last_closed_tick(end) == tick
    assert grid.last_closed_tick(end - 1) == tick - 1


def test_a_duration_covers_its_steps_rounded_up() -> None:
    assert [Grid(1000).steps(duration) for duration in (0, 1, 1000, 1001)] == [0, 1, 1, 2]


def test_calendar_features_are_those_of_the_local_start_of_the_tick() -> None:
    hours = Calendar(Grid(HOUR_MS), ("hour_of_day", "day_of_week"))
    row = hours.matrix(np.array([Grid(HOUR_MS).tick(utc_ms(2026, 7, 6, 6))]))[0]  # a Monday, a quarter of the day
    np.testing.assert_allclose(row[:4], [1, 0, 0, -1], atol=1e-6)
    assert row[4:].tolist() == [1, 0, 0, 0, 0, 0, 0]
    days = Calendar(BERLIN, ("day_of_week", "holidays"), frozenset({date(2026, 12, 25)}))
    assert days.width == 8
    row = days.matrix(np.array([BERLIN.tick(utc_ms(2026, 12, 24, 23))]))[0]  # already the 25th there, a Friday
    assert row.tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
    assert Calendar(BERLIN, ()).matrix(np.arange(3)).shape == (3, 0)
