"""Raw windows → what a model sees: filled, centred and scaled. Torch, one code path for every device.

Targets are centred and scaled by the window's own observed mean and standard deviation, covariates by the incremental
scaler as it stood at the origin. No row looks at another one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.batches import FILL_CODES, WindowBatch
from model_core.grid import Calendar

# A window that varies less than this share of its level (plus a trace) is constant: float32 resolves no more.
SCALE_FLOOR_SHARE, SCALE_FLOOR = 1e-6, 1e-12
COVARIATE_CLIP = 8.0  # standard deviations; an extreme covariate must not carry the forecast away
# Roughness of a window is log(rms step / standard deviation): 0.35 for white noise, -4 and less for a smooth trend.
ROUGHNESS_MIN, ROUGHNESS_MAX, ROUGHNESS_MIDDLE = -4.0, 1.0, 1.5
RECENT = 3  # newest observed cells that decide, together, whether a series left its distribution
OUTLIER_SCALES, SPREAD_RATIO_MAX = 8.0, 5.0


@dataclass(frozen=True)
class ModelInputs:
    """What a model sees of B windows. L context, H horizon, C covariates (past, then future), F of them future."""

    target: Tensor  # float32 [B, L], filled, centred, scaled
    roughness: Tensor  # float32 [B], about -1 (smooth) to 1 (noise)
    covariates: Tensor  # float32 [B, L, C], scaled, 0 where missing
    known: Tensor  # float32 [B, H, F], future covariates of the target ticks, likewise
    calendar: Tensor  # float32 [U, H, K], calendar of the targets of each of U distinct origins
    calendar_row: Tensor  # int64 [B], which of them a window has
    block: int | None = None  # rows a matrix product has, of which B is a multiple; None: all at once

    def product(self, rows: Tensor, weights: Tensor) -> Tensor:
        """[B, N] @ [N, H]; in blocks, since libraries choose their order of summing by the shape of a product."""
        if self.block is None or len(rows) == self.block:
            return rows @ weights
        return torch.cat([rows[i : i + self.block] @ weights for i in range(0, len(rows), self.block)])


@dataclass(frozen=True)
class Prepared:
    """Inputs, and what leads back to the units of the target."""

    inputs: ModelInputs
    center: Tensor  # float64 [B]
    scale: Tensor  # float64 [B], floored: never 0
    constant: Tensor  # bool [B], the window did not vary
    suspicious: Tensor  # bool [B], out of distribution at this origin

    def inverse(self, outputs: Tensor) -> Tensor:
        """Model outputs float32 [B, H] → float64 [B, H] in the units of the target."""
        return self.center[:, None] + self.scale[:, None] * outputs.double()


def prepare(batch: WindowBatch, calendar: Calendar, device: torch.device, *, block: int | None = None) -> Prepared:
    """Windows with at least one observed cell each → inputs on the device; `block` as in ModelInputs."""
    raw = _tensor(batch.windows[:, :, 0], device)
    observed = torch.isfinite(raw)
    complete = bool(observed.all())
    filled = raw if complete else _fill(raw, observed, _tensor(batch.fill, device))
    # Shifted by one of its own values, a window keeps its digits: float32 would lose them on a high level.
    anchor = filled[:, -1:]
    shifted = filled - anchor
    seen = shifted if complete else torch.where(observed, shifted, 0.0)
    count = observed.sum(dim=1, keepdim=True).clamp(min=1)
    mean = seen.sum(dim=1, keepdim=True) / count
    deviation = shifted - mean
    squares = deviation.square() if complete else torch.where(observed, deviation.square(), 0.0)
    spread = (squares.sum(dim=1, keepdim=True) / count).sqrt()
    floor = SCALE_FLOOR_SHARE * (anchor + mean).abs() + SCALE_FLOOR
    scale = torch.maximum(spread, floor)
    target = deviation / scale
    center = (anchor.double() + mean.double())[:, 0]
    rows, origins = _distinct(batch.origins)
    ticks = origins[:, None] + np.arange(1, batch.known.shape[1] + 1)
    dates = calendar.matrix(ticks.reshape(-1)).reshape(*ticks.shape, -1)
    covariates, known = _scaled_covariates(batch, device)
    inputs = ModelInputs(
        target, _roughness(target, observed), covariates, known, _tensor(dates, device), _tensor(rows, device), block
    )
    suspicious = _suspicious(batch, raw, observed, complete, spread[:, 0].double())
    return Prepared(inputs, center, scale[:, 0].double(), (spread <= floor)[:, 0], suspicious)


def _fill(raw: Tensor, observed: Tensor, codes: Tensor) -> Tensor:
    """Holes of each row by its code; leading ones take the first observed value (zero: all take 0)."""
    length = raw.shape[1]
    position = torch.arange(length, device=raw.device).expand_as(raw)
    before = torch.where(observed, position, -1).cummax(dim=1).values
    after = torch.where(observed, position, length).flip(1).cummin(dim=1).values.flip(1)
    left, right = before.clamp(min=0), after.clamp(max=length - 1)
    left, right = torch.where(before < 0, right, left), torch.where(after >= length, left, right)
    start, end = raw.gather(1, left), raw.gather(1, right)
    share = (position - left) / (right - left).clamp(min=1)
    code = codes[:, None]
    filled = torch.where(code == FILL_CODES["interpolate"], start + (end - start) * share, start)
    filled = torch.where(code == FILL_CODES["zero"], torch.zeros_like(filled), filled)
    return torch.where(observed, raw, filled)


def _roughness(target: Tensor, observed: Tensor) -> Tensor:
    """How much a window moves from step to step for its spread; steps across holes do not count."""
    both = observed[:, 1:] & observed[:, :-1]
    steps = torch.where(both, (target[:, 1:] - target[:, :-1]).square(), 0.0)
    ratio = steps.sum(dim=1) / both.sum(dim=1).clamp(min=1)
    rough = (0.5 * torch.log(ratio + 1e-12)).clamp(ROUGHNESS_MIN, ROUGHNESS_MAX)
    return (rough + ROUGHNESS_MIDDLE) / ROUGHNESS_MIDDLE


def _scaled_covariates(batch: WindowBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """(float32 [B, L, C], float32 [B, H, F]) in running standard deviations; 0, the usual, where nothing is known."""
    future = batch.known.shape[2]
    first = batch.windows.shape[2] - future

    def scaled(values: FloatArray, center: FloatArray, scale: FloatArray) -> AnyArray:
        safe = np.where(scale > 0, scale, 1.0)[:, None]
        units = (values - center[:, None]) / safe
        usable = np.isfinite(units) & (scale > 0)[:, None]
        return np.where(usable, np.clip(units, -COVARIATE_CLIP, COVARIATE_CLIP), 0.0).astype(np.float32)

    past = scaled(batch.windows[:, :, 1:], batch.center[:, 1:], batch.scale[:, 1:])
    known = scaled(batch.known, batch.center[:, first:], batch.scale[:, first:])
    return _tensor(past, device), _tensor(known, device)


def _suspicious(batch: WindowBatch, raw: Tensor, observed: Tensor, complete: bool, spread: Tensor) -> Tensor:
    """Rows whose newest cells lie far outside the running scaler, or whose spread is not at all the running one."""
    center, scale = _tensor(batch.center[:, 0], raw.device), _tensor(batch.scale[:, 0], raw.device)
    known = scale > 0  # an unknown scale says nothing
    safe = torch.where(known, scale, 1.0)
    if complete:
        newest, enough = raw[:, -RECENT:], torch.ones_like(known)
    else:
        position = torch.arange(raw.shape[1], device=raw.device).expand_as(raw)
        recent = torch.where(observed, position, -1).topk(RECENT, dim=1).values
        newest, enough = raw.gather(1, recent.clamp(min=0)), (recent >= 0).all(dim=1)
    outside = ((newest.double() - center[:, None]).abs() / safe[:, None] > OUTLIER_SCALES).all(dim=1) & enough
    ratio = spread / safe
    strange = (ratio > SPREAD_RATIO_MAX) | (ratio < 1 / SPREAD_RATIO_MAX)
    return known & (outside | strange)


def _distinct(origins: IntArray) -> tuple[IntArray, IntArray]:
    """(row of each window, distinct origins): the windows of a batch share few origins."""
    distinct, rows = np.unique(origins, return_inverse=True)
    return rows.reshape(-1), distinct


def _tensor(array: AnyArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
