"""A training more, of a trainer that has stayed, against one that reads the whole history: time, memory, difference.

A synthetic fleet, hour by hour: what is measured hangs on how much there is, not on what it says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray
from model_core.spec import StreamSpec
from model_core.training.folding import fold
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.kept_history import to_bytes
from model_core.training.past import Past
from model_core.training.train import train

SERIES, WEEK = 20, 7 * 24
FIRST_TICK = 400_000
RECENT = {"107 weeks (the default)": None, "53 weeks": "371d"}
MADE = {"version": "v1", "created_at": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Cost:
    """Of one length of history. Seconds are the processor's; bytes those of cells and sums."""

    years: int
    recent: str
    whole_seconds: float
    seconds: float
    whole_bytes: int
    bytes: int
    file_bytes: int
    summed: int  # windows that were in the sums already
    difference: float  # of weights, in their largest


def measure(years: int, recent: str) -> Cost:
    """The training after the newest week, by both."""
    spec = stream(recent)
    cells = fleet(years * 52 * WEEK)
    kept = CellHistory()
    put(kept, cells[:-WEEK], 0)
    fold(kept, spec)  # what a trainer had done a week ago
    put(kept, cells[-WEEK:], len(cells) - WEEK)
    summed = 0 if kept.past is None else int(kept.past.sums.rows.max())
    began = time.process_time()
    fold(kept, spec)
    bundle = train(kept, spec, **MADE).bundle
    seconds = time.process_time() - began

    whole = CellHistory()
    put(whole, cells, 0)
    began = time.process_time()
    at_once = train(whole, spec, **MADE).bundle
    whole_seconds = time.process_time() - began
    pairs = ((bundle.tensors[name], expected) for name, expected in at_once.tensors.items())
    difference = max(float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-12)) for a, b in pairs)
    file_bytes = len(to_bytes(spec, kept, HistoryFeed(spec, kept), {}))
    sizes = (cells.nbytes // 2, kept.values().nbytes + weight(kept.past))
    return Cost(years, recent, whole_seconds, seconds, *sizes, file_bytes, summed, difference)


def stream(recent: str) -> StreamSpec:
    return StreamSpec(topic="fleet", freq="1h", context_length=WEEK, horizon=24, training_recent=RECENT[recent])


def fleet(ticks: int) -> FloatArray:
    """float64 [ticks, SERIES]: days, weeks, a slow walk and noise."""
    rng = np.random.default_rng(0)
    hours = np.arange(ticks)[:, None]
    phase = rng.uniform(0, 2 * np.pi, SERIES)
    walk = rng.normal(0, 0.03, (ticks, SERIES)).cumsum(axis=0)
    daily, weekly = np.sin(2 * np.pi * hours / 24 + phase), np.sin(2 * np.pi * hours / WEEK + 2 * phase)
    return 20 + 3 * daily + weekly + walk + rng.normal(0, 0.5, (ticks, SERIES))


def put(history: CellHistory, cells: FloatArray, first: int) -> None:
    columns = history.columns_of([f"s{number}" for number in range(SERIES)])
    ticks = np.repeat(np.arange(len(cells)) + FIRST_TICK + first, SERIES)
    history.put(np.tile(columns, len(cells)), ticks, cells.reshape(-1))


def weight(past: Past | None) -> int:
    """Bytes of the sums in memory."""
    if past is None:
        return 0
    parts = (part for part in vars(past.sums).values() if part is not None)
    return sum(part.numel() * part.element_size() for part in parts)
