"""The exported forecast: everything from raw windows to the published quantiles, as one torch module.

Inside are the filling of holes, the window's own centring and scaling, the model, and the head that makes quantiles of
its answer: residual tables, rising levels, bounds, whole numbers for counts. What a worker has learned about a series
since training (its unit and offsets) is an input, so that an exported forecast has the published intervals. The
calendar is an input too, because a graph cannot know time zones and holidays.

The ladder stays outside: when the model is not asked (too few readings, holes, out of distribution), and what answers
instead. A row without an observed cell, or with cells whose squares exceed float32, answers NaN.
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
from model_core.models import build_demand, build_model
from model_core.models.intermittent import fine_levels
from model_core.preparation_torch import scaled_covariates, scaled_targets
from model_core.quantiles import Levels
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary

BATCH = "batch"
LEVEL_MIN = 0.01  # as in compiled/demand.h
WHOLE_DUST = 1e-6  # of a count, relative: what float32 offsets leave on a whole number


class ExportLibrary(TorchLibrary):
    """Torch, without functions that other runtimes lack."""

    def running_max(self, array: Tensor) -> Tensor:
        """The running maximum, by doubling, because ONNX has no cumulative maximum."""
        reach = 1
        while reach < array.shape[1]:
            array = torch.cat([array[:, :reach], torch.maximum(array[:, reach:], array[:, :-reach])], dim=1)
            reach *= 2
        return array


class ExportedForecast(torch.nn.Module):
    """B windows, L context, H horizon, Q levels, K scored horizons, C covariates (past, then future), F of them future,
    D columns of the calendar, N series with a table of their own."""

    levels: Tensor  # float64 [Q]
    fine_levels: Tensor  # float64 [G]: of a model's own distribution of demand
    tables: Tensor  # float64 [1 + N, H, Q]
    spread: Tensor  # float64 [1 + N, H, 1]
    bucket: Tensor  # int64 [H], one of K

    def __init__(self, spec: StreamSpec, bundle: Bundle, device: str = "cpu") -> None:
        """LayoutMismatch when the model was trained for other shapes, CorruptBundle when its weights are unusable."""
        super().__init__()
        misfit = bundle.misfit(spec)
        if misfit:
            raise LayoutMismatch(misfit)
        levels = Levels(spec)
        self._library = ExportLibrary(device)
        self._model: Any = build_model(bundle.manifest.model, bundle.tensors, self._library)
        self._future = len(spec.future_covariates)
        self._whole = spec.aggregate == "count"
        self._demand = spec.is_demand
        self._intermittent = build_demand(bundle.manifest.model, bundle.tensors, spec, self._library)
        tables = np.concatenate([bundle.tensors[BASE][Rung.MODEL][None], bundle.tensors[SERIES_TABLES]])
        self.register_buffer("levels", torch.from_numpy(levels.levels))
        self.register_buffer("fine_levels", torch.from_numpy(fine_levels(spec.quantile_levels)))
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
        phase: Tensor | None = None,
        mean_factor: Tensor | None = None,
        calendar: Tensor | None = None,
        known: Tensor | None = None,
        covariate_center: Tensor | None = None,
        covariate_scale: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Inputs as in export_inputs.INPUTS → quantiles float32 [B, Q, H]; for demand also the mean, float32 [B, H]."""
        location = self._location(window, fill, calendar, known, covariate_center, covariate_scale)
        offset = offsets.double()[:, self.bucket]  # [B, H, Q]
        if self._demand:
            return self._of_demand(window, location, unit, offset, base_row, bounds, phase, mean_factor)
        table = self.tables[base_row] + self.spread[base_row] * offset
        quantiles = self._rising(location[:, :, None] + unit[:, None, None] * table)
        return (_within(quantiles, bounds[:, :1, None], bounds[:, 1:, None]).float().transpose(1, 2),)

    def _of_demand(
        self,
        window: Tensor,
        location: Tensor,
        unit: Tensor,
        offset: Tensor,
        base_row: Tensor,
        bounds: Tensor,
        phase: Tensor | None,
        mean_factor: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """(quantiles, mean): tables and distributions are asked at moved levels, as compiled/issue.c does."""
        asked = (self.levels + offset).clamp(LEVEL_MIN, 1 - LEVEL_MIN)  # [B, H, Q]
        below = torch.ones_like(unit) if self._whole else unit
        lower, upper = bounds[:, :1, None], bounds[:, 1:, None]
        quantiles = location[:, :, None] + unit[:, None, None] * _at_levels(self.tables[base_row], self.levels, asked)
        mean = location
        if self._intermittent is not None and phase is not None:
            made = self._intermittent.beside(self._intermittent(window[:, :, 0], phase, location.shape[1]), location)
            own = _at_levels(made.quantiles, self.fine_levels, asked)
            own = torch.where(own < 0, lower + own * below[:, None, None], own)
            quantiles = torch.where(made.intermittent[:, :, None], own, quantiles)
            mean = made.mean
        latent = _within(self._rising(quantiles), lower - below[:, None, None], upper).float().double()
        mean = _within(mean, bounds[:, :1], bounds[:, 1:])
        if mean_factor is not None:
            mean = _within(mean * mean_factor[:, self.bucket], bounds[:, :1], bounds[:, 1:])
        if self._whole:
            latent, lower = _rounded_up(latent), _rounded_up(lower)
        return torch.maximum(latent, lower).float().transpose(1, 2), mean.float()

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


def _within(values: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, lower), upper)


def _rounded_up(values: Tensor) -> Tensor:
    return torch.ceil(values - WHOLE_DUST * values.abs().clamp(min=1.0)) + 0.0


def _at_levels(table: Tensor, levels: Tensor, asked: Tensor) -> Tensor:
    """Values of tables [B, H, G] at levels [B, H, Q], interpolated linearly."""
    if levels.shape[0] < 2:
        return table.expand(asked.shape)
    right = 1 + (asked[..., None] > levels[1:-1]).sum(dim=-1)  # [B, H, Q]
    share = (asked - levels[right - 1]) / (levels[right] - levels[right - 1])
    low, high = table.gather(2, right - 1), table.gather(2, right)
    return low + share * (high - low)


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
