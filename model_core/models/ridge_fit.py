"""Fitting ridge: sums of products that add up exactly, and the closed form on them.

A stream's whole history is a few matrices (X'X, X'Y and their likes, float64): those of two spans added are those of
both, so that new data needs no old data. Columns of X are pooled first: the newest cells and those near earlier seasons
count one by one, the rest as means of blocks (*measured* on UCI 374: half the columns, pinball 1 to 3 % lower).
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.models.ridge import ROUGH_LAGS, TARGET_WEIGHT, WINDOW_WEIGHT

NEWEST = 36  # cells of the target that count one by one
SEASONS, SEASON_CELLS_MAX, BESIDE = 3, 256, 2  # seasons back, columns they may take, cells on both sides of the targets
BLOCK, BLOCKS_MAX = 6, 128
COVARIATE_NEWEST, COVARIATE_BLOCK = 12, 12
KNOWN_BLOCKS_MAX = 32  # columns that what is known of a covariate ahead may take
PRIORS = ("mean", "last", "season")


@dataclass(frozen=True)
class Design:
    """Which columns of `window_features` are pooled: P segments, each the sum of its columns / sqrt(their number)."""

    starts: IntArray  # int64 [P], rising from 0
    width: int  # of window_features
    length: int
    season: int

    @property
    def sizes(self) -> IntArray:
        return np.diff(self.starts, append=self.width)

    def pool(self, features: AnyArray) -> FloatArray:
        """float32 [n, width] → float64 [n, P]."""
        sums = np.add.reduceat(features, self.starts, axis=1)
        return sums.astype(np.float64) / np.sqrt(self.sizes)

    def spread(self, weights: FloatArray) -> FloatArray:
        """Weights of pooled columns [P, H] → of the columns themselves [width, H]."""
        return np.repeat(weights / np.sqrt(self.sizes)[:, None], self.sizes, axis=0)

    def prior(self, name: str, horizon: int) -> FloatArray | None:
        """Weights float64 [P, H] that the penalty draws towards: a naive forecast. None where there is none."""
        weights = np.zeros((len(self.starts), horizon))
        if name == "last":
            weights[self._segment(self.length - 1)] = 1.0
        if name == "season":
            cells = self.length - self.season + np.arange(horizon) % self.season
            segments = np.array([self._segment(int(cell)) for cell in cells])
            if self.season > self.length or (self.sizes[segments] > 1).any():
                return None
            weights[segments, np.arange(horizon)] = 1.0
        return weights

    def _segment(self, cell: int) -> int:
        return int(np.searchsorted(self.starts, 2 + cell, side="right")) - 1


def design(length: int, horizon: int, covariates: int, season: int, known: int = 0) -> Design:
    """Columns for windows of `length`, a season of `season` ticks (longer than the window: none is singled out), and
    `known` covariates ahead."""
    single = np.zeros(length, bool)
    single[-NEWEST:] = True
    near = horizon + 2 * BESIDE
    for back in range(1, min(SEASONS, SEASON_CELLS_MAX // near) + 1):
        first = length - back * season - BESIDE
        if first + BESIDE >= 0:
            single[max(first, 0) : first + near] = True
    starts = [0, 1, *(2 + start for start in _segments(single))]
    column = 2 + length
    recent = min(length, ROUGH_LAGS)
    starts += range(column, column + recent)
    column += recent
    newest = np.zeros(length, bool)
    newest[-COVARIATE_NEWEST:] = True
    for _ in range(covariates):
        starts += [column + start for start in _segments(newest, COVARIATE_BLOCK)]
        column += length
    for _ in range(known):
        starts += range(column, column + horizon, -(-horizon // KNOWN_BLOCKS_MAX))
        column += horizon
    return Design(np.array(starts, np.int64), column, length, season)


def _segments(single: AnyArray, block: int = BLOCK) -> list[int]:
    """Starts of segments: one for each single cell, blocks between them, aligned to their newest end."""
    length = len(single)
    block = max(block, -(-int((~single).sum()) // BLOCKS_MAX))
    starts, end = [], length
    while end > 0:
        start = end - 1
        while not single[end - 1] and start > 0 and not single[start - 1] and end - start < block:
            start -= 1
        starts.append(start)
        end = start
    return starts[::-1]


@dataclass
class Sums:
    """Sums over rows (windows). P pooled columns, H horizons, E columns of target features. All float64."""

    gram: Tensor  # [P, P], X'X over all rows
    absent: Tensor | None  # [H, P, P], X'X over the rows whose target of that horizon is missing; None: no such row
    cross: Tensor  # [H, P, E], X'D_h over rows with a target
    target_gram: Tensor  # [H, E, E], D_h'D_h
    window_y: Tensor  # [P, H], X'Y
    target_y: Tensor  # [H, E], D_h'Y_h
    rows: Tensor  # [H], rows with a target

    @classmethod
    def empty(cls, columns: int, horizon: int, target_columns: int) -> "Sums":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        return cls(
            gram=zeros(columns, columns),
            absent=None,
            cross=zeros(horizon, columns, target_columns),
            target_gram=zeros(horizon, target_columns, target_columns),
            window_y=zeros(columns, horizon),
            target_y=zeros(horizon, target_columns),
            rows=zeros(horizon),
        )

    def add(self, pooled: FloatArray, target_features: AnyArray, targets: FloatArray) -> None:
        """Rows: float64 [n, P], float32 [n, H, E], float64 [n, H], NaN where a target is missing."""
        x = torch.from_numpy(pooled)
        seen = torch.from_numpy(np.isfinite(targets))
        y = torch.nan_to_num(torch.from_numpy(targets))
        d = torch.from_numpy(target_features).double() * seen[:, :, None]
        n, horizon, width = d.shape
        self.gram += x.T @ x
        self.window_y += x.T @ y
        self.cross += (x.T @ d.reshape(n, horizon * width)).reshape(x.shape[1], horizon, width).permute(1, 0, 2)
        by_horizon = d.permute(1, 0, 2)  # [H, n, E]
        self.target_gram += by_horizon.transpose(1, 2) @ by_horizon
        self.target_y += (by_horizon * y.T[:, :, None]).sum(dim=1)
        self.rows += seen.sum(dim=0)
        if not seen.all():
            self._leave_out(x, ~seen)

    def _leave_out(self, x: Tensor, absent: Tensor) -> None:
        """Note X'X of the rows [n, P] without a target, bool [n, H]; horizons that miss the same rows share it."""
        if self.absent is None:
            self.absent = torch.zeros((len(self.rows), *self.gram.shape), dtype=torch.float64)
        some = absent.any(dim=1)
        x, absent = x[some], absent[some]
        masks, of_horizon = torch.unique(absent, dim=1, return_inverse=True)
        for number in range(masks.shape[1]):
            rows = x[masks[:, number]]
            self.absent[of_horizon == number] += rows.T @ rows

    def __add__(self, other: "Sums") -> "Sums":
        parts = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            parts[field.name] = theirs if mine is None else mine if theirs is None else mine + theirs
        return Sums(**parts)

    def solve(self, penalty: float, prior: FloatArray) -> "Weights":
        """argmin Σ (y − xw − dv)² + penalty · rows · (|w − prior|² + |v|²), each horizon for itself."""
        columns = len(self.gram)
        towards = torch.from_numpy(prior)
        window, target = torch.empty_like(self.window_y), torch.empty_like(self.target_y)
        for h in range(len(self.rows)):
            gram = self.gram if self.absent is None else self.gram - self.absent[h]
            system = torch.cat(
                [torch.cat([gram, self.cross[h]], 1), torch.cat([self.cross[h].T, self.target_gram[h]], 1)]
            )
            strength = penalty * self.rows[h].clamp(min=1.0)
            system.diagonal().add_(strength)
            right = torch.cat([self.window_y[:, h] + strength * towards[:, h], self.target_y[h]])
            solved = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(system))[:, 0]
            window[:, h], target[h] = solved[:columns], solved[columns:]
        return Weights(window.numpy(), target.numpy())


@dataclass(frozen=True)
class Weights:
    """Of pooled columns float64 [P, H], and of target features float64 [H, E]."""

    window: FloatArray
    target: FloatArray

    def apply(self, pooled: FloatArray, target_features: AnyArray) -> FloatArray:
        """float64 [n, P], float32 [n, H, E] → float64 [n, H]."""
        by_horizon = np.matmul(target_features.transpose(1, 0, 2), self.target[:, :, None])  # [H, n, 1]
        return pooled @ self.window + by_horizon[:, :, 0].T

    def tensors(self, layout: Design) -> dict[str, AnyArray]:
        """The weights as the model reads them, float32."""
        return {
            WINDOW_WEIGHT: layout.spread(self.window).astype(np.float32),
            TARGET_WEIGHT: np.ascontiguousarray(self.target.T, np.float32),
        }
