"""Abnormal windows: a candidate must answer them with numbers that stay near what it was shown."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from model_core.arrays import AnyArray
from model_core.batches import WindowBatch
from model_core.ladder import Reason, Rung
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows

SERIES_MAX = 64
SPIKE, SHIFT = 20.0, 5.0  # standard deviations of the window
SCALE = 10.0
MISSING_SHARE = 0.2
EXCURSION_MAX = 2.0  # ranges of the window that a forecast may lie outside of it
COVARIATE = 20.0  # standard deviations
RESPONSE_MIN = 0.1  # spreads of the window by which the forecast must move, somewhere in the horizon


@dataclass(frozen=True)
class Stressed:
    """`excursion`: how far the farthest forecast lies outside its window, in ranges of the window; NaN: not bounded."""

    name: str
    passed: bool
    windows: int
    excursion: float


def stress(windows: TrainingWindows, predictor: Predictor, season: int, origin: int, seed: int) -> list[Stressed]:
    """The candidate on altered windows at one origin (a row of the history)."""
    series = np.unique(np.linspace(0, len(windows) - 1, min(SERIES_MAX, len(windows))).astype(np.int64))
    whole = windows.batch(series, np.full(len(series), origin), season)
    own = whole.windows[:, :, 0]
    usable = np.isfinite(own).mean(axis=1) >= 1 - MISSING_SHARE / 4
    usable &= np.nanmax(np.where(np.isfinite(own), own, -np.inf), axis=1) > np.nanmin(
        np.where(np.isfinite(own), own, np.inf), axis=1
    )
    whole = whole.rows(np.flatnonzero(usable))
    rng = np.random.default_rng(seed)
    cases: dict[str, Callable[[AnyArray], AnyArray]] = {
        "spike": _spike,
        "level shift": _level_shift,
        "×10": lambda own: own * SCALE,
        "20 % missing": lambda own: _with_holes(own, rng),
        "flatline": _flatline,
    }
    found = [_answer(name, _with_target(whole, alter), predictor, bounded=True) for name, alter in cases.items()]
    if whole.windows.shape[2] > 1:
        found.append(_answer("a covariate at an extreme", _with_covariates(whole), predictor, bounded=False))
    return found


@dataclass(frozen=True)
class Response:
    """What becomes of forecasts when a covariate alone goes to an extreme: the middle one of many windows, by spreads
    of its window. `farthest`: at the step of the horizon where it moves most; `mean`: over all steps. Signs as declared
    in `monotone`: positive is right."""

    variable: str
    direction: str  # rising | falling
    windows: int
    farthest: float
    mean: float

    @property
    def passed(self) -> bool:
        return not self.windows or (self.farthest >= RESPONSE_MIN and self.mean > 0)


def responses(windows: TrainingWindows, predictor: Predictor, season: int, origin: int) -> list[Response]:
    """The response to each covariate that the stream declares monotone, at one origin (a row of the history)."""
    spec = windows.spec
    series = np.unique(np.linspace(0, len(windows) - 1, min(SERIES_MAX, len(windows))).astype(np.int64))
    usual = windows.batch(series, np.full(len(series), origin), season)
    every = spec.past_covariates + spec.future_covariates
    found = []
    for variable, direction in spec.monotone.items():
        column = every.index(variable)
        extreme = usual.center[:, 1 + column] + COVARIATE * np.maximum(usual.scale[:, 1 + column], 1e-6)
        altered = with_covariate(usual, spec, variable, extreme)
        both = [predictor.raw(batch).locations[:, Rung.MODEL] for batch in (usual, altered)]
        own = usual.windows[:, :, 0].astype(np.float64)
        there = np.isfinite(both).all(axis=(0, 2)) & (np.isfinite(own).sum(axis=1) > 1)
        there &= np.isfinite(usual.windows[:, -1, 1 + column]) | (usual.scale[:, 1 + column] > 0)
        if not there.any():
            found.append(Response(variable, direction, 0, 0.0, 0.0))
            continue
        moved = (both[1] - both[0])[there] / np.maximum(np.nanstd(own[there], axis=1), 1e-12)[:, None]
        middle = np.median(moved, axis=0) * (1.0 if direction == "rising" else -1.0)  # [H]
        found.append(Response(variable, direction, int(there.sum()), float(middle.max()), float(middle.mean())))
    return found


def with_covariate(batch: WindowBatch, spec: StreamSpec, variable: str, value: AnyArray | float) -> WindowBatch:
    """The batch as if the newest cell of a covariate, and of a future one all that is known ahead, were `value` [B]."""
    every = spec.past_covariates + spec.future_covariates
    windows, known = batch.windows.copy(), batch.known.copy()
    windows[:, -1, 1 + every.index(variable)] = value
    if variable in spec.future_covariates:
        known[:, :, spec.future_covariates.index(variable)] = np.broadcast_to(value, len(batch))[:, None]
    return replace(batch, windows=windows, known=known)


def _answer(name: str, batch: WindowBatch, predictor: Predictor, *, bounded: bool) -> Stressed:
    if not len(batch):
        return Stressed(name, True, 0, float("nan"))
    raw = predictor.raw(batch)
    answers = raw.locations[:, Rung.MODEL]
    declined = np.isin(raw.reason, (Reason.TOO_MANY_HOLES, Reason.TOO_SHORT))  # the ladder answers those
    sound = bool(np.isfinite(answers[~declined]).all())
    own = batch.windows[:, :, 0]
    lowest, highest = np.nanmin(own, axis=1)[:, None], np.nanmax(own, axis=1)[:, None]
    outside = np.maximum(np.maximum(lowest - answers, answers - highest), 0.0) / np.maximum(highest - lowest, 1e-12)
    outside = outside[~declined]
    excursion = float(outside.max()) if outside.size and sound else 0.0 if sound else float("inf")
    passed = sound and (not bounded or excursion <= EXCURSION_MAX)
    return Stressed(name, bool(passed), len(batch), excursion if bounded else float("nan"))


def _with_target(batch: WindowBatch, alter: Callable[[AnyArray], AnyArray]) -> WindowBatch:
    windows = batch.windows.copy()
    windows[:, :, 0] = alter(windows[:, :, 0].astype(np.float64)).astype(np.float32)
    return replace(batch, windows=windows)


def _with_covariates(batch: WindowBatch) -> WindowBatch:
    """The newest cell of each covariate, and all that is known of the future, far from anything seen."""
    windows, known = batch.windows.copy(), batch.known.copy()
    extreme = batch.center[:, 1:] + COVARIATE * np.maximum(batch.scale[:, 1:], 1e-6)
    windows[:, -1, 1:] = extreme
    if known.shape[2]:
        known[...] = extreme[:, None, -known.shape[2] :]
    return replace(batch, windows=windows, known=known)


def _spike(own: AnyArray) -> AnyArray:
    own[:, -2] = np.nanmean(own, axis=1) + SPIKE * np.nanstd(own, axis=1)
    return own


def _level_shift(own: AnyArray) -> AnyArray:
    own[:, -max(1, own.shape[1] // 4) :] += SHIFT * np.nanstd(own, axis=1)[:, None]
    return own


def _flatline(own: AnyArray) -> AnyArray:
    half = own.shape[1] // 2
    own[:, half:] = own[:, half][:, None]
    return own


def _with_holes(own: AnyArray, rng: np.random.Generator) -> AnyArray:
    order = rng.random(own.shape).argsort(axis=1)
    own[order < int(MISSING_SHARE * own.shape[1])] = np.nan
    return own
