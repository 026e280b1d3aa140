"""Fits ridge: sums of products that add up exactly, and the closed form on them.

A stream's whole history is a few matrices (X'X, X'Y and the like, float64). The sums of two spans added are those of
both together, so new data needs no old data. Columns of X are pooled first: the newest cells and those near earlier
seasons count one by one, the rest as means of blocks (*measured* on UCI 374: half the columns, pinball 1 to 3 % lower).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.models.ridge import ROUGH_LAGS, TARGET_WEIGHT, WINDOW_WEIGHT

NEWEST = 36  # cells of the target that count one by one
SEASONS, SEASON_CELLS_MAX, BESIDE = 3, 256, 2  # seasons back, columns they may take, cells on both sides of the targets
BLOCK, BLOCKS_MAX = 6, 128
SINGLE_CELLS_MAX = 768  # a window longer than that has blocks in any case
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

    def coarser(self, other: "Design") -> FloatArray:
        """float64 [P, P']: columns pooled as here @ this = pooled as `other` does, whose segments are made of these."""
        into = np.zeros((len(self.starts), len(other.starts)))
        segments = np.searchsorted(other.starts, self.starts, side="right") - 1
        into[np.arange(len(segments)), segments] = np.sqrt(self.sizes / other.sizes[segments])
        return into

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


def design(
    length: int, horizon: int, covariates: int, season: int, known: int = 0, *, single_cells: bool = False
) -> Design:
    """Columns for windows of `length`, a season of `season` ticks (longer than the window: none is singled out), and
    `known` covariates ahead.

    With `single_cells` all cells of the target count one by one, if the window is not too long for that.
    """
    single = np.zeros(length, bool)
    single[-NEWEST:] = True
    near = horizon + 2 * BESIDE
    for back in range(1, min(SEASONS, SEASON_CELLS_MAX // near) + 1):
        first = length - back * season - BESIDE
        if first + BESIDE >= 0:
            single[max(first, 0) : first + near] = True
    if single_cells and length <= SINGLE_CELLS_MAX:
        single[:] = True
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
    mass: Tensor  # [H], sum of their squared weights: what the penalty is a share of

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
            mass=zeros(horizon),
        )

    def add(
        self, pooled: FloatArray, target_features: AnyArray, targets: FloatArray, weight: FloatArray | None = None
    ) -> None:
        """Rows: float64 [n, P], float32 [n, H, E], float64 [n, H], NaN where a target is missing.

        `weight` float64 [n] is what a row's error is multiplied by before it is squared.
        """
        factor = torch.from_numpy(np.ones(len(pooled)) if weight is None else weight)[:, None]
        x = torch.from_numpy(pooled) * factor
        seen = torch.from_numpy(np.isfinite(targets))
        y = torch.nan_to_num(torch.from_numpy(targets)) * factor
        d = torch.from_numpy(target_features) * (seen * factor)[:, :, None]
        n, horizon, width = d.shape
        self.gram += x.T @ x
        self.window_y += x.T @ y
        self.cross += (x.T @ d.reshape(n, horizon * width)).reshape(x.shape[1], horizon, width).permute(1, 0, 2)
        by_horizon = d.permute(1, 0, 2)  # [H, n, E]
        self.target_gram += by_horizon.transpose(1, 2) @ by_horizon
        self.target_y += (by_horizon * y.T[:, :, None]).sum(dim=1)
        self.rows += seen.sum(dim=0)
        self.mass += (seen * factor**2).sum(dim=0)
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

    def faded(self, factor: float) -> "Sums":
        """All rows so far count `factor` times as much: add the new ones to this, and the old ones are forgotten.

        They are as many as before.
        """
        parts: dict[str, Any] = {}
        for field in fields(self):
            mine = getattr(self, field.name)
            parts[field.name] = mine if mine is None or field.name == "rows" else mine * factor
        return Sums(**parts)

    def pooled(self, into: FloatArray) -> "Sums":
        """The same as if the columns had been pooled before they were summed: `into` float64 [P, P']."""
        to = torch.from_numpy(into)
        return Sums(
            gram=to.T @ self.gram @ to,
            absent=None if self.absent is None else to.T @ self.absent @ to,
            cross=to.T @ self.cross,
            target_gram=self.target_gram,
            window_y=to.T @ self.window_y,
            target_y=self.target_y,
            rows=self.rows,
            mass=self.mass,
        )

    def solve(self, penalty: float, prior: FloatArray) -> "Weights":
        """argmin Σ (y − xw − dv)² + penalty · mass · (|w − prior|² + |v|²), each horizon for itself."""
        return self.solve_each(penalty, [prior])[0]

    def solve_each(self, penalty: float, priors: Sequence[FloatArray]) -> list["Weights"]:
        """`solve` for each of N priors, of the same factors: hardly dearer than for one."""
        towards = torch.from_numpy(np.stack(priors))
        strength = penalty * torch.where(self.mass > 0, self.mass, 1.0)
        if self.absent is None:  # the rows are the same for all horizons
            window, target = self._eliminate(self.gram, slice(None), strength, towards)
        else:
            window = torch.empty_like(towards)
            target = torch.empty((len(priors), *self.target_y.shape), dtype=torch.float64)
            for h in range(len(self.rows)):
                one, gram = slice(h, h + 1), self.gram - self.absent[h]
                window[:, :, one], target[:, one] = self._eliminate(gram, one, strength, towards)
        return [Weights(*weights) for weights in zip(window.numpy(), target.numpy(), strict=True)]

    def _eliminate(self, gram: Tensor, of: slice, strength: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [N, P, h], [N, h, E] of the horizons `of`, which share a gram and a strength; priors [N, P, H].

        The columns of the window are eliminated once for all of them; what is left is a small system for each.
        """
        cross, strength = self.cross[of], strength[of]  # [h, P, E]
        (horizons, columns, extra), priors = cross.shape, len(towards)
        factor = gram.clone()
        factor.diagonal().add_(strength[0])
        factor = torch.linalg.cholesky(factor)
        right = self.window_y[:, of] + strength * towards[:, :, of]  # [N, P, h]
        by_prior = right.permute(1, 0, 2).reshape(columns, priors * horizons)
        by_column = cross.permute(1, 0, 2).reshape(columns, horizons * extra)
        solved = torch.cholesky_solve(torch.cat([by_prior, by_column], 1), factor)
        # [N, P, h], as if there were no target features
        window = solved[:, : priors * horizons].reshape(columns, priors, horizons).permute(1, 0, 2)
        through = solved[:, priors * horizons :].reshape(columns, horizons, extra).permute(1, 0, 2)  # [h, P, E]
        left = self.target_gram[of] - cross.transpose(1, 2) @ through
        left.diagonal(dim1=1, dim2=2).add_(strength[:, None])
        rest = self.target_y[of] - (cross * window.transpose(1, 2)[..., None]).sum(dim=2)
        target = torch.linalg.solve(left, rest[..., None])  # [N, h, E, 1]
        return window - (through @ target)[..., 0].transpose(1, 2), target[..., 0]


@dataclass(frozen=True)
class Weights:
    """Of pooled columns float64 [P, H], and of target features float64 [H, E]."""

    window: FloatArray
    target: FloatArray

    def as_served(self) -> "Weights":
        """The same in float32."""
        return Weights(self.window.astype(np.float32), self.target.astype(np.float32))

    def apply(self, pooled: FloatArray, target_features: AnyArray) -> FloatArray:
        """[n, P], float32 [n, H, E] → [n, H], as precise as the weights and `pooled` are."""
        by_horizon = np.matmul(target_features.transpose(1, 0, 2), self.target[:, :, None])  # [H, n, 1]
        return pooled @ self.window + by_horizon[:, :, 0].T

    def finer(self, into: FloatArray) -> "Weights":
        """Of the columns that were pooled by `into` [P, P'], as `Design.coarser` gives it."""
        return Weights(into @ self.window, self.target)

    def tensors(self, layout: Design) -> dict[str, AnyArray]:
        """The weights as the model reads them, float32."""
        return {
            WINDOW_WEIGHT: layout.spread(self.window).astype(np.float32),
            TARGET_WEIGHT: np.ascontiguousarray(self.target.T, np.float32),
        }
