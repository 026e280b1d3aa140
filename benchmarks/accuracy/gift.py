"""GIFT-Eval's ett1/H/short: 20 windows of 48 hours at the end of ETTh1, all seven series, its MASE and CRPS.

MASE: |error| of the median over the mean |y_t − y_{t−24}| of all that came before the window, averaged over all.
CRPS: mean over the levels .1 … .9 of the sum of 2 · pinball over the sum of |y|. The model is what `tidecast train`
makes of the rows before the first window, quantiles and all; it is not refitted. What the worker learns online on top
of its tables is left out here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.accuracy.ours import MADE_AT
from benchmarks.accuracy.protocol import CONTEXT, SEASON, Ett, history_of, windows_of
from model_core.arrays import FloatArray, IntArray
from model_core.ladder import Rung
from model_core.predictor import Predictor
from model_core.quantiles import place
from model_core.spec import StreamSpec
from model_core.training.residuals import Tables, run
from model_core.training.train import Trained, train

HORIZON, WINDOWS_MAX, TEST_SHARE = 48, 20, 0.1
LEVELS = np.arange(1, 10) / 10
MODELS: tuple[Literal["ridge", "patch_mixer"], ...] = ("ridge", "patch_mixer")
CALENDARS: dict[str, tuple[str, ...]] = {"none": (), "hour and weekday": ("hour_of_day", "day_of_week")}


def window_origins(length: int) -> IntArray:
    """Rows before the first target of each window: as many as fill a tenth of the data, 20 at most, end to end."""
    count = min(WINDOWS_MAX, -(-int(TEST_SHARE * length) // HORIZON))
    return length - 1 - HORIZON * np.arange(count, 0, -1)


def mase(rows: FloatArray, origins: IntArray, median: FloatArray, actual: FloatArray) -> float:
    """rows [T, S]; median and actual [n, S, H]."""
    steps = np.abs(rows[SEASON:] - rows[:-SEASON])
    scale = np.stack([steps[: origin + 1 - SEASON].mean(axis=0) for origin in origins.tolist()])  # [n, S]
    return float((np.abs(actual - median) / scale[:, :, None]).mean())


def crps(quantiles: FloatArray, actual: FloatArray) -> float:
    """quantiles [n, S, H, 9], actual [n, S, H]."""
    difference = actual[..., None] - quantiles
    loss = 2 * np.maximum(LEVELS * difference, (LEVELS - 1) * difference)
    return float((loss.sum(axis=(0, 1, 2)) / np.abs(actual).sum()).mean())


@dataclass(frozen=True)
class Learned:
    """What training made of the rows before the windows, with the calendar that its own held-out part preferred."""

    trained: Trained
    spec: StreamSpec
    calendar: str
    fit_s: float  # processor seconds, all calendars

    @property
    def method(self) -> dict[str, Any]:
        training = self.trained.bundle.manifest.training
        return {
            "model": self.trained.bundle.manifest.model,
            "calendar": self.calendar,
            "penalty": training.penalty,
            "prior": training.prior,
            "held_out_pinball": self.trained.verdict.candidate,
        }


def learn(data: Ett, model: Literal["ridge", "patch_mixer"]) -> Learned:
    """The calendar with the lower pinball on the newest part of the training rows. No test row is here."""
    before = data.rows[: window_origins(len(data.rows))[0] + 1]
    began = time.process_time()
    tried = {}
    for name, features in CALENDARS.items():
        spec = StreamSpec(
            topic="ett", freq="1h", context_length=CONTEXT, horizon=HORIZON, calendar=features, model=model
        )
        history = history_of(before, data.series, data.first_tick)
        tried[name] = (train(history, spec, version="benchmark", created_at=MADE_AT, device="cpu"), spec)
    best = min(tried, key=lambda name: tried[name][0].verdict.candidate)
    return Learned(*tried[best], best, time.process_time() - began)


def scores(data: Ett, learned: Learned) -> dict[str, dict[str, float]]:
    """MASE and CRPS of the model, of its median as a point, and of both naive forecasts (points: no spread)."""
    spec, bundle = learned.spec, learned.trained.bundle
    origins = window_origins(len(data.rows))
    windows = windows_of(data.rows, data.series, data.first_tick, spec)
    season = bundle.manifest.season
    began = time.process_time()
    first = int(origins[0])
    predictor = Predictor(spec, bundle, device="cpu")
    done = run(windows, predictor, season, first, int(origins[-1]) + 1, np.arange(len(windows)))
    picked = origins - first
    actual = done.targets[picked]  # [n, S, H]
    locations = actual[:, :, None] - done.residuals[picked]  # [n, S, 3, H]
    tables = Tables.of_facts(bundle.facts()).of(windows.series_ids)[:, Rung.MODEL]  # [S, H, Q]
    units = done.units[picked, :, Rung.MODEL]  # [n, S]
    quantiles = place(locations[:, :, Rung.MODEL], units[:, :, None], tables[None], windows.bounds[None, :, None])
    spent = time.process_time() - began
    name, median = f"tidecast {bundle.manifest.model}", quantiles[..., 4]
    found = {name: (median, quantiles), f"{name}, its median alone": (median, _alone(median))}
    for naive, rung in (("seasonal naive", Rung.SEASONAL_NAIVE), ("last value", Rung.LAST_VALUE)):
        found[naive] = (locations[:, :, rung], _alone(locations[:, :, rung]))
    table = {
        each: {"mase": mase(data.rows, origins, point, actual), "crps": crps(every, actual)}
        for each, (point, every) in found.items()
    }
    table[name] |= {"fit_s": learned.fit_s, "forecast_s": spent}
    return table


def _alone(point: FloatArray) -> FloatArray:
    """[n, S, H] → the same at every level, [n, S, H, 9]."""
    return np.repeat(point[..., None], len(LEVELS), axis=3)
