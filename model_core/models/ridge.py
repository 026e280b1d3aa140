"""Ridge: one linear map from the window to all horizons, shared by every series of the stream.

Inputs are the window, the window's newest part times its roughness (so that one map serves smooth and rough series:
pinball −8 % on UCI 374), the windows of the covariates, what is known of them ahead (rain that is forecast for tomorrow
morning is in the river by the evening), and for each horizon the calendar and the known covariates of its target tick.
Fitting is in ridge_fit.py.
"""

import ctypes
from collections.abc import Mapping

import numpy as np

from model_core.arrays import AnyArray
from model_core.compiled import ARRAY, INT, Kernel, address
from model_core.errors import CorruptBundle
from model_core.libraries import CPU, Array, Library
from model_core.model_inputs import ModelInputs

ROUGH_LAGS = 36  # newest cells that roughness interacts with
WINDOW_WEIGHT, TARGET_WEIGHT = "ridge.window", "ridge.target"
_LANES, _ROWS = 8, 4  # as in compiled/lanes.h
_UNLOCKED_FROM = 500_000  # multiplications, about 100 µs: worth letting others have the interpreter's lock
_answer = Kernel("ridge_answer", [*[ARRAY] * 6, INT, *[ARRAY] * 4])


def window_width(length: int, covariates: int, known: int = 0) -> int:
    """Columns of `window_features`; `known` cells ahead, H of each future covariate."""
    return 2 + length + min(length, ROUGH_LAGS) + covariates * length + known


def window_features(inputs: ModelInputs) -> Array:
    """float32 [B, 2 + L + R + C·L + F·H]: one, roughness, the target, its newest R cells times roughness, covariates,
    and what is known of them ahead."""
    target, rough = inputs.target, inputs.roughness[:, None]
    recent = target[:, -min(target.shape[1], ROUGH_LAGS) :]
    xp, (_, length, covariates) = inputs.library.xp, inputs.covariates.shape
    past = xp.swapaxes(inputs.covariates, 1, 2).reshape(target.shape[0], covariates * length)
    _, horizon, known = inputs.known.shape
    ahead = xp.swapaxes(inputs.known, 1, 2).reshape(target.shape[0], known * horizon)
    return xp.concatenate([xp.ones_like(rough), rough, target, recent * rough, past, ahead], axis=1)


def target_features(inputs: ModelInputs) -> Array:
    """float32 [B, H, K + F]: calendar and known covariates of each target tick."""
    return inputs.library.xp.concatenate([inputs.calendar[inputs.calendar_row], inputs.known], axis=2)


class Ridge:
    """The fitted map. On the CPU it is compiled/ridge.c."""

    def __init__(self, window: Array, target: Array) -> None:
        """`window` float32 [2 + L + R + C·L + F·H, H] and `target` float32 [K + F, H], on the device."""
        self.window = window
        self.target = target
        self._packed = packed(window) if isinstance(window, np.ndarray) else None

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
        if inputs.library is CPU:
            return self._compiled(inputs)
        outputs = window_features(inputs) @ self.window
        # The calendar is the same for all windows of an origin; adding column by column keeps a row's bytes its own.
        columns = range(inputs.calendar.shape[2])
        dates = [inputs.calendar[:, :, column] * self.target[column] for column in columns]
        if dates:
            outputs = outputs + sum(dates[1:], dates[0])[inputs.calendar_row]
        for column in range(inputs.known.shape[2]):
            outputs = outputs + inputs.known[:, :, column] * self.target[inputs.calendar.shape[2] + column]
        return outputs

    def _compiled(self, inputs: ModelInputs) -> AnyArray:
        assert self._packed is not None, "weights lie where the inputs do"
        rows, length = inputs.target.shape
        origins, horizon, calendar = inputs.calendar.shape
        known, covariates = inputs.known.shape[2], inputs.covariates.shape[2]
        recent = min(length, ROUGH_LAGS)
        width = window_width(length, covariates, known * horizon)
        if self.window.shape != (width, horizon) or self.target.shape != (calendar + known, horizon):
            raise ValueError(f"weights {tuple(self.window.shape)} and {tuple(self.target.shape)} do not fit the inputs")
        shape = _Shape(length, recent, covariates, horizon, calendar, known)
        shape.window_weights, shape.target_weights = (
            address(weights, np.float32) for weights in (self._packed, self.target)
        )
        out = np.empty((rows, horizon), np.float32)
        work = np.empty(origins * horizon + _ROWS * width, np.float32)
        dates = address(work, np.float32)
        given = (inputs.target, inputs.roughness, inputs.covariates, inputs.known, inputs.calendar)
        call = _answer.unlocked if rows * out.shape[1] * width > _UNLOCKED_FROM else _answer
        call(
            rows,
            ctypes.addressof(shape),
            *(address(array, np.float32) for array in given),
            origins,
            address(inputs.calendar_row, np.int64),
            address(out, np.float32),
            dates,
            dates + 4 * origins * horizon,
        )
        return out


class _Shape(ctypes.Structure):
    """Ridge of compiled/ridge.c."""

    _fields_ = [
        *((name, INT) for name in ("length", "recent", "covariates", "horizon", "calendar", "known")),
        ("window_weights", ARRAY),
        ("target_weights", ARRAY),
    ]


def packed(weights: AnyArray) -> AnyArray:
    """float32 [N, H] → [⌈H / 8⌉, N, 8], 0 beyond H: eight outputs of a feature lie side by side."""
    count, horizon = weights.shape
    tiles = -(-horizon // _LANES)
    padded = np.zeros((count, tiles * _LANES), np.float32)
    padded[:, :horizon] = weights
    return np.ascontiguousarray(padded.reshape(count, tiles, _LANES).transpose(1, 0, 2))
