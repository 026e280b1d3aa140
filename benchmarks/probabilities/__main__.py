"""`python -m benchmarks.probabilities --data DIR`: each figure in turn, saved at once, then its section of ACCURACY.md.

DIR holds ett/ETTh1.csv.gz, ett/ETTh2.csv.gz and demo/uci374_appliances_26ch_10min.csv.gz, which are read in place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.figures import SETS, save
from benchmarks.accuracy.page import write_page
from benchmarks.figures_in_turn import Benchmark, run
from benchmarks.probabilities import figures
from benchmarks.stage import machine

FIGURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    **{
        f"{name}-{horizon}": partial(figures.long_horizon, name=name, horizon=horizon)
        for name in SETS
        for horizon in figures.HORIZONS
    },
    "appliances": figures.appliances,
    "injections": figures.injections,
    "bytes": lambda _data: figures.weights(),
}


def measure(figure: str, data: Path, docs: Path) -> dict[str, Any]:
    found = FIGURES[figure](data)
    save(docs / "accuracy" / figures.FOLDER / f"{figure}.json", found | {"machine": machine()})
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    each = {figure: partial(measure, figure) for figure in FIGURES}
    sys.exit(run(Benchmark("probabilities", __doc__, "ett/ and demo/", "TIDECAST_DATA", each, write_page)))
