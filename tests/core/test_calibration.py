"""Intervals learn to tell the truth: what is learned, from what, and what is not allowed to happen to it."""

import random
from typing import Any

import numpy as np
import pytest

from model_core.bundle import ModelFacts
from model_core.ladder import Reason, Rung
from model_core.quantiles import Levels
from model_core.spec import StreamSpec
from model_core.training.residuals import update_unit
from tests.core.oracle import Reading, Tombstone
from tests.core.oracle_quantiles import Judge, Mean
from tests.core.partition_run import Run, stopped_and_restored
from tests.core.waves import Waves

HOUR, START = 3_600_000, 480_000
MEDIAN = 4  # of nine levels


class Learner(Waves):
    """A calibration of a few series with one scored horizon; `learn` takes actual values against issued quantiles."""

    def __init__(self, series: int = 3, bounds: tuple[float, float] = (-np.inf, np.inf), **settings: Any) -> None:
        super().__init__(series, bounds, **({"horizon": 1, "seasonality": ("4h",)} | settings))
        self.calibration = self.settlement.calibration
        self.tick = 1000
        self.forecast(list(range(series)))

    def forecast(self, columns: list[int]) -> None:
        self.issue(columns, self.tick, np.zeros((len(columns), 3, self.spec.horizon)))
        self.drop(columns)

    def learn(self, actual: list[float], issued: np.ndarray, frozen: bool = False) -> None:
        rows = len(actual)
        self.learn_of(np.array(actual), np.broadcast_to(issued.astype(np.float32), (rows, 1, 3, 9)), frozen)

    def learn_of(self, actual: np.ndarray, quantiles: np.ndarray, frozen: bool = False) -> None:
        """Actual values [n] against quantiles [n, K, 3, Q]; where they are NaN a rung had none."""
        self.tick += 1
        columns = list(range(len(actual)))
        self.enter(columns, self.tick, quantiles)
        self.columns.flat("drift")["cusum"][:] = self.facts.cusum_threshold if frozen else 0.0
        self.settle(columns, self.tick, actual)

    def offsets(self, column: int = 0) -> np.ndarray:
        return self.columns.flat("offsets")[column, Rung.LAST_VALUE, 0].astype(np.float64)

    def unit(self, column: int = 0) -> tuple[float, float]:
        """(mean square of residuals, updates)"""
        square, updates = self.columns.flat("unit")[column, Rung.LAST_VALUE].tolist()
        return square, updates


ISSUED = np.arange(1.0, 10.0)


def test_a_quantile_moves_by_the_rate_times_its_miss() -> None:
    learner = Learner()
    learner.learn([4.5], ISSUED)
    levels = np.arange(1, 10) / 10
    expected = 0.005 * ((ISSUED < 4.5) - (1 - levels))
    np.testing.assert_allclose(learner.offsets(), expected, rtol=1e-6)


def test_four_seasons_ahead_a_quantile_moves_by_half_of_that() -> None:
    learner = Learner(horizon=16)  # scored 1, 2, 3, 6, 12 and 16 ahead, a season has 4 ticks
    rows = len(learner.spec.scored_horizons)
    learner.learn_of(np.full(1, 4.5), np.broadcast_to(ISSUED.astype(np.float32), (1, rows, 3, 9)))
    offsets = learner.columns.flat("offsets")[0, Rung.LAST_VALUE].astype(np.float64)
    of_rate = [1.0, 1.0, 1.0, np.sqrt(4 / 6), np.sqrt(4 / 12), 0.5]
    np.testing.assert_allclose(offsets, np.outer(of_rate, offsets[0]), rtol=1e-6)
    assert (offsets[0] != 0).all()


def test_an_actual_value_on_the_quantile_teaches_it_nothing() -> None:
    learner = Learner()
    learner.learn([5.0], ISSUED)
    assert learner.offsets()[MEDIAN] == 0.0
    assert (np.delete(learner.offsets(), MEDIAN) != 0).all()


@pytest.mark.parametrize("bound", [0.0, 0.1])  # float32 has no 0.1
def test_a_quantile_held_at_its_bound_does_not_wind_up_behind_it(bound: float) -> None:
    learner = Learner(bounds=(bound, np.inf))
    issued = np.maximum(ISSUED - 5, bound)
    for _ in range(50):
        learner.learn([float(np.float32(bound)) - 1e-3], issued)
    assert (learner.offsets()[:5] == 0).all()
    assert (learner.offsets()[5:] < 0).all()


def test_offsets_keep_quantiles_rising_and_stay_bounded(rng: np.random.Generator) -> None:
    learner = Learner(calibration_rate=0.019)
    table = Levels(learner.spec).normal
    for _ in range(3000):
        learner.learn([float(rng.normal(0, 50))], np.full(9, 3.0))
        assert (np.diff(table + learner.offsets()) >= -1e-6).all()
    assert np.abs(learner.offsets()).max() <= 5.0 + 1e-6


def test_what_a_series_learns_does_not_depend_on_who_learns_with_it(rng: np.random.Generator) -> None:
    together, alone = Learner(calibration_rate=0.019), Learner(1, calibration_rate=0.019)
    for _ in range(500):
        issued = np.sort(rng.normal(0, 1, 9))
        actual = rng.normal(0, 30, 3).tolist()
        together.learn(actual, issued)
        alone.learn(actual[:1], issued)
    assert together.offsets().tobytes() == alone.offsets().tobytes()


def test_a_newcomer_starts_from_the_cohort_as_it_stood_when_the_watermark_last_closed_a_tick() -> None:
    learner = Learner()
    learner.learn([9.5, 9.5], ISSUED)
    learner.columns.flat("calibrated")[2] = 0
    learner.forecast([2])
    assert (learner.offsets(2) == 0).all()
    learner.calibration.close(7)
    learner.columns.flat("calibrated")[2] = 0
    learner.forecast([2])
    np.testing.assert_allclose(learner.offsets(2), learner.offsets(0), rtol=1e-6)


def test_what_the_cohort_learned_outlives_its_last_series_and_a_stop() -> None:
    """The state of a partition without any series is a state, not none."""
    stream = StreamSpec(topic="t", freq="1h", horizon=1, context_length=4, seasonality=("2h",), min_readings=1)
    log = [Reading(hour, "a", (START + hour) * HOUR, float(hour % 7)) for hour in range(40)]
    run = Run(stream).log([*log, Tombstone(40, "a")], [0, 13])
    assert not len(run.state.columns)
    assert np.any(run.state.meta()["cohort"]["offsets"])
    again = Run(stream, state=stopped_and_restored(run.state, stream))
    assert again.state.meta() == run.state.meta()


def test_the_unit_is_the_rms_of_one_step_residuals_winsorised_at_eight_units(rng: np.random.Generator) -> None:
    learner, plain, decay = Learner(1), Mean(), 0.5 ** (1 / 4)
    holder = type("Holder", (), {"decay": decay})()
    for residual in [*rng.normal(0, 2, 100), 1e6, *rng.normal(0, 2, 5)]:
        seen = float(np.float32(residual))
        learner.learn([seen], np.zeros(9))
        Judge.learn_unit(holder, plain, seen, 1e-3)
    np.testing.assert_allclose(learner.unit(), (plain.value, plain.updates), rtol=1e-12)
    assert np.sqrt(learner.unit()[0]) < 2 * 8


def test_a_series_that_stood_still_gets_its_unit_back_when_it_moves(rng: np.random.Generator) -> None:
    learner = Learner(1, seasonality=("69h",))
    for residual in [*np.zeros(300), *rng.normal(0, 2, 60)]:
        learner.learn([float(residual)], np.zeros(9))
    assert 0.5 < np.sqrt(learner.unit()[0]) < 4


def test_training_sees_the_units_that_the_worker_will_have(rng: np.random.Generator) -> None:
    learner, square, updates, decay = Learner(), np.zeros(3), np.zeros(3), 0.5 ** (1 / 4)
    for size in [*rng.exponential(2, 50), 1e4, 0.0, 0.0]:
        residuals = (size * rng.normal(size=3)).astype(np.float32).astype(np.float64)
        learner.learn(residuals.tolist(), np.zeros(9))
        square, updates = update_unit(square, updates, residuals, decay, np.full(3, 1e-3))
    for column in range(3):
        np.testing.assert_allclose(learner.unit(column), (square[column], updates[column]), rtol=1e-12)


def test_the_unit_keeps_its_value_while_drift_is_being_decided() -> None:
    learner = Learner()
    learner.learn([4.0], ISSUED)
    before = learner.columns.flat("unit")[0].copy()
    learner.learn([400.0], ISSUED, frozen=True)
    assert (learner.columns.flat("unit")[0] == before).all()


def test_a_swap_clears_what_was_learned_of_the_model_and_keeps_the_naive_rungs() -> None:
    learner = Learner()
    learner.learn([9.5], ISSUED)
    facts = ModelFacts.none(learner.spec)
    kept = learner.offsets()
    learner.calibration.swap(type(facts)(**(vars(facts) | {"version": "v2"})))
    assert (learner.columns.flat("offsets")[0, Rung.MODEL] == 0).all()
    assert (learner.offsets() == kept).all()
    assert kept.any()


def test_intervals_cover_what_they_promise(seed: int) -> None:
    """Random walks, so that the last value answers all along."""
    draw, ticks, series = random.Random(seed), 600, 12
    small = {"context_length": 8, "horizon": 1, "seasonality": ("12h",), "max_out_of_orderness": 0}
    stream = StreamSpec(topic="t", freq="1h", accuracy="records", calibration_rate=0.019, **small)
    walks, log = [0.0] * series, []
    for i in range(series * ticks):
        walks[i % series] += draw.gauss(0, 1)
        log.append(Reading(i, f"s{i % series}", (START + i // series) * HOUR, walks[i % series]))
    said = Run(stream).log(log, [0, 4000]).said
    covered = np.array([[record["covered"][0] for record in rows] for rows in said.records.values()])  # [series, t, I]
    np.testing.assert_allclose(covered[:, 200:].mean(axis=(0, 1)), [0.8, 0.6, 0.4, 0.2], atol=0.03)


def test_learning_some_horizons_is_learning_all_with_the_others_unknown(rng: np.random.Generator) -> None:
    settings: dict[str, Any] = {"horizon": 6, "calibration_rate": 0.019}
    some, every = Learner(5, **settings), Learner(5, **settings)
    count = len(some.spec.scored_horizons)
    for _ in range(200):
        known = rng.random(count) < 0.4
        if not known.any():
            continue
        quantiles = np.sort(rng.normal(0, 1, (5, count, 3, 9)), axis=-1).astype(np.float32)
        quantiles[rng.random((5, count, 3)) < 0.2] = np.nan
        actual = rng.normal(0, 2, 5)
        every.learn_of(actual, np.where(known[:, None, None], quantiles, np.nan))
        some.tick += 1
        some.enter(range(5), some.tick, quantiles, known)
        some.columns.flat("drift")["cusum"][:] = 0.0
        some.settle(range(5), some.tick, actual)
    for name in ("offsets", "unit"):
        assert some.columns.flat(name).tobytes() == every.columns.flat(name).tobytes()
    assert some.calibration.snapshot() == every.calibration.snapshot()


def test_tables_of_its_own_change_a_series_and_nothing_about_its_neighbours(rng: np.random.Generator) -> None:
    """Whether all series share their tables or not decides how they are looked up, never what comes out."""
    shared, mixed = Learner(3, horizon=6), Learner(3, horizon=6)
    facts = ModelFacts.none(mixed.spec)
    own = {"series_base": {"s1": 0}, "series_tables": facts.base[:1] * 2.0}
    mixed.calibration.swap(type(facts)(**(vars(facts) | own)))
    unit, locations = rng.random((3, 3)) + 0.5, rng.normal(size=(3, 3, 6))
    made = []
    for learner in (shared, mixed):
        learner.columns.flat("unit")[:3, :, 0], learner.columns.flat("unit")[:3, :, 1] = unit**2, 1.0
        said = learner.issue([0, 1, 2], 1000, locations, reasons=[Reason.OK, Reason.OK, Reason.NO_MODEL]).forecasts
        assert said.rungs.tolist() == [Rung.MODEL, Rung.MODEL, Rung.LAST_VALUE]
        scored = np.array([list(learner.waiting(column).values()) for column in range(3)])  # [3, K, 3, Q]
        made.append((scored, said.quantiles))
    for one, other in zip(*made, strict=True):
        assert one[[0, 2]].tobytes() == other[[0, 2]].tobytes()
        assert one[1].tobytes() != other[1].tobytes()
