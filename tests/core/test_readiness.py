"""When a cell is ready, what is too late, and what a correction, a gap or a silence does. Hours of a small stream."""

from typing import Any

import pytest

from model_core.spec import StreamSpec
from tests.core.oracle import Idle, Reading, Tombstone
from tests.core.partition_run import Entry, Run, Said

HOUR, START = 3_600_000, 480_000  # START in hours since 1970


def spec(**settings: Any) -> StreamSpec:
    small = {"context_length": 6, "horizon": 2, "min_readings": 1, "seasonality": ("3h",), "max_out_of_orderness": 0}
    return StreamSpec(**({"topic": "t", "freq": "1h"} | small | settings))


def at(hours: float, name: str = "a", value: float = 1.0) -> tuple[str, int, float]:
    return name, int((START + hours) * HOUR), value


def told(stream: StreamSpec, *events: Any, polls: int | None = None, windows_max: int = 8192) -> Said:
    """What a log of these events leads to; offsets count them."""
    log: list[Entry] = [
        Reading(offset, *event) if isinstance(event, tuple) else event for offset, event in enumerate(events)
    ]
    cuts = list(range(0, len(log), polls or len(log)))
    return Run(stream).log(log, cuts, windows_max=windows_max).said


def cells(said: Said, name: str = "a") -> list[tuple[int, float | None, int]]:
    return [(tick - START, value, offset) for tick, value, offset in said.settled[name]]


def forecasts(said: Said, name: str = "a") -> list[tuple[int, int, int]]:
    """(origin, revision, cause)"""
    return [(made["origin"] - START, made["revision"], made["offset"]) for made in said.forecasts[name]]


def test_a_cell_is_ready_when_the_watermark_reaches_its_end_and_not_a_millisecond_sooner() -> None:
    stream = spec(max_out_of_orderness="30min")
    almost = ("a", int((START + 1.5) * HOUR) - 1, 2.0)
    assert cells(told(stream, at(0), almost)) == []
    assert cells(told(stream, at(0), almost, at(1.5))) == [(0, 1.0, 2)]


def test_missing_ticks_close_before_the_reading_that_moved_the_watermark_settles() -> None:
    said = told(spec(readings_per_step=1), at(0), at(3, value=7.0))
    assert cells(said) == [(0, 1.0, 0), (1, None, 1), (2, None, 1), (3, 7.0, 1)]
    assert forecasts(said) == [(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 0, 1)]


def test_a_complete_cell_is_forecast_by_the_reading_that_completes_it() -> None:
    assert forecasts(told(spec(readings_per_step=2), at(0), at(0.1), at(1))) == [(0, 0, 1)]


def test_a_complete_cell_waits_for_the_ticks_before_it() -> None:
    stream = spec(readings_per_step=1, max_out_of_orderness="1h")
    said = told(stream, at(0), at(2), at(1))
    assert cells(said) == [(0, 1.0, 1), (1, 1.0, 2), (2, 1.0, 2)]


def test_the_watermark_closes_for_every_series_of_the_partition() -> None:
    said = told(spec(), at(0), at(0, "b"), at(1, "b"), at(2, "b"))
    assert cells(said) == [(0, 1.0, 2), (1, None, 3)]


def test_too_late_is_judged_by_the_watermark_before_the_reading() -> None:
    stream = spec(allowed_lateness="1h")
    just = ("b", (START + 2) * HOUR - 1, 1.0)
    assert told(stream, at(0), just, at(0.5)).rejected == []
    assert told(stream, at(0), at(2, "b"), at(0.5)).rejected == [(*at(0.5)[:2], "too_late")]


def test_a_new_series_may_begin_behind_the_watermark() -> None:
    said = told(spec(allowed_lateness="5h"), at(0, "b"), at(3, "b"), at(1, value=4.0))
    assert cells(said) == [(1, 4.0, 2), (2, None, 2)]


def test_a_correction_issues_the_newest_forecast_again_and_again() -> None:
    stream = spec(allowed_lateness="5h", readings_per_step=1)
    said = told(stream, at(0), at(1), at(2), at(1.2, value=3.0), at(1.3, value=5.0))
    assert forecasts(said) == [(0, 0, 0), (1, 0, 1), (2, 0, 2), (2, 1, 3), (2, 2, 4)]
    assert said.forecasts["a"][-1]["windows"][:, 0].tolist()[3:] == [1.0, 3.0, 1.0]
    assert cells(said)[1] == (1, 1.0, 1)


def test_a_correction_keeps_scaler_and_scores_at_the_first_settled_value() -> None:
    stream = spec(allowed_lateness="5h", readings_per_step=1, accuracy="records", horizon=1)
    events = [at(hour, value=float(hour)) for hour in range(4)]
    plain, corrected = told(stream, *events), told(stream, *events[:3], at(2.5, value=100.0), events[3])
    assert corrected.records["a"][1]["actual"] == plain.records["a"][1]["actual"] == [2.0]
    assert corrected.forecasts["a"][-1]["center"] == plain.forecasts["a"][-1]["center"]
    assert corrected.forecasts["a"][-1]["windows"][4, 0] == 51.0
    # The target after it is scored against the revision, the last issue before it settled.
    assert corrected.records["a"][2]["error"] == pytest.approx(3.0 - 51.0, abs=0.1)


def test_who_is_silent_gets_no_forecasts_until_it_speaks_again() -> None:
    stream = spec(dormant_after=2)
    events = [at(0), *(at(hour, "b") for hour in range(8)), at(8), at(9, "b")]
    assert [origin for origin, _, _ in forecasts(told(stream, *events))] == [0, 1, 2, 8]


def test_who_only_ever_comes_late_is_not_silent() -> None:
    stream = spec(dormant_after=2, allowed_lateness="9h")
    events = [at(0, "b"), at(0)]
    for hour in range(1, 9):
        events += [at(hour, "b"), at(hour - 1.5, value=2.0)]
    fresh = {origin for origin, revision, _ in forecasts(told(stream, *events)) if revision == 0}
    assert fresh == set(range(8))


@pytest.mark.parametrize("windows_max", [1, 8192])
def test_after_a_long_gap_only_its_beginning_is_emitted(windows_max: int) -> None:
    stream = spec(dormant_after=3, readings_per_step=1)
    said = told(stream, at(0), at(20, value=2.0), windows_max=windows_max)
    assert [tick for tick, _, _ in cells(said)] == [*range(3 + stream.open_ticks), 20]
    assert [origin for origin, _, _ in forecasts(said)] == [0, 1, 2, 3, 20]


def test_a_late_reading_still_joins_its_cell_after_a_skipped_gap() -> None:
    stream = spec(dormant_after=1, allowed_lateness="2d", aggregate="sum")
    said = told(stream, at(0, value=3.0), at(20), at(21), at(0.5, value=4.0))
    assert said.counts["corrected"] == 1
    assert forecasts(said)[-1][1] == 0  # out of the window of the newest forecast: nothing to issue again
    near = told(stream, at(0, value=3.0), at(6), at(7), at(0.5, value=4.0), at(6.5, value=1.0))
    assert near.forecasts["a"][-1]["windows"][-1, 0] == 2.0


def test_last_is_the_greatest_timestamp_and_of_equal_ones_the_last_in_the_log() -> None:
    stream = spec(aggregate="last", max_out_of_orderness="1h")
    said = told(stream, at(0.5, value=5.0), at(0.2, value=2.0), at(0.5, value=6.0), at(2))
    assert cells(said)[0][1] == 6.0


def test_demand_without_readings_is_an_observed_zero_and_never_dormant() -> None:
    said = told(spec(aggregate="sum", dormant_after=2), at(0, value=3.0), *(at(hour, "b") for hour in range(1, 9)))
    assert [value for _, value, _ in cells(said)] == [3.0] + [0.0] * 7
    assert len(forecasts(said)) == 8


def test_an_idle_close_goes_through_the_newest_tick_and_never_beyond() -> None:
    stream = spec(idle_timeout="1s", max_out_of_orderness="2h")
    said = told(stream, at(0), at(1.2), Idle(), at(1.5, value=3.0), at(2))
    assert cells(said) == [(0, 1.0, -1), (1, 1.0, -1)]
    assert said.counts["corrected"] == 1  # the watermark has not moved: the cell is settled, not late
    assert forecasts(said)[-1] == (1, 1, 3)


def test_a_deleted_series_starts_anew() -> None:
    stream = spec(readings_per_step=1, min_readings=2)
    said = told(stream, at(0), at(1), Tombstone(2, "a"), at(2), at(3))
    assert said.deleted == [(2, "a")]
    assert [origin for origin, _, _ in forecasts(said)] == [1, 3]
    assert said.forecasts["a"][-1]["readings"] == 2


@pytest.mark.parametrize("polls", [1, 7, 1000])
def test_a_series_silent_for_forget_after_is_forgotten_in_any_polls(polls: int) -> None:
    stream = spec(forget_after="4h", dormant_after=2, readings_per_step=1)
    first = 512 - START % 256  # the hour before which silent series are looked for is a multiple of 256
    events = [at(first - 10), *(at(first - 10 + hour, "b") for hour in range(14)), at(first + 4), at(first + 4, "b")]
    said = told(stream, *events, polls=polls)
    assert said.forecasts["a"][-1]["readings"] == 1
    assert said.forecasts["b"][-1]["readings"] == 15
    assert forecasts(said)[-1] == (first + 4, 0, 15)


def test_a_series_that_is_not_even_dormant_is_not_forgotten() -> None:
    daily = {"freq": "1d", "seasonality": (), "context_length": 100}
    assert spec(**daily).forget_ticks == 100
    assert spec(**daily | {"forget_after": "10d"}).forget_ticks == 10
    assert spec(**daily | {"freq": "1h"}).forget_ticks == 30 * 24


def test_an_entity_sees_its_covariates_as_of_the_reading_that_caused_the_forecast() -> None:
    stream = spec(past_covariates=("rain",), future_covariates=("price",), readings_per_step=1)
    events = [at(2, "r.price", 9.0), at(0, "r.flow"), at(0, "r.rain", 7.0), at(1, "r.rain", 8.0), at(1, "r.flow", 2.0)]
    first, second = told(stream, *events).forecasts["r.flow"]
    assert first["windows"][-1].tolist()[0] == 1.0
    assert str(first["windows"][-1, 1]) == "nan"  # the rain of that hour came after
    assert second["windows"][-2:, 1].tolist() == [7.0, 8.0]
    assert second["known"][:, 0].tolist()[0] == 9.0
