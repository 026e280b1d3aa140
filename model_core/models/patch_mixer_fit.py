"""Fits the network of the patch mixer, on top of a ridge that is already solved.

It learns the residuals of ridge, by absolute error in typical steps of each series, which is also the loss that chooses
ridge's penalty. There is one seeded recipe and nothing to choose: six epochs of AdamW (Loshchilov and Hutter 2019) with
one cycle of the rate (Smith and Topin 2019), and dropout. Longer, wider or more of it was no better on the first half
of UCI 374. A window with missing targets counts where it has some.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from model_core.arrays import AnyArray, FloatArray
from model_core.models.patch_mixer import CLIP, MIDDLE, SEASON, SPREAD, bias_name, weight_name

HIDDEN = (64, 32)
EPOCHS, BATCH, RATE_MAX, DECAY, DROPOUT = 6, 512, 2e-3, 1e-2, 0.1
NUMBERS_MAX = 60_000_000  # features and targets that are held at once: a quarter of a gigabyte
ROWS_MAX = 160_000
LEFT_CLIP = 8.0  # of what ridge has left, in scales of the window
WEIGHT_QUANTILE = 0.99  # windows count by their scale in steps of their series, and none for more than this quantile's
SPREAD_MIN = 1e-3

Rows = tuple[AnyArray, AnyArray, FloatArray]  # features [n, N], what ridge has left [n, H] (NaN: missing), weights [n]


def fit_network(parts: Iterable[Rows], season: int, seed: int) -> dict[str, AnyArray]:
    """The network's tensors. `season` as in mixer_features."""
    features, left, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), SPREAD_MIN)
    seen = np.isfinite(left)
    weight = np.minimum(weight, np.quantile(weight, WEIGHT_QUANTILE))
    weight = weight / max(float(weight.mean()), 1e-12)
    generator = torch.Generator().manual_seed(seed)
    layers = _layers([features.shape[1], *HIDDEN, left.shape[1]], generator)
    _learn(
        layers,
        torch.from_numpy(np.clip((features - middle) / spread, -CLIP, CLIP).astype(np.float32)),
        torch.from_numpy(np.clip(np.where(seen, left, 0.0), -LEFT_CLIP, LEFT_CLIP).astype(np.float32)),
        torch.from_numpy((seen * weight[:, None]).astype(np.float32)),
        generator,
    )
    tensors: dict[str, AnyArray] = {SEASON: np.array([season], np.int64)}
    tensors |= {MIDDLE: middle.astype(np.float32), SPREAD: spread.astype(np.float32)}
    for number, layer in enumerate(layers):
        weights, bias = (layer.get_parameter(name).detach().numpy() for name in ("weight", "bias"))
        tensors[weight_name(number)] = np.ascontiguousarray(weights.T)
        tensors[bias_name(number)] = bias.copy()
    return tensors


def _layers(widths: list[int], generator: torch.Generator) -> nn.ModuleList:
    """Drawn as torch draws them (Glorot and Bengio 2010, by the inputs); the last one says nothing yet."""
    # On no device yet: a layer that is there would draw from the generator of the process.
    drawn = (nn.Linear(before, after, device="meta") for before, after in pairwise(widths))
    layers = nn.ModuleList(layer.to_empty(device="cpu") for layer in drawn)
    for number, width in enumerate(widths[:-1]):
        bound = width**-0.5 if number < len(widths) - 2 else 0.0
        for name in ("weight", "bias"):
            nn.init.uniform_(layers[number].get_parameter(name), -bound, bound, generator=generator)
    return layers


def _through(layers: nn.ModuleList, x: Tensor, generator: torch.Generator) -> Tensor:
    """With dropout: [n, N] → [n, H]."""
    *inner, last = layers
    for layer in inner:
        x = torch.relu(layer(x))
        x = x * (torch.rand(x.shape, generator=generator) >= DROPOUT) / (1.0 - DROPOUT)
    answer: Tensor = last(x)
    return answer


def _learn(layers: nn.ModuleList, x: Tensor, left: Tensor, weight: Tensor, generator: torch.Generator) -> None:
    """x [n, N], left [n, H], weight [n, H]."""
    size = min(BATCH, len(x))
    batches = len(x) // size
    optimizer = torch.optim.AdamW(layers.parameters(), lr=RATE_MAX, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_MAX, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, batches * size, size):
            rows = order[start : start + size]
            loss = ((_through(layers, x[rows], generator) - left[rows]).abs() * weight[rows]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
