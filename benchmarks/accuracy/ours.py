"""tidecast's models on the protocol: fitted on the training part, refitted by rule, refitted weekly from sums.

Sums, choice and weights are the product's own (model_core/training/ridge.py), forecasts are the worker's predictor's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.protocol import (
    CONTEXT,
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
from model_core.ladder import Rung
from model_core.models import PATCH_MIXER, RIDGE
from model_core.models.patch_mixer import MIDDLE
from model_core.models.ridge_fit import Sums
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.mixer import fit_mixer
from model_core.training.ridge import Choice, RidgeTraining
from model_core.training.train import NETWORK_GAIN_MIN

WEEK = 7 * 24
HALF_LIVES_DAYS = (None, 360, 180, 90)  # at which windows may count half in weekly refits; the validation part chooses
NETWORK_SEED = 0
CHUNK = 128  # origins that are forecast together
MADE_AT = "2026-01-01T00:00:00Z"  # a model of a benchmark is the same whenever it was made


@dataclass(frozen=True)
class Fitted:
    """What was learned from the training part, and what the validation part chose."""

    sums: Sums
    choice: Choice
    tensors: dict[str, AnyArray]
    fit_s: float  # processor seconds of the sums, the choice and the weights
    constants: bool

    @property
    def loss(self) -> float:
        """Squared error on the validation part."""
        return self.choice.losses[self.choice.penalty, self.choice.prior, self.choice.lags]

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


def trainer(windows: TrainingWindows, *, constants: bool = False) -> RidgeTraining:
    """The protocol judges by squared error of the z-score. Its unit is the same for all spans: their sums add up.

    No constants, as in the literature: what seven series did on average in one year is no drift to go by for a month
    ahead. What comes of leaving that to the validation part as well is shown beside it.
    """
    ones = np.ones(len(windows))
    return RidgeTraining(windows, SEASON, windows.ticks, squared=True, constants=constants, spreads=ones)


def fit(sealed: Sealed, horizon: int, *, constants: bool = False) -> Fitted:
    """Sums of the training part alone, the choice by squared error on the validation part. The test part is closed."""
    began = time.process_time()
    ridge = trainer(sealed.windows(sealed.train, horizon), constants=constants)
    sums = ridge.sums(*train_origins(horizon))
    judge = trainer(sealed.windows(sealed.before_test, horizon), constants=constants)
    choice = judge.choose(sums, *validation_origins(horizon))
    return Fitted(sums, choice, ridge.solve(sums, choice), time.process_time() - began, constants)


@dataclass(frozen=True)
class Network:
    """The patch mixer on top of the ridge that was chosen."""

    tensors: dict[str, AnyArray]
    fit_s: float  # processor seconds, without those of the ridge
    validation: dict[str, dict[str, float]]  # model → {"mse": …, "mae": …} on the validation part

    @property
    def taken(self) -> bool:
        """What `model = "auto"` would say, by the product's rule."""
        return self.validation[PATCH_MIXER]["mae"] < (1.0 - NETWORK_GAIN_MIN) * self.validation[RIDGE]["mae"]

    @property
    def by_squares(self) -> str:
        """The model that has the smaller squared error there, as the protocol judges."""
        return min(self.validation, key=lambda name: self.validation[name]["mse"])

    @property
    def method(self) -> dict[str, object]:
        digest = hashlib.sha256(b"".join(self.tensors[name].tobytes() for name in sorted(self.tensors)))
        return {
            "model": PATCH_MIXER,
            "seed": NETWORK_SEED,
            "weights_sha256": digest.hexdigest(),
            "auto": self.taken,
            "by_squares": self.by_squares,
        }


def fit_network(sealed: Sealed, fitted: Fitted, horizon: int) -> Network:
    """The product's recipe, on the windows that ridge was fitted to. The test part is closed."""
    began = time.process_time()
    windows = sealed.windows(sealed.train, horizon)
    network = fit_mixer(windows, fitted.tensors, SEASON, train_origins(horizon), NETWORK_SEED)
    spent = time.process_time() - began
    tensors, judged = fitted.tensors | network, sealed.windows(sealed.before_test, horizon)
    validation = {}
    for name, weights in ((RIDGE, fitted.tensors), (PATCH_MIXER, tensors)):
        errors = serve(judged, weights, *validation_origins(horizon)).model
        validation[name] = {"mse": errors.mse, "mae": errors.mae}
    return Network(tensors, spent, validation)


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


def refit_once(
    sealed: Sealed, fitted: Fitted, rows: FloatArray, horizon: int
) -> tuple[Errors, float, dict[str, AnyArray]]:
    """Train and validation part together, penalty, prior and lags as chosen.

    (errors, processor seconds to refit, weights).
    """
    began = time.process_time()
    ridge = trainer(sealed.windows(sealed.before_test, horizon), constants=fitted.constants)
    sums = fitted.sums + ridge.sums(TRAIN_END - horizon, VALIDATION_END - horizon)
    tensors = ridge.solve(sums, fitted.choice)
    spent = time.process_time() - began
    return serve(sealed.windows(rows, horizon), tensors, *judged_origins(horizon)).model, spent, tensors


def refit_network(sealed: Sealed, ridge: dict[str, AnyArray], rows: FloatArray, horizon: int) -> tuple[Errors, float]:
    """A network anew on train and validation part, on top of the ridge that was refitted. (errors, seconds to fit)."""
    began = time.process_time()
    windows = sealed.windows(sealed.before_test, horizon)
    network = fit_mixer(windows, ridge, SEASON, (CONTEXT - 1, VALIDATION_END - horizon), NETWORK_SEED)
    spent = time.process_time() - began
    return serve(sealed.windows(rows, horizon), ridge | network, *judged_origins(horizon)).model, spent


def choose_half_life(sealed: Sealed, fitted: Fitted, horizon: int) -> tuple[int | None, dict[int | None, float]]:
    """Weekly refits through the validation part: (the best of HALF_LIVES_DAYS there, the MSE of each)."""
    span = validation_origins(horizon)
    losses = {
        days: refit_weekly(sealed, fitted, sealed.before_test, horizon, span=span, half_life_days=days)[0].mse
        for days in HALF_LIVES_DAYS
    }
    return min(losses, key=lambda days: losses[days]), losses


def refit_weekly(
    sealed: Sealed,
    fitted: Fitted,
    rows: FloatArray,
    horizon: int,
    *,
    span: tuple[int, int] | None = None,
    half_life_days: int | None = None,
) -> tuple[Errors, float]:
    """Every week what has become complete is added to the sums, which fade where there is a half-life.

    Forecasts are of the origins in rows [first, last) of `span`, else of the test part. (errors, processor seconds of
    one refit).
    """
    known = TRAIN_END - horizon  # the first origin that is not in the sums
    sums = fitted.sums
    if half_life_days is not None:
        older = sealed.windows(sealed.train, horizon, half_life_days)
        sums = trainer(older, constants=fitted.constants).sums(*train_origins(horizon))
    first, last = span or judged_origins(horizon)
    parts, spent = [], 0.0
    weeks = range(first, last, WEEK)
    for now in weeks:
        began = time.process_time()
        seen = rows[: now + 1]  # the cell at the origin is the newest
        ridge = trainer(sealed.windows(seen, horizon, half_life_days), constants=fitted.constants)
        complete = max(known, len(seen) - horizon)
        sums, known = ridge.grown(sums, known, complete), complete
        tensors = ridge.solve(sums, fitted.choice)
        spent += time.process_time() - began
        # The forecasts of this week; actual values are looked up, not learned from.
        ahead = sealed.windows(rows[: min(now + WEEK, last) + horizon], horizon)
        parts.append(serve(ahead, tensors, now, min(now + WEEK, last)).model)
    return Errors.joined(parts), spent / len(weeks)


def refit_weekly_together(sealed: Sealed, each: Sequence[Fitted], rows: FloatArray, horizon: int) -> Errors:
    """Weekly refits through the test part of several ridges, whose weights are averaged: served as one."""
    sums, known = [fitted.sums for fitted in each], TRAIN_END - horizon
    first, last = judged_origins(horizon)
    parts = []
    for now in range(first, last, WEEK):
        complete = max(known, now + 1 - horizon)
        windows, solved = sealed.windows(rows[: now + 1], horizon), []
        for number, fitted in enumerate(each):
            ridge = trainer(windows, constants=fitted.constants)
            sums[number] = ridge.grown(sums[number], known, complete)
            solved.append(ridge.solve(sums[number], fitted.choice))
        known = complete
        mean = {name: np.mean([tensors[name] for tensors in solved], axis=0) for name in solved[0]}
        ahead = sealed.windows(rows[: min(now + WEEK, last) + horizon], horizon)
        parts.append(serve(ahead, mean, now, min(now + WEEK, last)).model)
    return Errors.joined(parts)


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
        model=PATCH_MIXER if MIDDLE in tensors else RIDGE,
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
