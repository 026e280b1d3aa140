"""The measuring itself: what a benchmark says is due is due, and outputs that are not right give no figure."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.counting import _due_forecasts, _expect, _keys
from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import Drained
from benchmarks.latency import _Schedule
from benchmarks.shadow import row_of
from benchmarks.stage import Stage
from benchmarks.worker_process import FigureFailed
from benchmarks.workload import STEP_S, Shape, Workload

SHAPES: tuple[Shape, ...] = ("single", "packed", "lagging", "staggered")


def readings(workload: Workload) -> list[tuple[str, int]]:
    """(series, tick) of each reading, as its message says it."""
    found = []
    for messages in workload.rounds():
        for message in messages:
            value: dict[str, Any] = json.loads(message["value"])
            names = value["values"] if "values" in value else [value["series_id"]]
            found += [(name, value["timestamp"] // STEP_S) for name in names]
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_due_is_what_the_messages_make_due(shape: Shape) -> None:
    workload = Workload("w", 200, 60, shape)
    deployment = Deployment(cast(Stage, None), "d", workload, "at_least_once", Shapes(forecast_every=5, min_readings=4))
    expected, seen = [], dict.fromkeys(workload.names, 0)
    messages = readings(workload)
    for name, tick in messages:
        seen[name] += 1
        if seen[name] >= 4 and tick % 5 == 0:
            expected.append((name, str(np.datetime64(tick * STEP_S, "s")) + "Z"))
    assert len(messages) == len(set(messages)) == workload.readings
    assert np.array_equal(_due_forecasts(deployment), np.sort(_keys(deployment, expected)))


def test_a_missing_a_doubled_and_a_strange_output_each_give_no_figure() -> None:
    due = np.array([1, 2, 3])
    _expect("forecasts", due, np.array([3, 1, 2]))
    for found in ([1, 2], [1, 2, 3, 3], [1, 2, 3, 4]):
        with pytest.raises(FigureFailed):
            _expect("forecasts", due, np.array(found))


def test_latency_counts_from_when_a_reading_was_due_to_be_sent() -> None:
    live = Workload("w", 300, 4, "lagging", first_tick=100)
    schedule = _Schedule(live, rate=4_000, began=50.0)
    for number, (name, tick) in enumerate(readings(live)):
        series = int(name[1:])
        round_ = tick - (live.first_ticks[series])
        assert schedule.times[round_, series] == pytest.approx(50.0 + number // 20 * 0.005)


def test_the_line_of_the_shadow_sets_its_rate_against_that_without() -> None:
    def drained(rate: float, cpu: float, **stages: float) -> Drained:
        return Drained(1000, 1000 / rate, cpu, 1.0, 0, 0, 0, {}, stages, {})

    row = row_of(
        {
            "without": [drained(100, 1.0), drained(200, 2.0), drained(300, 3.0)],
            "with": [drained(90, 2.0, shadow=0.1), drained(180, 2.5, shadow=0.3), drained(270, 3.0, shadow=0.2)],
        }
    )
    assert (row.value, row.low, row.high, row.unit) == (pytest.approx(180), pytest.approx(90), 270, "readings/s")
    assert row.note.startswith("0.90 × without (200), 1.25 × its processor time; 0.20 µs a reading")
    assert row.must == "0.9 × without"
