"""Patch mixer: ridge, and a small network that corrects it where one linear map for all series cannot be right.

The network sees the window as patches (Nie et al. 2023): the newest cells one by one, means of patches before them, the
cells a season before the targets, how rough the window is, the calendar of the first target, and ridge's own answer.
Two layers mix them (measured on UCI 374: larger ones are no better). All cells are relative to the newest one and all
features are clipped, so the network's correction is bounded: far outside of what it has seen, ridge answers.

Fitting is in patch_mixer_fit.py. It begins at ridge's solution: the last layer starts at zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model_core.arrays import AnyArray
from model_core.compiled import ARRAY, INT, Kernel, address
from model_core.errors import CorruptBundle
from model_core.libraries import CPU, Array, Library
from model_core.model_inputs import ModelInputs
from model_core.models.ridge import Ridge, packed

NEWEST = 48  # cells that count one by one
PATCH, PATCHES_MAX = 6, 96  # cells of a patch at least, patches at most
CLIP = 6.0  # standard deviations of a feature
SEASON, MIDDLE, SPREAD = "mixer.season", "mixer.middle", "mixer.spread"
LAYERS = 3
_layer = Kernel("network_layer", [INT, INT, *[ARRAY] * 3, INT, ARRAY])


def weight_name(layer: int) -> str:
    return f"mixer.weight.{layer}"


def bias_name(layer: int) -> str:
    return f"mixer.bias.{layer}"


def mixer_features(inputs: ModelInputs, answer: Array, season: int) -> Array:
    """float32 [B, N] of windows and ridge's answer [B, H]; `season` ticks, longer than the window: there is none."""
    target, xp = inputs.target, inputs.library.xp
    rows, length = target.shape
    horizon, now = answer.shape[1], target[:, -1:]
    patch = max(PATCH, -(-length // PATCHES_MAX))
    patches = target[:, length % patch :].reshape(rows, length // patch, patch).mean(axis=2)
    parts = [target[:, -min(NEWEST, length) :] - now, patches - now, answer - now]
    if season <= length:
        back = target[:, length - season : length - season + min(horizon, season)]
        parts.append(back - now)
    return xp.concatenate([*parts, now, inputs.roughness[:, None], inputs.calendar[inputs.calendar_row, 0]], axis=1)


@dataclass(frozen=True)
class _Layer:
    """float32 [N, M] and [M], on the device; `tiles` as compiled/network.c reads them."""

    weight: Array
    bias: Array
    tiles: AnyArray | None


class PatchMixer:
    """Both parts. On the CPU the layers are compiled/network.c."""

    def __init__(self, ridge: Ridge, season: int, middle: Array, spread: Array, layers: list[_Layer]) -> None:
        """`middle` and `spread` float32 [N], of the features."""
        self._ridge = ridge
        self._season = season
        self._middle, self._spread = middle, spread
        self._layers = layers

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray], library: Library) -> "PatchMixer":
        """CorruptBundle when a weight is missing, not finite, or does not fit the others."""
        names = [MIDDLE, SPREAD, *(name(layer) for layer in range(LAYERS) for name in (weight_name, bias_name))]
        found = [tensors[name] for name in names if name in tensors]
        season = tensors.get(SEASON)
        usable = season is not None and season.size == 1 and len(found) == len(names)
        usable = usable and all(each.dtype == np.float32 and np.isfinite(each).all() for each in found)
        if not usable or not _fit_together(found[2::2], found[3::2], found[0], found[1]):
            raise CorruptBundle(f"a patch mixer needs finite float32 weights {', '.join(names)} that fit; train again")
        layers = []
        for weight, bias in zip(found[2::2], found[3::2], strict=True):
            tiles = packed(weight) if library is CPU else None
            layers.append(_Layer(library.array(weight), library.array(bias), tiles))
        ridge = Ridge.from_tensors(tensors, library)
        assert season is not None
        return cls(ridge, int(season.reshape(-1)[0]), library.array(found[0]), library.array(found[1]), layers)

    def __call__(self, inputs: ModelInputs) -> Array:
        """float32 [B, H]."""
        answer = self._ridge(inputs)
        features = mixer_features(inputs, answer, self._season)
        if features.shape[1] != len(self._middle):
            raise ValueError(f"a network of {len(self._middle)} features does not fit inputs of {features.shape[1]}")
        mixed = inputs.library.xp.clip((features - self._middle) / self._spread, -CLIP, CLIP)
        for number, layer in enumerate(self._layers):
            mixed = _through(inputs, mixed, layer, rectified=number < len(self._layers) - 1)
        return answer + mixed


def _fit_together(weights: list[AnyArray], biases: list[AnyArray], middle: AnyArray, spread: AnyArray) -> bool:
    widths = [len(middle), *(len(bias) for bias in biases)]
    shapes = [weight.shape for weight in weights]
    return middle.shape == spread.shape and shapes == list(pairwise(widths))


def _through(inputs: ModelInputs, rows: Array, layer: _Layer, *, rectified: bool) -> Array:
    """[B, N] → [B, M]."""
    if layer.tiles is None:
        sums = rows @ layer.weight + layer.bias
        return inputs.library.xp.clip(sums, 0.0, None) if rectified else sums
    count, outputs = layer.weight.shape
    rows = np.ascontiguousarray(rows)
    out = np.empty((len(rows), outputs), np.float32)
    given = (address(array, np.float32) for array in (rows, layer.tiles, layer.bias))
    _layer(len(rows), count, outputs, *given, int(rectified), address(out, np.float32))
    return out
