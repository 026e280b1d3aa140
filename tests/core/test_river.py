"""Covariates on a seeded river: with the rain of its station a model knows what is coming, without it answers as well.

The whole way, as a worker goes it: history from readings, training, then the log through PartitionState and Predictor.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from model_core.arrays import BoolArray
from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.gate.stress import responses
from model_core.ladder import Rung
from model_core.models.ridge import WINDOW_WEIGHT, window_width
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.train import train
from tests.core.river import WEEK, River, river

FIRST_TICK, LENGTH, HORIZON = 480_000, 72, 24
STATIONS, WEEKS = 2, 24
SPLIT = WEEKS * 5 // 8 * WEEK  # what comes before is learned from
WITHOUT = StreamSpec(
    topic="river", freq="1h", context_length=LENGTH, horizon=HORIZON, seasonality=["1d"], targets=("flow",)
)
WITH_RAIN = WITHOUT.model_copy(update={"past_covariates": ("rain",)})
WITH_OUTLOOK = WITH_RAIN.model_copy(update={"future_covariates": ("outlook",)})


@dataclass(frozen=True)
class Streamed:
    """Forecasts from SPLIT on: n of them."""

    station: np.ndarray  # int64 [n]
    origin: np.ndarray  # int64 [n], rows of the river
    quantiles: np.ndarray  # float32 [n, Q, H]
    rungs: np.ndarray  # int8 [n]
    locations: np.ndarray  # float64 [n, H], the model's
    windows: WindowBatch

    def pinball(self, flow: np.ndarray, chosen: BoolArray) -> float:
        """Mean over forecasts whose origin is `chosen` [T, S] and whose targets have all come."""
        kept = (self.origin + HORIZON < len(flow)) & chosen[self.origin, self.station]
        ahead = self.origin[kept][:, None] + np.arange(1, HORIZON + 1)
        difference = flow[ahead, self.station[kept][:, None]][:, None] - self.quantiles[kept]
        levels = np.array(WITHOUT.quantile_levels)[:, None]
        return float(np.maximum(levels * difference, (levels - 1) * difference).mean())


def readings_of(stream: River, *, rain_until: int | None = None, outlook: bool = False) -> Readings:
    """Hour by hour, rain before flow; a gauge of rain may fall silent. The outlook comes a horizon ahead."""
    names, columns = [], []
    for station in range(stream.flow.shape[1]):
        rain = stream.rain[:, station].copy()
        rain[rain_until:] = np.nan if rain_until is not None else rain[rain_until:]
        names += [f"gauge-{station}.rain", f"gauge-{station}.flow"]
        columns += [rain, stream.flow[:, station]]
    if outlook:
        names += [f"gauge-{station}.outlook" for station in range(stream.flow.shape[1])]
        columns += list(stream.outlook(seed=9).T)
    cells = np.stack(columns, axis=1)
    ticks, which = np.nonzero(np.isfinite(cells))
    ahead = np.array([name.endswith("outlook") for name in names])[which]
    order = np.argsort(ticks - (HORIZON + 0.5) * ahead, kind="stable")
    ticks, which = ticks[order], which[order]
    times = (ticks + FIRST_TICK) * 3_600_000 + 1
    return Readings([names[c] for c in which], times, cells[ticks, which], np.arange(len(ticks)))


def history_of(spec: StreamSpec, readings: Readings) -> CellHistory:
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    feed.take(0, readings)
    feed.finish()
    return history


def learned(spec: StreamSpec, stream: River) -> Bundle:
    past = River(stream.rain[:SPLIT], stream.flow[:SPLIT])
    history = history_of(spec, readings_of(past, outlook=bool(spec.future_covariates)))
    return train(history, spec, version="v1", created_at="2026-01-01T00:00:00Z", device="cpu").bundle


def streamed(spec: StreamSpec, bundle: Bundle, readings: Readings) -> Streamed:
    state, predictor = PartitionState(spec, 0, bundle.facts()), Predictor(spec, bundle, device="cpu")
    parts = []
    for observed in state.observe(readings):
        if observed.windows is None:
            state.settle_and_issue(observed, None)
            continue
        raw = predictor.raw(observed.windows)
        made = state.settle_and_issue(observed, raw).forecasts
        stations = np.array([int(name.removeprefix("gauge-").partition(".")[0]) for name in made.series_ids])
        origins = made.origins - FIRST_TICK
        kept = np.flatnonzero(origins >= SPLIT)
        windows = observed.windows.rows(kept)
        arrays = (stations, origins, made.quantiles, made.rungs, raw.locations[:, Rung.MODEL])
        parts.append((*(array[kept] for array in arrays), windows))
    *arrays, windows = zip(*parts, strict=True)
    return Streamed(*map(np.concatenate, arrays), WindowBatch.concatenate(list(windows)))


@cache
def told(seed: int) -> tuple[River, Bundle, Streamed, Streamed]:
    """(the river, the model that knows rain, its forecasts, those of one that does not)"""
    stream = river(seed, stations=STATIONS, weeks=WEEKS)
    with_rain, without = learned(WITH_RAIN, stream), learned(WITHOUT, stream)
    log = readings_of(stream)
    return stream, with_rain, streamed(WITH_RAIN, with_rain, log), streamed(WITHOUT, without, log)


@pytest.mark.parametrize("seed", [1, 2])
def test_rain_takes_a_fifth_off_the_loss_in_wet_weeks(seed):
    stream, _, seeing, blind = told(seed)
    wet = stream.wet_weeks(SPLIT)
    assert seeing.pinball(stream.flow, wet) <= 0.8 * blind.pinball(stream.flow, wet)
    assert seeing.pinball(stream.flow, ~wet) <= blind.pinball(stream.flow, ~wet)


def test_a_forecast_of_the_rain_helps_further():
    """It says what is still to fall; its rain, too, passes the gauge hours after its own tick."""
    stream, _, seeing, _ = told(2)
    foreseeing = streamed(WITH_OUTLOOK, learned(WITH_OUTLOOK, stream), readings_of(stream, outlook=True))
    wet = stream.wet_weeks(SPLIT)
    assert foreseeing.pinball(stream.flow, wet) <= 0.9 * seeing.pinball(stream.flow, wet)


def test_a_silent_rain_gauge_leaves_forecasts_little_worse_than_without_it():
    stream, with_rain, _, blind = told(2)
    missing = streamed(WITH_RAIN, with_rain, readings_of(stream, rain_until=SPLIT))
    assert len(missing.origin) == len(blind.origin)
    assert (missing.rungs == Rung.MODEL).all()
    wet = stream.wet_weeks(SPLIT)
    assert missing.pinball(stream.flow, wet) <= 1.25 * blind.pinball(stream.flow, wet)
    assert missing.pinball(stream.flow, ~wet) <= 1.1 * blind.pinball(stream.flow, ~wet)


def test_extreme_rain_lets_the_river_rise():
    """Twenty inches in an hour: far beyond all that was learned from, the forecast goes up, and not to the moon."""
    _, with_rain, seeing, _ = told(2)
    dry = np.flatnonzero(np.nansum(seeing.windows.windows[:, -24:, 1], axis=1) == 0)[:50]
    before = seeing.windows.rows(dry)
    windows = before.windows.copy()
    windows[:, -1, 1] = 508.0  # mm
    predictor = Predictor(WITH_RAIN, with_rain, device="cpu")
    rise = [predictor.raw(each).locations[:, Rung.MODEL] for each in (before, replace(before, windows=windows))]
    rise = rise[1] - rise[0]
    assert (rise[:, 11:20].mean(axis=1) > 0.1).all()
    assert (np.abs(rise) < 10 * np.nanstd(before.windows[:, :, 0], axis=1, keepdims=True)).all()


@pytest.mark.parametrize(
    ("direction", "deaf", "passes"), [("rising", False, True), ("rising", True, False), ("falling", False, False)]
)
def test_a_model_that_ignores_rain_is_refused_where_the_stream_says_that_flow_rises_with_it(direction, deaf, passes):
    stream, with_rain, _, _ = told(2)
    spec = WITH_RAIN.model_copy(update={"monotone": {"rain": direction}})
    weights = with_rain.tensors[WINDOW_WEIGHT].copy()
    weights[window_width(LENGTH, 0) :] *= not deaf
    bundle = replace(with_rain, tensors=with_rain.tensors | {WINDOW_WEIGHT: weights})
    windows = TrainingWindows(spec, history_of(spec, readings_of(stream)))
    (found,) = responses(windows, Predictor(spec, bundle, device="cpu"), bundle.manifest.season, SPLIT)
    assert found.windows == STATIONS
    assert found.passed is passes


def test_the_gate_names_what_must_respond():
    stream, _, _, _ = told(2)
    spec = WITH_RAIN.model_copy(update={"monotone": {"rain": "rising"}})
    past = River(stream.rain[: SPLIT // 2], stream.flow[: SPLIT // 2])
    made = train(history_of(spec, readings_of(past)), spec, version="v1", created_at="", device="cpu")
    check = next(check for check in made.verdict.checks if check.name == "rising with rain")
    assert check.passed, check.said
    assert "rain at an extreme moves forecasts by +" in check.said


def test_with_rain_too_the_stream_says_what_is_computed_offline():
    """Windows and the rain's scaler from the history alone, by the code that training uses."""
    stream, with_rain, seeing, _ = told(2)
    windows = TrainingWindows(WITH_RAIN, history_of(WITH_RAIN, readings_of(stream)))
    series = np.array([windows.series_ids.index(f"gauge-{station}.flow") for station in seeing.station.tolist()])
    batch = windows.batch(series, seeing.origin, with_rain.manifest.season)
    batch.center[:, 0], batch.scale[:, 0] = seeing.windows.center[:, 0], seeing.windows.scale[:, 0]  # the ladder's
    offline = Predictor(WITH_RAIN, with_rain, device="cpu").raw(batch).locations[:, Rung.MODEL]
    np.testing.assert_array_equal(batch.windows, seeing.windows.windows)
    np.testing.assert_allclose(offline, seeing.locations, rtol=1e-5, atol=1e-4)
