"""`python -m benchmarks.probabilities --data DIR`: each figure in turn, saved at once, then its section of ACCURACY.md.

DIR holds ett/ETTh1.csv.gz, ett/ETTh2.csv.gz and demo/uci374_appliances_26ch_10min.csv.gz, which are read in place.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.figures import SETS, save
from benchmarks.accuracy.page import write_page
from benchmarks.accuracy.protocol import NoData
from benchmarks.probabilities import figures
from benchmarks.stage import REPOSITORY, machine

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
UNUSABLE = 2


def main() -> int:
    chosen = _arguments()
    if chosen.data is None:
        print("probabilities: name the folder of ett/ and demo/ with --data or TIDECAST_DATA", file=sys.stderr)
        return UNUSABLE
    torch.set_num_threads(1)
    try:
        for name in chosen.only or FIGURES:
            began = time.monotonic()
            found = FIGURES[name](chosen.data)
            save(chosen.out / "accuracy" / figures.FOLDER / f"{name}.json", found | {"machine": machine()})
            print(f"{name}: {found}, {time.monotonic() - began:.0f} s")
    except NoData as error:
        print(f"probabilities: {error}", file=sys.stderr)
        return UNUSABLE
    print(write_page(chosen.out))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probabilities", description=__doc__)
    folder = os.environ.get("TIDECAST_DATA")
    parser.add_argument("--data", type=Path, default=folder and Path(folder), help="folder of ett/ and demo/")
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where ACCURACY.md goes (docs)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
