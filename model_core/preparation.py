"""Raw windows → what a model sees: filled, centred and scaled.

Targets are centred and scaled by the window's own observed mean and standard deviation, covariates by the incremental
scaler as it stood at the origin. No row depends on another one. compiled/preparation.c does it on the CPU, torch on a
GPU (preparation_torch.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.compiled import ARRAY, INT, Kernel, address
from model_core.grid import Calendar
from model_core.libraries import CPU
from model_core.model_inputs import ModelInputs, Prepared

_targets = Kernel("prepare_targets", [INT, INT, *[ARRAY] * 11])
_covariates = Kernel("prepare_covariates", [INT, INT, INT, INT, ARRAY, ARRAY, ARRAY, ARRAY])


def prepare(batch: WindowBatch, calendar: Calendar) -> Prepared:
    """Windows with at least one observed cell each → inputs on the CPU."""
    dates, row = dates_of(batch, calendar)
    batch = batch.contiguous()
    rows, length, width = batch.windows.shape
    target, roughness = np.empty((rows, length), np.float32), np.empty(rows, np.float32)
    center, scale = np.empty(rows), np.empty(rows)
    constant, suspicious = np.empty(rows, np.bool_), np.empty(rows, np.bool_)
    flags = [address(array.view(np.uint8), np.uint8) for array in (constant, suspicious)]
    work = np.empty(2 * length, np.float32)
    _targets(
        rows,
        length,
        width,
        address(batch.windows, np.float32),
        address(batch.center, np.float64),
        address(batch.scale, np.float64),
        address(batch.fill, np.int8),
        address(target, np.float32),
        address(roughness, np.float32),
        address(center, np.float64),
        address(scale, np.float64),
        *flags,
        address(work, np.float32),
    )
    covariates, known = _scaled(batch, batch.windows, width - 1), _scaled(batch, batch.known)
    inputs = ModelInputs(CPU, target, roughness, covariates, known, dates, row)
    return Prepared(inputs, center, scale, constant, suspicious)


def with_dates(prepared: Prepared, batch: WindowBatch, calendar: Calendar) -> Prepared:
    """As if the same windows had been prepared for a model with another calendar: nothing else is a model's own."""
    dates, row = dates_of(batch, calendar)
    return replace(prepared, inputs=replace(prepared.inputs, calendar=dates, calendar_row=row))


def _scaled(batch: WindowBatch, values: FloatArray, kept: int | None = None) -> FloatArray:
    """Of values [B, T, V] the last `kept` (all of them if not given) in running standard deviations."""
    rows, ticks, width = values.shape
    kept = width if kept is None else kept
    scaled = np.empty((rows, ticks, kept), np.float32)
    if kept:
        _covariates(
            rows,
            ticks,
            width,
            kept,
            batch.center.shape[1],
            address(values, np.float32),
            address(batch.center, np.float64),
            address(batch.scale, np.float64),
            address(scaled, np.float32),
        )
    return scaled


def dates_of(batch: WindowBatch, calendar: Calendar) -> tuple[FloatArray, IntArray]:
    """(float32 [U, H, K] calendar of the targets of the distinct origins, int64 [B] which of them a window has)."""
    horizon, first = batch.known.shape[1], batch.origins[0]
    if (batch.origins == first).all():  # as most often
        origins, row = [int(first)], np.zeros(len(batch), np.int64)
    else:
        distinct, row = np.unique(batch.origins, return_inverse=True)
        origins, row = distinct.tolist(), row.reshape(-1)
    return np.stack([calendar.after(origin, horizon) for origin in origins]), row
