"""Running scores are what their definitions say, and nothing that float32 cannot hold counts as an error."""

from typing import Any

import numpy as np
import pytest

from model_core.spec import StreamSpec
from tests.core.oracle import Reading
from tests.core.partition_run import Run, Said
from tests.core.waves import Waves

HOUR, START = 3_600_000, 480_000


def told(values: list[float | None], **settings: Any) -> Said:
    """One value an hour (None: nothing), each forecast at once."""
    small = {"context_length": 6, "horizon": 2, "seasonality": ("3h",), "max_out_of_orderness": 0, "min_readings": 1}
    small |= {"accuracy": "records"} | ({} if settings.get("aggregate") else {"readings_per_step": 1})
    stream = StreamSpec(**({"topic": "t", "freq": "1h"} | small | settings))
    log = [Reading(i, "a", (START + i) * HOUR, value) for i, value in enumerate(values) if value is not None]
    return Run(stream).log(log, list(range(0, len(log), 50))).said


def test_a_running_mean_averages_first_and_forgets_later() -> None:
    waves = Waves(seasonality=("4h",))
    mean = waves.columns.flat("season_state")[:1]
    for tick, change in enumerate([2.0, 4.0, np.nan, 9.0]):
        waves.settle([0], tick, 1.0, change)
    assert (mean["change"][0], mean["updates"][0]) == (pytest.approx(5.0), 3)
    mean["updates"] = 1000
    waves.settle([0], 4, 1.0, 15.0)
    assert mean["change"][0] == pytest.approx(5.0 + (1 - 0.5 ** (1 / 4)) * 10.0)


@pytest.mark.parametrize(
    ("value", "inside"), [(3.0, [True] * 4), (0.5, [True, False, False, False]), (9.0, [False] * 4)]
)
def test_an_interval_covers_what_lies_between_its_ends_and_on_them(value: float, inside: list[bool]) -> None:
    waves = Waves(horizon=1, accuracy="records")
    waves.enter([0], 1001, np.broadcast_to(np.arange(9.0), (1, 1, 3, 9)))
    scored = waves.settle([0], 1001, value).scored
    assert scored is not None
    assert scored.covered.tolist() == [[inside]]
    assert scored.coverage.tolist() == [inside]


def test_mase_is_the_error_in_units_of_the_season_s_change() -> None:
    # A ramp: the last value misses by one at h = 1 and two at h = 2, the season of three changes by three.
    said = told([float(i) for i in range(400)], calibration_rate=1e-9)
    assert said.records["a"][-1]["mase"] == pytest.approx(1.5 / 3)
    assert said.records["a"][-1]["skill"] == pytest.approx(0.0, abs=1e-6)  # it is one of both naive forecasts itself


def test_a_record_comes_when_its_last_scored_target_has_settled_missing_or_not() -> None:
    said = told([1.0, 2.0, None, 4.0, 5.0])
    kept = {int(record["origins"]) - START: record["actual"].tolist() for record in said.records["a"]}
    assert {origin: [None if np.isnan(x) else x for x in actual] for origin, actual in kept.items()} == {
        0: [2.0, None],
        1: [None, 4.0],
        2: [4.0, 5.0],
    }


def test_a_constant_that_float32_cannot_hold_is_covered_and_no_drift() -> None:
    said = told([21.3] * 300)
    assert not said.alarms
    last = said.records["a"][-1]
    assert last["covered"].all()
    assert last["error"].tolist() == [0.0, 0.0]
    assert last["actual"].tolist() == [21.3, 21.3]
    assert np.isnan(last["mase"])  # there is no scale to measure by


def test_counts_are_whole_numbers_and_dust_rounds_nothing_up(rng: np.random.Generator) -> None:
    values = [float(v) for v in rng.integers(0, 3, 300)]
    log = [
        Reading(i, "a", (START + tick) * HOUR + j, 1.0)
        for i, (tick, j) in enumerate((tick, j) for tick, value in enumerate(values) for j in range(int(value)))
    ]
    stream = StreamSpec(topic="t", freq="1h", aggregate="count", context_length=6, horizon=2, max_out_of_orderness=0)
    said = Run(stream).log(log, [0]).said
    for made in said.forecasts["a"]:
        assert (made["quantiles"] == np.round(made["quantiles"])).all()
        assert not np.signbit(made["quantiles"]).any()
    constant = told([None, *[4.0] * 100], aggregate="count")
    assert (constant.forecasts["a"][-1]["quantiles"] == 1.0).all()


def test_one_quantile_level_has_no_interval_and_is_scored_all_the_same() -> None:
    said = told([float(i % 4) for i in range(60)], quantile_levels=(0.5,))
    assert said.records["a"][-1]["coverage"].shape == (0,)
    assert said.records["a"][-1]["pinball"].tolist() != [0.0, 0.0]


def test_a_summary_comes_once_a_season() -> None:
    said = told([float(i % 4) for i in range(30)], accuracy="summary")
    assert not said.records
    ticks = [int(summary["ticks"]) for summary in said.summaries["a"]]
    assert ticks == [tick for tick in range(START, START + 30) if tick % 3 == 0][-len(ticks) :]
    assert len(ticks) >= 9
