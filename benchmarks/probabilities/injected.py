"""Altered copies of a channel: what intervals are worth after something has changed.

From one row on a copy's level is two standard deviations higher, its distance from its mean doubled, or all its values
come eight hours late. The rows are drawn with a seed; standard deviation and mean are of the rows before the span.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.probabilities.streamed import Rows, Served
from model_core.arrays import FloatArray, IntArray

SEED = 20_260_101
A_CHANNEL = 2  # times that each channel is altered in each way
LEAD_SEASONS, REST_SEASONS = 7, 21  # of the span, before the first injection and after the last
SHIFT_DEVIATIONS, SCALE, PHASE_TICKS = 2.0, 2.0, 48


def level(cells: FloatArray, at: int, before: FloatArray) -> FloatArray:
    return np.concatenate([cells[:at], cells[at:] + SHIFT_DEVIATIONS * before.std()])


def scale(cells: FloatArray, at: int, before: FloatArray) -> FloatArray:
    return np.concatenate([cells[:at], before.mean() + SCALE * (cells[at:] - before.mean())])


def phase(cells: FloatArray, at: int, _before: FloatArray) -> FloatArray:
    return np.concatenate([cells[:at], cells[at - PHASE_TICKS : len(cells) - PHASE_TICKS]])


KINDS = {
    "level + 2 standard deviations": level,
    "scale × 2": scale,
    "phase + 8 h": phase,
    "nothing": lambda cells, _at, _before: cells.copy(),
}


@dataclass(frozen=True)
class Injected:
    """Copies as a table, and of each column what was done to it when."""

    rows: Rows
    of: dict[str, str]  # copy → channel
    kinds: list[str]  # [S]
    at: IntArray  # int64 [S], rows


def inject(rows: Rows, half: int, season: int) -> Injected:
    """Every channel A_CHANNEL times in every way, somewhere after row `half`."""
    rng = np.random.default_rng(SEED)
    names: list[str] = []
    of: dict[str, str] = {}
    kinds: list[str] = []
    at: list[int] = []
    columns: list[FloatArray] = []
    for column, channel in enumerate(rows.series):
        cells = rows.cells[:, column]
        times = rng.integers(half + LEAD_SEASONS * season, len(cells) - REST_SEASONS * season, A_CHANNEL)
        for number, (kind, alter) in enumerate(KINDS.items()):
            for time in times.tolist():
                names.append(f"{channel}@{number}@{time}")
                of[names[-1]] = channel
                kinds.append(kind)
                at.append(time)
                columns.append(alter(cells, time, cells[:half]))
    table = Rows(rows.name, tuple(names), rows.first_tick, np.stack(columns, axis=1))
    return Injected(table, of, kinds, np.array(at, np.int64))


def coverage_after(served: Served, injected: Injected, kind: str, first: int, last: int, season: int) -> float:
    """Coverage of the widest interval at targets in seasons `first` … `last` after the injection, each counts alike."""
    mine = np.array([each == kind for each in injected.kinds])[served.series]
    since = served.targets[mine] - injected.at[served.series[mine]][:, None]
    there = (since >= (first - 1) * season) & (since < last * season) & served.came[mine]
    return float(served.covered()[mine][there].mean())
