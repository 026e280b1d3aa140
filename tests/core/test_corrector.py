"""The corrector learns what a model gets wrong about one series, and leaves alone what nobody can know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.ladder import Reason, Rung
from model_core.outcomes import Observed, Outcome
from model_core.partition import PartitionState
from model_core.readings import Readings
from model_core.spec import StreamSpec
from tests.core.oracle_corrector import PlainCorrector

HOUR, FIRST = 3_600_000, 480_000
SEASON, LENGTH, HORIZON = 4, 12, 16
MEDIAN = 4
Locate = Callable[[np.ndarray], np.ndarray]  # windows float64 [B, L] → locations [B, H]


def spec_of(**settings: Any) -> StreamSpec:
    """Offsets that do not move: the median is the location."""
    usual = {"freq": "1h", "context_length": LENGTH, "horizon": HORIZON, "seasonality": ("4h",), "min_readings": 1}
    usual |= {"readings_per_step": 1, "calibration_rate": 1e-9, "corrector_steps": 6}
    return StreamSpec(**{"topic": "t"} | usual | settings)


def stays(windows: np.ndarray) -> np.ndarray:
    return np.repeat(windows[:, -1:], HORIZON, axis=1)


def halfway(windows: np.ndarray) -> np.ndarray:
    """To the mean of the window; a hole in front is no answer."""
    return np.repeat(0.5 * windows[:, -1:] + 0.5 * np.nanmean(windows, axis=1, keepdims=True), HORIZON, axis=1)


@dataclass
class Served:
    """A partition whose model is `locate`."""

    spec: StreamSpec
    locate: Locate
    version: str = "v1"

    def __post_init__(self) -> None:
        self.facts = replace(ModelFacts.none(self.spec), version=self.version)
        self.state = PartitionState(self.spec, 0, self.facts)

    def answer(self, windows: WindowBatch) -> RawForecast:
        cells = windows.windows[:, :, 0].astype(np.float64)
        locations = np.full((len(windows), 3, HORIZON), np.nan)
        locations[:, Rung.MODEL] = self.locate(cells)
        last = np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in cells])
        locations[:, Rung.LAST_VALUE] = last[:, None]
        locations[:, Rung.SEASONAL_NAIVE] = np.resize(windows.season.T, (HORIZON, len(windows))).T
        answered = np.isfinite(locations[:, Rung.MODEL]).all(axis=1)
        reason = np.where(answered, Reason.OK, Reason.NON_FINITE).astype(np.int8)
        return RawForecast(locations, reason, np.ones(len(windows), np.float32), np.zeros(len(windows), np.bool_))

    def take(self, readings: Readings) -> Iterator[tuple[Observed, RawForecast | None, Outcome]]:
        for observed in self.state.observe(readings):
            raw = None if observed.windows is None else self.answer(observed.windows)
            yield observed, raw, self.state.settle_and_issue(observed, raw)


def readings_of(cells: np.ndarray, first: int = 0) -> Readings:
    """cells [T, S], NaN where nothing came."""
    ticks, series = np.nonzero(np.isfinite(cells))
    offsets = np.arange(len(ticks)) + first * cells.shape[1]
    return Readings(
        [f"s{c}" for c in series.tolist()], (ticks + first + FIRST) * HOUR + 1, cells[ticks, series], offsets
    )


def medians(served: Served, cells: np.ndarray, polls: int = 1) -> dict[tuple[str, int], np.ndarray]:
    """Forecasts by series and origin, [Q, H], of a log that came in so many polls."""
    found: dict[tuple[str, int], np.ndarray] = {}
    readings = readings_of(cells)
    cuts = np.linspace(0, len(readings), polls + 1).astype(int)
    for start, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        for _, _, outcome in served.take(readings.part(start, end)):
            made = outcome.forecasts
            for name, origin, quantiles in zip(made.series_ids, made.origins.tolist(), made.quantiles, strict=True):
                found[name, origin - FIRST] = quantiles
    return found


def momentum(rng: np.random.Generator, ticks: int, series: int = 1) -> np.ndarray:
    """What went up goes on going up."""
    steps = np.zeros((ticks, series))
    for tick in range(1, ticks):
        steps[tick] = 0.9 * steps[tick - 1] + rng.normal(0, 0.1, series)
    return 20 + steps.cumsum(axis=0)


@pytest.mark.parametrize("every", [1, 2])
def test_corrections_are_those_of_weighted_least_squares_on_delayed_errors(
    rng: np.random.Generator, every: int
) -> None:
    cells = momentum(rng, 130, 3)
    cells[:, 2] = rng.normal(20, 1, 130)
    # Without a residual of its own at the start a model would borrow the unit of the last value, after it was asked.
    cells[3:][rng.random((127, 3)) < 0.05] = np.nan
    cells[0] = 20.0
    spec = spec_of(forecast_every=every, max_out_of_orderness=0)
    served = Served(spec, halfway)
    plain = [PlainCorrector((1, 2, 3, 6), SEASON, every) for _ in range(3)]
    compared, moved = 0, 0.0
    columns = served.state.columns
    for tick in range(len(cells)):
        # A poll of one tick also settles what was missing in the one before: such a cell moves no unit.
        units = columns.flat("unit")[:, Rung.MODEL].copy()
        for observed, raw, outcome in served.take(readings_of(cells[tick : tick + 1], tick)):
            assert len(columns) == 3, "they all begin with the first tick, and the arrays stay where they are"
            row = 0
            for wave in observed.waves:
                names = [columns.ids[column] or "" for column in wave.columns.tolist()]
                for name, at, value in zip(names, wave.ticks.tolist(), wave.values.tolist(), strict=True):
                    plain[int(name[1:])].learn(at, float(np.float32(value)))
                for due in wave.due.tolist():
                    assert raw is not None
                    assert observed.windows is not None
                    name, origin = outcome.forecasts.series_ids[row], int(outcome.forecasts.origins[row])
                    assert name == names[due]
                    column = columns.index[name]
                    newest = name not in outcome.forecasts.series_ids[row + 1 :]
                    square, updates = (columns.flat("unit")[column, Rung.MODEL] if newest else units[column]).tolist()
                    scale = float(observed.windows.scale[row, 0])
                    unit = max(np.sqrt(square) if updates else 0.5 * scale, 1e-3 * scale, 1e-9)
                    window = observed.windows.windows[row, :, 0].astype(np.float64)
                    locations, found = raw.locations[row], outcome.forecasts.quantiles[row]
                    answered = raw.reason[row] == Reason.OK
                    row += 1
                    if not answered:
                        continue
                    expected, widths = plain[int(name[1:])].correct(origin, *locations, window, unit, updates > 0)
                    np.testing.assert_allclose(found[MEDIAN], expected, rtol=2e-5, atol=2e-5)
                    moved = max(moved, float(np.abs(expected - locations[Rung.MODEL]).max()))
                    compared += 1
                    if newest:
                        wide = columns.flat("corrector_width")[column]
                        np.testing.assert_allclose(wide, [*widths.values(), 1, 1], rtol=1e-3)
    assert compared > 200 / every
    assert moved > 0.1


def test_a_series_that_moves_in_its_own_way_is_forecast_better(rng: np.random.Generator) -> None:
    cells = momentum(rng, 1500)
    errors, covered = {}, []
    for steps in (0, 6):
        found = medians(Served(spec_of(corrector_steps=steps, calibration_rate=0.005), stays), cells)
        origins = range(500, 1480)
        errors[steps] = np.mean([abs(found["s0", o][MEDIAN, 1] - cells[o + 2, 0]) for o in origins])
        covered.append(np.mean([found["s0", o][0, 0] <= cells[o + 1, 0] <= found["s0", o][-1, 0] for o in origins]))
    assert errors[6] < 0.6 * errors[0]
    assert 0.74 < covered[1] < 0.86


def test_noise_that_nobody_can_know_is_left_alone(rng: np.random.Generator) -> None:
    cells = rng.normal(20, 1, (2000, 1))
    found = medians(Served(spec_of(), lambda windows: np.full((len(windows), HORIZON), 20.0)), cells)
    moves = np.array([found["s0", origin][MEDIAN] - 20.0 for origin in range(1000, 1990)])
    assert np.abs(moves).mean() < 0.02


def test_switched_off_it_has_no_state_and_moves_nothing(rng: np.random.Generator) -> None:
    cells = momentum(rng, 200)
    served = Served(spec_of(corrector_steps=0), stays)
    found = medians(served, cells)
    assert not [name for name in served.state.columns.fields if name.startswith("correct")]
    for (_, origin), quantiles in found.items():
        np.testing.assert_allclose(quantiles[MEDIAN], cells[origin, 0], rtol=1e-6)


def test_polls_have_no_say(rng: np.random.Generator) -> None:
    cells = momentum(rng, 240, 5)
    whole, cut = (medians(Served(spec_of(), halfway), cells, polls) for polls in (1, 37))
    assert whole.keys() == cut.keys()
    for key, quantiles in whole.items():
        np.testing.assert_array_equal(quantiles, cut[key], err_msg=str(key))


def test_a_restored_state_goes_on_as_if_it_had_never_stopped(rng: np.random.Generator) -> None:
    cells = momentum(rng, 240, 2)
    straight = medians(Served(spec_of(), halfway), cells)
    first = Served(spec_of(), halfway)
    medians(first, cells[:150])
    state = first.state
    pieces = state.columns.take_dirty(0)
    ids = [bytes(piece.data) for piece in pieces if piece.field == "ids"]
    rest = [piece for piece in pieces if piece.field != "ids"]
    first.state = PartitionState.restore(state.spec, 0, state.meta(), ids, rest, first.facts)
    made = 0
    for _, _, outcome in first.take(readings_of(cells[150:], 150)):
        forecasts = outcome.forecasts
        for name, origin, quantiles in zip(
            forecasts.series_ids, forecasts.origins.tolist(), forecasts.quantiles, strict=True
        ):
            np.testing.assert_array_equal(quantiles, straight[name, origin - FIRST])
            made += 1
    assert made == 180


def test_another_model_starts_without_what_was_learned_about_the_last(rng: np.random.Generator) -> None:
    cells = momentum(rng, 400)
    served = Served(spec_of(), stays)
    medians(served, cells[:300])
    assert (served.state.columns.flat("corrector_width")[0] < 1).any()
    served.state.swap_model(replace(served.facts, version="v2"))
    assert (served.state.columns.flat("corrector")[0] == 0).all()
    assert (served.state.columns.flat("corrector_width")[0] == 1).all()
    assert np.isnan(served.state.columns.arrays["corrections"][0, :, 0]).all()


def test_what_a_gap_skips_is_not_learned_from(rng: np.random.Generator) -> None:
    cells = momentum(rng, 100)
    served = Served(spec_of(max_watermark_jump="400d", dormant_after=20, forget_after="400d"), stays)
    medians(served, cells)
    before = served.state.columns.flat("corrector")[0].copy()
    for _ in served.take(readings_of(cells[:1], 1000)):
        pass
    assert (
        np.isnan(served.state.columns.arrays["corrections"][0, :, 0, 4]).sum() >= 8
    )  # at most the newest origin waits
    np.testing.assert_array_equal(served.state.columns.flat("corrector")[0], before)
