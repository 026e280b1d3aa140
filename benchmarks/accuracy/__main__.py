"""`python -m benchmarks.accuracy --data DIR`: every cell in turn, saved at once, then docs/ACCURACY.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import torch

from benchmarks.accuracy.figures import SETS, gift_eval, long_horizon, sampled_rivals, save
from benchmarks.accuracy.page import write_page
from benchmarks.accuracy.protocol import HORIZONS_ALL, Ett, NoData
from benchmarks.stage import REPOSITORY, machine

CELLS = {f"{name}-{horizon}": (name, horizon) for name in SETS for horizon in HORIZONS_ALL}
NAMES = [*CELLS, *(f"{name}-rivals" for name in SETS), "gift"]
UNUSABLE = 2


def main() -> int:
    chosen = _arguments()
    if chosen.data is None:
        print("accuracy: name the folder of ETTh1.csv.gz and ETTh2.csv.gz with --data or TIDECAST_ETT", file=sys.stderr)
        return UNUSABLE
    torch.set_num_threads(1)  # threads that wait for one another would count as work
    raw = chosen.out / "accuracy"
    try:
        for name in chosen.only or NAMES:
            began = time.monotonic()
            if name in CELLS:
                of, horizon = CELLS[name]
                found = long_horizon(Ett.read(chosen.data, of), horizon, raw)
            elif name == "gift":
                found = gift_eval(Ett.read(chosen.data, "ETTh1"), raw)
            else:
                found = sampled_rivals(Ett.read(chosen.data, name.removesuffix("-rivals")), raw)
            save(raw / f"{name}.json", found | {"machine": machine()})
            print(f"{name}: {found.get('scores') or found.get('table') or 'done'}, {time.monotonic() - began:.0f} s")
    except NoData as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return UNUSABLE
    print(write_page(chosen.out))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    folder = os.environ.get("TIDECAST_ETT")
    parser.add_argument("--data", type=Path, default=folder and Path(folder), help="folder of ETTh1/2.csv.gz")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="CELL", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where ACCURACY.md goes (docs)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
