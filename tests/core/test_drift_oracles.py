"""The detectors alarm where those of river and of frouros do, on seeded streams.

Both estimate the mean of what they watch; residuals of a calibrated forecast have one that is known, so it is pinned to
zero. What is judged are the kernels of a worker: single values are issued for and settled.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from river import stats
from river.drift import PageHinkley

from model_core.drift.pit import psi
from tests.conftest import REPOSITORY
from tests.core.test_drift import watched

GOLDEN: dict[str, Any] = json.loads((REPOSITORY / "tests" / "golden" / "frouros_alarms.json").read_text())
SLACK, WINSOR = 0.5, 4.0


class Zero(stats.Mean):
    def get(self) -> float:
        return 0.0


class KnownMean(PageHinkley):
    """Page's test about zero. Its minimum begins with the first sum: a first value of zero makes that the CUSUM's 0."""

    def _reset(self) -> None:
        super()._reset()
        self._x_mean = Zero()


def river_alarms(values: list[float], threshold: float, rest: int) -> list[int]:
    def begun() -> PageHinkley:
        detector = KnownMean(min_instances=1, delta=SLACK, threshold=threshold, alpha=1.0)
        detector.update(0.0)
        return detector

    found, until, detector = [], -1, begun()
    for tick, value in enumerate(values):
        if tick <= until:
            continue
        detector.update(min(max(value, -WINSOR), WINSOR))
        if detector.drift_detected:
            found.append(tick)
            until, detector = tick + rest, begun()
    return found


@pytest.mark.parametrize("number", range(8))
def test_cusum_alarms_where_river_does(number: int, rng: np.random.Generator) -> None:
    values = rng.standard_t(4, 500)
    values[250:] += [0.0, 1.2, -0.8, 1.5][number % 4]
    threshold, rest = [4.0, 8.0][number % 2], [12, 24][number // 4]
    said = watched(values.tolist(), threshold, rest)
    expected = river_alarms(np.float32(values).tolist(), threshold, rest)
    assert expected, "a stream without an alarm shows nothing"
    assert [tick for tick, state in said if state == "drift"] == expected


@pytest.mark.parametrize("case", GOLDEN["cusum"], ids=range(len(GOLDEN["cusum"])))
def test_cusum_alarms_where_frouros_does(case: dict[str, Any]) -> None:
    said = watched(case["values"], case["threshold"], case["rest"])
    assert [tick for tick, state in said if state == "drift"] == case["alarms"]


@pytest.mark.parametrize("number", range(4))
def test_the_cusum_of_a_horizon_ahead_alarms_where_river_does_over_every_horizonth_value(
    number: int, rng: np.random.Generator
) -> None:
    """In units of a random walk's spread, as forecasts of the last value are before any training."""
    horizon, threshold = 6, [3.0, 5.0][number % 2]
    values = rng.standard_t(4, 720) * horizon**0.5
    values[360:] += [0.8, -2.0][number // 2] * horizon**0.5
    said = watched(values.tolist(), 1e9, 24, far=threshold, horizon=horizon)
    seen = (np.float32(values) / horizon**0.5)[::horizon].tolist()
    expected = [horizon * at for at in river_alarms(seen, threshold, 24 // horizon)]
    assert expected, "a stream without an alarm shows nothing"
    assert [tick for tick, state in said if state == "drift"] == expected


@pytest.mark.parametrize("case", GOLDEN["psi"], ids=range(len(GOLDEN["psi"])))
def test_the_stability_index_is_that_of_frouros(case: dict[str, Any]) -> None:
    reference, found = (np.array(case[name]) / sum(case[name]) for name in ("reference", "found"))
    assert psi(found, reference) == pytest.approx(case["psi"], rel=1e-9)
