"""Ridge: one linear map from the window to all horizons, shared by every series of the stream.

Inputs are the window, the window's newest part times its roughness (so that one map serves smooth and rough series:
pinball -8 % on UCI 374), the covariates' windows, and for each horizon the calendar and the known covariates of its
target tick. Fitting is in ridge_fit.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray
from model_core.errors import CorruptBundle
from model_core.libraries import Array, Library
from model_core.preparation import ModelInputs

ROUGH_LAGS = 36  # newest cells that roughness interacts with
WINDOW_WEIGHT, TARGET_WEIGHT = "ridge.window", "ridge.target"


def window_width(length: int, covariates: int) -> int:
    """Columns of `window_features`."""
    return 2 + length + min(length, ROUGH_LAGS) + covariates * length


def window_features(inputs: ModelInputs) -> Array:
    """float32 [B, 2 + L + R + C·L]: one, roughness, the target, its newest R cells times roughness, covariates."""
    target, rough = inputs.target, inputs.roughness[:, None]
    recent = target[:, -min(target.shape[1], ROUGH_LAGS) :]
    xp, (_, length, covariates) = inputs.library.xp, inputs.covariates.shape
    past = xp.swapaxes(inputs.covariates, 1, 2).reshape(len(target), covariates * length)
    return xp.concatenate([xp.ones_like(rough), rough, target, recent * rough, past], axis=1)


def target_features(inputs: ModelInputs) -> Array:
    """float32 [B, H, K + F]: calendar and known covariates of each target tick."""
    return inputs.library.xp.concatenate([inputs.calendar[inputs.calendar_row], inputs.known], axis=2)


@dataclass(frozen=True)
class Ridge:
    """The fitted map."""

    window: Array  # float32 [2 + L + R + C·L, H]
    target: Array  # float32 [K + F, H]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray], library: Library) -> "Ridge":
        """CorruptBundle when a weight is missing or not finite."""
        weights = []
        for name in (WINDOW_WEIGHT, TARGET_WEIGHT):
            weight = tensors.get(name)
            if weight is None or weight.dtype != np.float32 or weight.ndim != 2 or not np.isfinite(weight).all():
                raise CorruptBundle(f"ridge needs finite float32 weights {name} of two dimensions; train again")
            weights.append(library.array(weight.copy()))
        return cls(*weights)

    def __call__(self, inputs: ModelInputs) -> Array:
        """float32 [B, H]."""
        outputs = inputs.product(window_features(inputs), self.window)
        # The calendar is the same for all windows of an origin; adding column by column keeps a row's bytes its own.
        dates = inputs.library.array(np.zeros(inputs.calendar.shape[:2], np.float32))
        for column in range(inputs.calendar.shape[2]):
            dates = dates + inputs.calendar[:, :, column] * self.target[column]
        outputs = outputs + dates[inputs.calendar_row]
        for column in range(inputs.known.shape[2]):
            outputs = outputs + inputs.known[:, :, column] * self.target[inputs.calendar.shape[2] + column]
        return outputs
