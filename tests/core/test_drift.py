"""CUSUM alarms at the tick that its recurrence says, once a season; the PIT is flat for what is calibrated."""

import numpy as np

from model_core.columns import Columns
from model_core.drift import pit
from model_core.ladder import Rung
from tests.core.waves import Waves

DECILES = np.arange(1, 10) / 10


class Watched(Waves):
    """Series with a forecast for each tick, and a unit of one."""

    def __init__(self, series: int, threshold: float, rest: int) -> None:
        super().__init__(series, facts={"cusum_threshold": threshold, "season": rest}, horizon=1)
        self.tick = 0

    def see(self, values: list[float], quantiles: np.ndarray) -> list[tuple[int, str]]:
        """Actual values against quantiles [9] that were issued for them → (tick, state) of what was said."""
        columns = list(range(len(values)))
        self.columns.flat("unit")[:, Rung.LAST_VALUE] = 1.0, 1.0
        self.enter(columns, self.tick, np.broadcast_to(quantiles, (len(values), 1, 3, 9)))
        drift = self.settle(columns, self.tick, values).drift
        self.tick += 1
        return [(record.tick, record.state) for record in drift]


def watched(residuals: list[float], threshold: float = 5.0, rest: int = 10) -> list[tuple[int, str]]:
    series = Watched(1, threshold, rest)
    return [said for residual in residuals for said in series.see([residual], np.zeros(9))]


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


def test_while_a_decision_is_under_way_above_half_the_threshold_the_unit_keeps_its_value() -> None:
    series = Watched(2, 5.0, 10)
    series.see([3.1, 3.0], np.zeros(9))
    series.see([4.0, 4.0], np.zeros(9))
    updates = series.columns.flat("unit")[:2, Rung.LAST_VALUE, 1]
    assert updates.tolist() == [1.0, 2.0]


def histogram(actual: np.ndarray) -> float:
    series = Watched(1, 1e9, 10**9)  # a season so long that nothing is forgotten
    for value in actual.tolist():
        series.see([value], DECILES)
    divergence, weight = pit.PitHistogram(series.columns, DECILES).divergence(np.array([0]))
    assert weight == len(actual)
    return divergence


def test_the_histogram_is_flat_when_calibrated_and_not_when_biased(rng: np.random.Generator) -> None:
    assert histogram(np.arange(0.05, 1, 0.1)) < 1e-12
    assert histogram(rng.random(4000)) < 0.02
    assert histogram(rng.random(400) * 0.7) > 0.2


def test_nothing_seen_is_no_divergence() -> None:
    columns = Columns(pit.pit_fields(9))
    assert pit.PitHistogram(columns, DECILES).divergence(np.arange(0)) == (0.0, 0.0)
