"""tidecast's ridge on the protocol: fitted on the training part, refitted by rule, refitted weekly from its sums.

Sums, choice and weights are the product's own (model_core/ridge_training.py), forecasts are the worker's predictor's.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.protocol import (
    SEASON,
    TRAIN_END,
    VALIDATION_END,
    Errors,
    Sealed,
    judged_origins,
    train_origins,
    validation_origins,
)
from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.bundle import BASE, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.dataset import TrainingWindows
from model_core.ladder import Rung
from model_core.models.ridge_fit import Sums
from model_core.predictor import Predictor
from model_core.ridge_training import Choice, RidgeTraining
from model_core.spec import StreamSpec

WEEK = 7 * 24
CHUNK = 128  # origins that are forecast together
MADE_AT = "2026-01-01T00:00:00Z"  # a model of a benchmark is the same whenever it was made


@dataclass(frozen=True)
class Fitted:
    """What was learned from the training part, and what the validation part chose."""

    sums: Sums
    choice: Choice
    tensors: dict[str, AnyArray]
    fit_s: float  # processor seconds of the sums, the choice and the weights

    @property
    def method(self) -> dict[str, object]:
        """What is saved before the test part is opened."""
        digest = hashlib.sha256(b"".join(self.tensors[name].tobytes() for name in sorted(self.tensors)))
        choice = self.choice
        return {
            "model": "ridge",
            "penalty": choice.penalty,
            "prior": choice.prior,
            "lags": choice.lags,
            "weights_sha256": digest.hexdigest(),
            "operational": "the same penalty, prior and lags; once with all windows complete before the test part, and "
            "every 168 hours with all that are complete then",
        }


def trainer(windows: TrainingWindows) -> RidgeTraining:
    """The protocol judges by squared error of the z-score. Its unit is the same for all spans: their sums add up.

    No constants: what seven series did on average in one year is no drift to go by for a month ahead.
    """
    return RidgeTraining(windows, SEASON, windows.ticks, squared=True, constants=False, spreads=np.ones(len(windows)))


def fit(sealed: Sealed, horizon: int) -> Fitted:
    """Sums of the training part alone, the choice by squared error on the validation part. The test part is closed."""
    began = time.process_time()
    ridge = trainer(sealed.windows(sealed.train, horizon))
    sums = ridge.sums(*train_origins(horizon))
    judge = trainer(sealed.windows(sealed.before_test, horizon))
    choice = judge.choose(sums, *validation_origins(horizon))
    return Fitted(sums, choice, ridge.solve(sums, choice), time.process_time() - began)


@dataclass(frozen=True)
class Served:
    """Errors of each rung's forecasts, and what they cost."""

    model: Errors
    seasonal_naive: Errors
    last_value: Errors
    forecast_s: float  # processor seconds, of all windows


def serve(
    windows: TrainingWindows, tensors: dict[str, AnyArray], first: int, last: int, season: int = SEASON
) -> Served:
    """Every series at the origins of rows [first, last), by the worker's predictor."""
    predictor = Predictor(windows.spec, bundle_of(windows.spec, tensors, season), device="cpu")
    parts: dict[Rung, list[Errors]] = {rung: [] for rung in (Rung.MODEL, Rung.SEASONAL_NAIVE, Rung.LAST_VALUE)}
    spent = 0.0
    for start in range(first, last, CHUNK):
        origins = np.arange(start, min(start + CHUNK, last))
        series, at = grid(len(windows), origins)
        batch, actual = windows.batch(series, at, season), windows.targets(series, at)
        began = time.process_time()
        locations = predictor.raw(batch).locations
        spent += time.process_time() - began
        shape = (len(origins), len(windows), windows.spec.horizon)
        for rung, errors in parts.items():
            errors.append(Errors.of(origins, locations[:, rung].reshape(shape), actual.reshape(shape)))
    return Served(*(Errors.joined(errors) for errors in parts.values()), spent)


def refit_once(sealed: Sealed, fitted: Fitted, rows: FloatArray, horizon: int) -> tuple[Errors, float]:
    """Train and validation part together, penalty, prior and lags as chosen. (errors, processor seconds to refit)."""
    began = time.process_time()
    ridge = trainer(sealed.windows(sealed.before_test, horizon))
    sums = fitted.sums + ridge.sums(TRAIN_END - horizon, VALIDATION_END - horizon)
    tensors = ridge.solve(sums, fitted.choice)
    spent = time.process_time() - began
    return serve(sealed.windows(rows, horizon), tensors, *judged_origins(horizon)).model, spent


def refit_weekly(sealed: Sealed, fitted: Fitted, rows: FloatArray, horizon: int) -> tuple[Errors, float]:
    """Every week what has become complete is added to the sums. (errors, processor seconds of one refit)."""
    sums, known = fitted.sums, TRAIN_END - horizon  # the first origin that is not in the sums
    first, last = judged_origins(horizon)
    parts, spent = [], 0.0
    weeks = range(first, last, WEEK)
    for now in weeks:
        began = time.process_time()
        seen = rows[: now + 1]  # the cell at the origin is the newest
        ridge = trainer(sealed.windows(seen, horizon))
        sums = sums + ridge.sums(known, len(seen) - horizon)
        known = len(seen) - horizon
        tensors = ridge.solve(sums, fitted.choice)
        spent += time.process_time() - began
        # The forecasts of this week; actual values are looked up, not learned from.
        ahead = sealed.windows(rows[: min(now + WEEK, last) + horizon], horizon)
        parts.append(serve(ahead, tensors, now, min(now + WEEK, last)).model)
    return Errors.joined(parts), spent / len(weeks)


class ShuffledTargets(TrainingWindows):
    """Windows that are followed by what followed another one: what a model learns from them must be nothing.

    Moved to the level of the window: that a series returns to its mean would be left to learn otherwise.
    """

    def shuffle(self, first: int, last: int, rng: np.random.Generator) -> None:
        self._origin = np.arange(self.ticks)
        self._origin[first:last] = rng.permutation(self._origin[first:last])
        self._means = window_mean(self.target_cells().T.astype(np.float64), self.spec.context_length).T  # [S, ticks]

    def targets(self, series: IntArray, origins: IntArray) -> FloatArray:
        other = self._origin[origins]
        moved = self._means[series, origins] - self._means[series, other]
        return super().targets(series, other) + moved[:, None]


def grid(series: int, origins: IntArray) -> tuple[IntArray, IntArray]:
    """(series [n · S], origins [n · S]), origin by origin."""
    return np.tile(np.arange(series), len(origins)), np.repeat(origins, series)


def window_means(rows: FloatArray, horizon: int, first: int, last: int, length: int) -> Errors:
    """The forecast that needs no skill at all: each window's own mean."""
    origins = np.arange(first, last)
    actual = np.stack([rows[origins + h] for h in range(1, horizon + 1)], axis=2)
    return Errors.of(origins, window_mean(rows, length)[origins][:, :, None], actual)


def window_mean(rows: FloatArray, length: int) -> FloatArray:
    """rows [T, S] → mean of the `length` rows that end at each, NaN where there are fewer."""
    sums = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(axis=0)])
    means = np.full(rows.shape, np.nan)
    means[length - 1 :] = (sums[length:] - sums[:-length]) / length
    return means


def bundle_of(spec: StreamSpec, tensors: dict[str, AnyArray], season: int) -> Bundle:
    facts = ModelFacts.none(spec)
    return Bundle.sealed(
        {BASE: facts.base, SERIES_TABLES: facts.series_tables} | tensors,
        model="ridge",
        version="benchmark",
        created_at=MADE_AT,
        **Manifest.of_stream(spec),
        season=season,
        season_found=True,
        cusum_threshold=20.0,
        false_alarms_per_million=None,
        series=(),
        training=Training(),
    )
