"""`python -m benchmarks.accuracy --data DIR`: every cell in turn, saved at once, then docs/ACCURACY.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.figures import SETS, both_forms, gift_eval, long_horizon, sampled_rivals, save, whole_batches
from benchmarks.accuracy.page import write_page
from benchmarks.accuracy.protocol import HORIZONS_ALL, Ett
from benchmarks.figures_in_turn import Benchmark, run
from benchmarks.stage import machine

# Of each cell the data set, and what is measured on it and left in a folder of raw figures.
CELLS: dict[str, tuple[str, Callable[[Ett, Path], dict[str, Any]]]] = {
    **{
        f"{name}-{horizon}": (name, lambda data, raw, horizon=horizon: long_horizon(data, horizon, raw))
        for name in SETS
        for horizon in HORIZONS_ALL
    },
    **{
        f"{name}-{horizon}-both": (name, lambda data, raw, horizon=horizon: both_forms(data, horizon, raw))
        for name in SETS
        for horizon in HORIZONS_ALL
    },
    **{
        f"{name}-{horizon}-batches": (name, lambda data, raw, horizon=horizon: whole_batches(data, horizon, raw))
        for name in SETS
        for horizon in HORIZONS_ALL
    },
    **{f"{name}-rivals": (name, sampled_rivals) for name in SETS},
    "gift": ("ETTh1", gift_eval),
}


def measure(cell: str, data: Path, docs: Path) -> object:
    name, of = CELLS[cell]
    raw = docs / "accuracy"
    found = of(Ett.read(data, name), raw)
    save(raw / f"{cell}.json", found | {"machine": machine()})
    return found.get("scores") or found.get("table") or "done"


if __name__ == "__main__":
    torch.set_num_threads(1)  # threads that wait for one another would count as work
    figures = {cell: partial(measure, cell) for cell in CELLS}
    folder = "ETTh1.csv.gz and ETTh2.csv.gz"
    sys.exit(run(Benchmark("accuracy", __doc__, folder, "TIDECAST_ETT", figures, write_page)))
