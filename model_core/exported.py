"""What is exported: the whole way of a forecast from raw windows to the published quantiles, as one torch module.

Inside are the filling of holes, the window's own centring and scaling, the model, and the head that makes quantiles of
its answer: the residual tables, rising levels, bounds, whole numbers for counts. What a worker has learned of a series
since training (its unit and offsets) comes in as inputs, so that an exported forecast has the published intervals. The
calendar comes in too: no graph knows time zones and holidays.

Outside stays the ladder: when the model is not asked (readings, holes, out of distribution) and what answers instead.
A row without an observed cell, or with cells that float32 cannot square, answers NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray
from model_core.bundle import BASE, SERIES_TABLES, Bundle
from model_core.errors import LayoutMismatch
from model_core.export_inputs import ORDER
from model_core.ladder import Rung
from model_core.model_inputs import ModelInputs, Prepared
from model_core.models import build_model
from model_core.preparation_torch import scaled_covariates, scaled_targets
from model_core.quantiles import Levels
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary

BATCH = "batch"
WHOLE_DUST = 1e-6  # of a count, relative: what float32 offsets leave on a whole number


class ExportLibrary(TorchLibrary):
    """Torch without what other runtimes lack."""

    def running_max(self, array: Tensor) -> Tensor:
        """By doubling: ONNX has no cumulative maximum."""
        reach = 1
        while reach < array.shape[1]:
            array = torch.cat([array[:, :reach], torch.maximum(array[:, reach:], array[:, :-reach])], dim=1)
            reach *= 2
        return array


class ExportedForecast(torch.nn.Module):
    """B windows, L context, H horizon, Q levels, K scored horizons, C covariates (past, then future), F of them future,
    D columns of the calendar, N series with a table of their own."""

    tables: Tensor  # float64 [1 + N, H, Q]
    spread: Tensor  # float64 [1 + N, H, 1]
    bucket: Tensor  # int64 [H], one of K

    def __init__(self, spec: StreamSpec, bundle: Bundle, device: str = "cpu") -> None:
        """LayoutMismatch when the model was trained for other shapes, CorruptBundle when its weights are unusable."""
        super().__init__()
        misfit = bundle.manifest.misfit(spec)
        if misfit:
            raise LayoutMismatch(misfit)
        levels = Levels(spec)
        self._library = ExportLibrary(device)
        self._model: Any = build_model(bundle.manifest.model, bundle.tensors, self._library)
        self._future = len(spec.future_covariates)
        self._whole = spec.aggregate == "count"
        self._demand = spec.is_demand
        tables = np.concatenate([bundle.tensors[BASE][Rung.MODEL][None], bundle.tensors[SERIES_TABLES]])
        self.register_buffer("tables", torch.from_numpy(tables))
        self.register_buffer("spread", torch.from_numpy(levels.spread(tables)))
        self.register_buffer("bucket", torch.from_numpy(levels.bucket))
        self.to(device)

    def forward(
        self,
        window: Tensor,
        fill: Tensor,
        unit: Tensor,
        offsets: Tensor,
        base_row: Tensor,
        bounds: Tensor,
        calendar: Tensor | None = None,
        known: Tensor | None = None,
        covariate_center: Tensor | None = None,
        covariate_scale: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As export_inputs.INPUTS says → quantiles float32 [B, Q, H]; of demand also their mean, float32 [B, H]."""
        location = self._location(window, fill, calendar, known, covariate_center, covariate_scale)
        offset = offsets.double()[:, self.bucket]  # [B, H, Q]
        table = self.tables[base_row] + self.spread[base_row] * offset
        quantiles = self._rising(location[:, :, None] + unit[:, None, None] * table)
        lower, upper = bounds[:, :1, None], bounds[:, 1:, None]
        quantiles = torch.minimum(torch.maximum(quantiles, lower), upper)
        if self._whole:
            quantiles = torch.ceil(quantiles - WHOLE_DUST * quantiles.abs().clamp(min=1.0)) + 0.0
        published = quantiles.float().transpose(1, 2)
        if not self._demand:
            return (published,)
        return published, torch.minimum(torch.maximum(location, bounds[:, :1]), bounds[:, 1:]).float()

    def _location(
        self,
        window: Tensor,
        fill: Tensor,
        calendar: Tensor | None,
        known: Tensor | None,
        center: Tensor | None,
        scale: Tensor | None,
    ) -> Tensor:
        """float64 [B, H], in the units of the target."""
        library, rows = self._library, window.shape[0]
        raw = window[:, :, 0]
        horizon = self.tables.shape[1]
        scaled = scaled_targets(library, raw, torch.isfinite(raw), fill)
        past, ahead = window[:, :, 1:], window.new_zeros((rows, horizon, 0))
        if center is not None and scale is not None:
            past = scaled_covariates(library, past, center, scale)
            if known is not None:
                first = center.shape[1] - self._future
                ahead = scaled_covariates(library, known, center[:, first:], scale[:, first:])
        dates = window.new_zeros((rows, horizon, 0)) if calendar is None else calendar
        row = torch.arange(rows, device=window.device)
        inputs = ModelInputs(library, scaled.target, scaled.roughness, past, ahead, dates, row)
        prepared = Prepared(inputs, scaled.center, scaled.scale.double(), scaled.spread, scaled.spread)
        return prepared.inverse(self._model(inputs))

    @staticmethod
    def _rising(quantiles: Tensor) -> Tensor:
        """Each level at least the one before it, along the last axis."""
        levels = [quantiles[:, :, 0]]
        for level in range(1, quantiles.shape[2]):
            levels.append(torch.maximum(levels[-1], quantiles[:, :, level]))
        return torch.stack(levels, dim=2)


def as_tensors(inputs: Mapping[str, AnyArray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in ORDER if name in inputs}


def exported_program(module: ExportedForecast, inputs: Mapping[str, AnyArray]) -> torch.export.ExportedProgram:
    """The module as a graph, for batches of any size. `inputs`: an example of at least two rows."""
    batch = torch.export.Dim(BATCH)
    tensors = as_tensors(inputs)
    with torch.no_grad():
        return torch.export.export(
            module.eval(), (), kwargs=tensors, dynamic_shapes={name: {0: batch} for name in tensors}, strict=False
        )
