"""What the predictor takes and returns: one forecast batch as arrays. B windows, L context, H horizon, C covariates."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import BoolArray, CodeArray, FloatArray, IntArray


@dataclass(frozen=True)
class WindowBatch:
    """Raw windows as they stood at their origins. No row depends on another.

    Column 0 is the target, then the past covariates, then the future covariates, in the order of the spec.
    """

    windows: FloatArray  # float32 [B, L, 1 + C], NaN where a cell is missing
    known: FloatArray  # float32 [B, H, F], future covariates of the target ticks, NaN where unknown; F may be 0
    season: FloatArray  # float32 [B, m], the last season of the target (oldest first), NaN where missing
    origins: IntArray  # int64 [B], ticks
    center: FloatArray  # float64 [B, 1 + C], running mean of the incremental scaler at the origin
    scale: FloatArray  # float64 [B, 1 + C], its running standard deviation; 0 where it is not known yet
    level: FloatArray  # float64 [B], exponentially weighted level of the target
    fill: CodeArray  # int8 [B], FILL_CODES of the target
    readings: IntArray  # int64 [B], observed cells of the series so far

    def __len__(self) -> int:
        return len(self.origins)

    @staticmethod
    def concatenate(parts: "list[WindowBatch]") -> "WindowBatch":
        if len(parts) == 1:
            return parts[0]
        names = WindowBatch.__dataclass_fields__
        return WindowBatch(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def contiguous(self) -> "WindowBatch":
        """The same, each array one run of memory, as compiled kernels read it."""
        arrays = {name: getattr(self, name) for name in WindowBatch.__dataclass_fields__}
        if all(array.flags.c_contiguous for array in arrays.values()):
            return self
        return WindowBatch(**{name: np.ascontiguousarray(array) for name, array in arrays.items()})

    def rows(self, index: "IntArray | slice") -> "WindowBatch":
        return WindowBatch(**{name: getattr(self, name)[index] for name in WindowBatch.__dataclass_fields__})


@dataclass(frozen=True)
class RawForecast:
    """Uncalibrated answers for a WindowBatch: everything that does not depend on calibration.

    `locations[:, r]` is rung r's forecast of the centre, in the units of the target.
    """

    locations: FloatArray  # float64 [B, RUNGS, H], NaN where that rung cannot answer
    reason: CodeArray  # int8 [B], why the model does not answer (Reason), Reason.OK where it does
    observed_share: FloatArray  # float32 [B], share of the context that was observed
    suspicious: BoolArray  # bool [B], out of distribution at this origin (hysteresis is the ladder's)
    # float64 [B, H, G]: the model's own distribution at fine_levels, NaN in the rows of which it has none (then
    # residual tables count); None where the model never has any.
    own: FloatArray | None = None

    @staticmethod
    def concatenate(parts: "list[RawForecast]") -> "RawForecast":
        if len(parts) == 1:
            return parts[0]
        names = RawForecast.__dataclass_fields__
        columns: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in names}
        if all(own is None for own in columns["own"]):
            return RawForecast(**{name: np.concatenate(column) for name, column in columns.items() if name != "own"})
        shape = next(own.shape[1:] for own in columns["own"] if own is not None)
        columns["own"] = [np.full((len(p.reason), *shape), np.nan) if p.own is None else p.own for p in parts]
        return RawForecast(**{name: np.concatenate(column) for name, column in columns.items()})

    def rows(self, index: "IntArray | slice") -> "RawForecast":
        taken: dict[str, Any] = {name: getattr(self, name) for name in RawForecast.__dataclass_fields__}
        taken = {name: None if column is None else column[index] for name, column in taken.items()}
        return RawForecast(**taken)


FILL_CODES = {"forward": 0, "interpolate": 1, "zero": 2}
