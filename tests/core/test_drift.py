"""CUSUM alarms at the tick that its recurrence says, once a season; the PIT is flat for what is calibrated."""

import numpy as np
import pytest

from model_core.columns import Columns
from model_core.drift import pit
from model_core.drift.ratios import ratios
from model_core.drift.storm import Storm
from model_core.ladder import Rung
from model_core.outcomes import DriftRecord, Outcome
from tests.core.waves import Waves

DECILES = np.arange(1, 10) / 10


class Watched(Waves):
    """Series with forecasts for each tick, all units one, and a watermark that closes each tick before the next."""

    def __init__(
        self, series: int, threshold: float, rest: int, *, far: float = 1e9, horizon: int = 1, reports: str = "365d"
    ) -> None:
        facts = {"cusum_threshold": threshold, "horizon_threshold": far, "season": rest}
        super().__init__(series, facts=facts, horizon=horizon, drift_report_every=reports)
        self.tick = 0

    def see(self, values: list[float], quantiles: np.ndarray) -> list[DriftRecord]:
        return self.outcome(values, quantiles).drift

    def outcome(self, values: list[float], quantiles: np.ndarray) -> Outcome:
        """Actual values against quantiles [9] that were issued for them, at every scored horizon."""
        columns = list(range(len(values)))
        self.columns.flat("unit")[:, Rung.LAST_VALUE] = 1.0, 1.0
        shape = (len(values), len(self.spec.scored_horizons), 3, 9)
        self.enter(columns, self.tick, np.broadcast_to(quantiles, shape))
        self.closed = self.tick
        outcome = self.settle(columns, self.tick, values)
        self.tick += 1
        return outcome

    def end(self) -> list[DriftRecord]:
        """One more tick closes: what is held is told."""
        self.closed = self.tick
        return self.settle([], [], []).drift


def watched(residuals: list[float], threshold: float = 5.0, rest: int = 10, **others: float) -> list[tuple[int, str]]:
    series = Watched(1, threshold, rest, **others)
    said = [record for residual in residuals for record in series.see([residual], np.zeros(9))]
    return [(record.since, record.state) for record in [*said, *series.end()] if record.series_id]


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


def test_a_horizon_ahead_one_residual_in_so_many_is_looked_at() -> None:
    """With a horizon of 6 those of ticks 0, 6, 12, …; in units of a random walk, √6 of one step."""
    values = [6**0.5 * 1.5] * 40
    assert watched(values, 1e9, far=3.5, horizon=6) == [(18, "drift"), (29, "ok")]


def test_an_alarm_of_either_starts_both_anew() -> None:
    series = Watched(1, 5.0, 10, far=1.2, horizon=6)
    said = [record for value in [3.9] * 8 for record in series.see([value], np.zeros(9))]
    assert [(record.detector, record.since) for record in said] == [("cusum", 1)]
    assert (series.columns.flat("drift")["cusum"][0] == 0).all()


# --- storms -----------------------------------------------------------------------------------------------------------


def test_a_storm_becomes_one_record_and_one_request_to_train() -> None:
    series = Watched(40, 5.0, 12)
    outcomes = [series.outcome([1.5 if 10 <= tick < 20 else 0.0] * 40, np.zeros(9)) for tick in range(60)]
    said = [record for outcome in outcomes for record in outcome.drift]
    told = [(record.series_id, record.group, record.detector, record.state, record.since) for record in said]
    # All alarm at tick 15; it is told when 16 begins; the season of these alarms is over at 27.
    assert told == [(None, "partition-0", "storm", "drift", 16), (None, "partition-0", "storm", "ok", 27)]
    assert sum(len(outcome.storms) for outcome in outcomes) == 1
    assert sum(outcome.alarms.get("cusum", 0) for outcome in outcomes) == 40


def test_before_a_storm_and_after_it_series_speak_for_themselves() -> None:
    """One alarms early and is told; with the others a storm begins and keeps what follows back; later one is told."""
    series = Watched(40, 5.0, 12)
    said = []
    for tick in range(70):
        values = np.zeros(40)
        values[0] = 3.0 if tick in (0, 1, 2) else 0.0
        values[1:] = 3.0 if 6 <= tick < 9 else 0.0
        values[7] = 3.0 if tick >= 40 else values[7]
        said += series.see(values.tolist(), np.zeros(9))
    told = [(record.series_id or record.detector, record.state, record.since) for record in said]
    assert told[:3] == [("s0", "drift", 2), ("storm", "drift", 9), ("s0", "ok", 15)]
    assert told[3:5] == [("storm", "ok", 20), ("s7", "drift", 42)]


def test_a_storm_starts_above_its_limit_with_three_series_and_ends_below_half_of_it() -> None:
    storm = Storm()
    assert storm.look(1, 2, 3, 0.05) is None  # two of three: a small partition has no storms of one or two
    assert storm.look(2, 5, 100, 0.05) is None
    assert storm.look(3, 6, 100, 0.05) == "starts"
    assert storm.look(4, 3, 100, 0.05) == "goes on"
    assert storm.look(5, 2, 100, 0.05) == "ends"
    assert storm.since is None


# --- beside the CUSUM -------------------------------------------------------------------------------------------------


def test_an_alarm_says_whether_errors_have_grown_or_become_one_sided(rng: np.random.Generator) -> None:
    series = Watched(2, 1e9, 24)
    for tick in range(480):
        calm = rng.normal(size=2)
        loud = calm * [3.0, 1.0] + [0.0, 1.2]
        series.see((calm if tick < 400 else loud).tolist(), np.zeros(9))
    scale, bias = ratios(series.columns, np.array([0, 1]))
    assert scale[0] > 1.3
    assert abs(bias[0]) < 0.5
    assert bias[1] > 0.5


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


def test_an_index_of_stability_needs_values_before_it_says_anything() -> None:
    histogram = pit.PitHistogram(Columns(pit.pit_fields(9)), DECILES)
    assert histogram.state(0.3, 399.0) == "ok"
    assert [histogram.state(psi, 400.0) for psi in (0.05, 0.15, 0.3)] == ["ok", "warning", "drift"]


def test_a_report_has_a_line_for_each_detector_and_scored_horizon(rng: np.random.Generator) -> None:
    """Values of which nine in ten fall below the middle: the histogram and the coverage of its horizon tell."""
    series = Watched(30, 1e9, 24, reports="1d")
    said = [record for _ in range(50) for record in series.see((rng.random(30) * 0.5).tolist(), DECILES)]
    lines = {record.detector: record for record in said}
    assert list(lines) == ["cusum_share", "pit", "scale", "bias", "missing", "flatline", "coverage_1"]
    assert len(said) == 2 * len(lines)  # ticks 24 and 48
    assert lines["pit"].state == "drift"
    assert lines["coverage_1"].statistic == pytest.approx(0.8, abs=0.05)  # of 0 … .5 the first tenth is below .1
    assert lines["coverage_1"].threshold == pytest.approx(0.8)
