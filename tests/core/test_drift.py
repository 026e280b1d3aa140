"""CUSUM alarms at the tick that its recurrence says, once a season; the PIT is flat for what is calibrated."""

import numpy as np

from model_core.columns import Columns
from model_core.drift import cusum, pit

DECILES = np.arange(1, 10) / 10


def watched(residuals: list[float], threshold: float = 5.0, rest: int = 10) -> list[tuple[int, str]]:
    columns = Columns(cusum.FIELDS)
    columns.add(["a"])
    detector, said = cusum.Cusum(columns, threshold, rest), []
    for tick, residual in enumerate(residuals):
        _, alarm, ended = detector.update(np.array([0]), np.array([tick]), np.array([residual]))
        said += [(tick, "drift")] * int(alarm[0]) + [(tick, "ok")] * int(ended[0])
    return said


def test_a_shift_alarms_at_the_exact_tick_in_both_directions() -> None:
    # g grows by 1 − k = 0.5 a tick from tick 20 on and passes 5 with the eleventh value.
    for sign in (1.0, -1.0):
        assert watched([0.0] * 20 + [sign] * 11) == [(30, "drift")]
        assert watched([0.0] * 20 + [sign] * 10) == []


def test_after_an_alarm_it_rests_for_a_season_and_says_when_it_is_over() -> None:
    assert watched([1.5] * 30, rest=10) == [(5, "drift"), (16, "ok"), (21, "drift")]


def test_a_single_spike_counts_as_four_units() -> None:
    assert watched([1e9] + [0.0] * 20) == []
    assert watched([1e9, 1e9]) == [(1, "drift")]


def test_a_decision_is_under_way_above_half_the_threshold() -> None:
    columns = Columns(cusum.FIELDS)
    columns.add(["a", "b"])
    detector = cusum.Cusum(columns, 5.0, 10)
    detector.update(np.array([0, 1]), np.array([0, 0]), np.array([3.1, 3.0]))
    assert detector.deciding(np.array([0, 1])).tolist() == [True, False]


def histogram(actual: np.ndarray) -> float:
    columns = Columns(pit.pit_fields(9))
    columns.add(["a"])
    detector = pit.PitHistogram(columns, DECILES)
    for value in actual:
        detector.update(np.array([0]), np.array([value]), DECILES[None], 1.0)
    divergence, weight = detector.divergence(np.array([0]))
    assert weight == len(actual)
    return divergence


def test_the_histogram_is_flat_when_calibrated_and_not_when_biased(rng: np.random.Generator) -> None:
    assert histogram(np.arange(0.05, 1, 0.1)) < 1e-12
    assert histogram(rng.random(4000)) < 0.02
    assert histogram(rng.random(400) * 0.7) > 0.2


def test_nothing_seen_is_no_divergence() -> None:
    columns = Columns(pit.pit_fields(9))
    assert pit.PitHistogram(columns, DECILES).divergence(np.arange(0)) == (0.0, 0.0)
