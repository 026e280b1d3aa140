"""Preparation by torch, on a GPU: the steps of compiled/preparation.c on whole arrays. Tests compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_core.batches import FILL_CODES
from model_core.libraries import Array
from model_core.model_inputs import ModelInputs, Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from model_core.torch_library import TorchLibrary

# A window that varies less than this share of its level (plus a trace) is constant: float32 resolves no more.
SCALE_FLOOR_SHARE, SCALE_FLOOR = 1e-6, 1e-12
COVARIATE_CLIP = 8.0  # standard deviations; an extreme covariate must not carry the forecast away
# Roughness of a window is log(rms step / standard deviation): 0.35 for white noise, -4 and less for a smooth trend.
ROUGHNESS_MIN, ROUGHNESS_MAX, ROUGHNESS_MIDDLE = -4.0, 1.0, 1.5
RECENT = 3  # newest observed cells that decide, together, whether a series left its distribution
OUTLIER_SCALES, SPREAD_RATIO_MAX, SPREAD_RATIO_MIN = 8.0, 5.0, 0.01


@dataclass(frozen=True)
class Scaled:
    """Targets as the model sees them, and by what they were centred and scaled. B windows, L context."""

    target: Array  # float32 [B, L]
    roughness: Array  # float32 [B]
    center: Array  # float64 [B]
    spread: Array  # float32 [B]
    floor: Array  # float32 [B], what the spread must exceed for the window not to be constant
    scale: Array  # float32 [B], the larger of both


def prepare_on(
    library: TorchLibrary,
    windows: Tensor,
    known: Tensor,
    center: Tensor,
    scale: Tensor,
    fill: Tensor,
    dates: Tensor,
    row: Tensor,
) -> Prepared:
    """Windows with at least one observed cell each → inputs on the device. `windows` to `fill` as in WindowBatch,
    `dates` and `row` calendar and calendar_row of ModelInputs."""
    raw, observed = windows[:, :, 0], library.xp.isfinite(windows[:, :, 0])
    scaled = scaled_targets(library, raw, observed, fill)
    first = windows.shape[2] - known.shape[2]
    inputs = ModelInputs(
        library,
        scaled.target,
        scaled.roughness,
        scaled_covariates(library, windows[:, :, 1:], center[:, 1:], scale[:, 1:]),
        scaled_covariates(library, known, center[:, first:], scale[:, first:]),
        dates,
        row,
    )
    suspicious = _suspicious(library, raw, observed, library.float64(scaled.spread), center[:, 0], scale[:, 0])
    constant = scaled.spread <= scaled.floor
    return Prepared(inputs, scaled.center, library.float64(scaled.scale), constant, suspicious)


def scaled_targets(library: TorchLibrary, raw: Array, observed: Array, fill: Array) -> Scaled:
    """Raw targets float32 [B, L], bool [B, L] which of them are observed, fill codes int [B]."""
    xp = library.xp
    filled = _fill(library, raw, observed, fill)
    # Shifted by one of its own values, a window keeps its digits: float32 would lose them on a high level.
    anchor = filled[:, -1:]
    shifted = filled - anchor
    count = library.float32(observed.sum(axis=1, keepdims=True).clip(min=1))
    mean = library.row_sum(xp.where(observed, shifted, 0.0))[:, None] / count
    deviation = shifted - mean
    spread = xp.sqrt(library.row_sum(xp.where(observed, xp.square(deviation), 0.0))[:, None] / count)
    floor = SCALE_FLOOR_SHARE * xp.abs(anchor + mean) + SCALE_FLOOR
    scale = xp.maximum(spread, floor)
    target = deviation / scale
    center = library.float64(anchor) + library.float64(mean)
    rough = _roughness(library, target, observed)
    return Scaled(target, rough, *(part[:, 0] for part in (center, spread, floor, scale)))


def scaled_covariates(library: TorchLibrary, values: Array, center: Array, scale: Array) -> Array:
    """float32 [B, T, V] → float32 [B, T, V] in running standard deviations, 0, the usual, where nothing is known.
    center and scale are float64 [B, V]."""
    xp = library.xp
    known = (scale > 0)[:, None]
    units = (library.float64(values) - center[:, None]) / xp.where(scale > 0, scale, 1.0)[:, None]
    clipped = units.clip(-COVARIATE_CLIP, COVARIATE_CLIP)
    return library.float32(xp.where(xp.isfinite(units) & known, clipped, 0.0))


def _fill(library: TorchLibrary, raw: Array, observed: Array, codes: Array) -> Array:
    """Holes of each row by its code; leading ones take the first observed value (zero: all take 0)."""
    xp, length = library.xp, raw.shape[1]
    position = library.constant(np.arange(length))
    before = library.running_max(xp.where(observed, position, -1))
    after = -xp.flip(library.running_max(xp.flip(xp.where(observed, -position, -length), (1,))), (1,))
    left, right = before.clip(min=0), after.clip(max=length - 1)
    left, right = xp.where(before < 0, right, left), xp.where(after >= length, left, right)
    start, end = library.take(raw, left), library.take(raw, right)
    share = library.float32(position - left) / library.float32((right - left).clip(min=1))
    code = codes[:, None]
    filled = xp.where(code == FILL_CODES["interpolate"], start + (end - start) * share, start)
    filled = xp.where(code == FILL_CODES["zero"], 0.0, filled)
    return xp.where(observed, raw, filled)


def _roughness(library: TorchLibrary, target: Array, observed: Array) -> Array:
    """How much a window moves from step to step for its spread; steps across holes do not count."""
    xp = library.xp
    steps, both = xp.square(target[:, 1:] - target[:, :-1]), observed[:, 1:] & observed[:, :-1]
    ratio = library.row_sum(xp.where(both, steps, 0.0)) / library.float32(both.sum(axis=1).clip(min=1))
    rough = (0.5 * xp.log(ratio + 1e-12)).clip(ROUGHNESS_MIN, ROUGHNESS_MAX)
    return (rough + ROUGHNESS_MIDDLE) / ROUGHNESS_MIDDLE


def _suspicious(
    library: TorchLibrary, raw: Array, observed: Array, spread: Array, center: Array, scale: Array
) -> Array:
    """Rows whose newest cells lie far outside the running scaler, or whose spread is not at all the running one."""
    xp = library.xp
    known = scale > 0  # an unknown scale says nothing
    safe = xp.where(known, scale, 1.0)
    count = xp.cumsum(observed, axis=1)
    older = ~observed | (count[:, -1:] - count >= RECENT)
    outlier = xp.abs(library.float64(raw) - center[:, None]) / safe[:, None] > OUTLIER_SCALES
    outside = (older | outlier).all(axis=1) & (count[:, -1] >= RECENT)
    ratio = spread / safe
    strange = (ratio > SPREAD_RATIO_MAX) | (ratio < SPREAD_RATIO_MIN)
    return known & (outside | strange)
