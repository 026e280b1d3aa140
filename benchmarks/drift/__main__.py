"""`python -m benchmarks.drift --data DIR`: false alarms, delays and labelled anomalies, then docs/DRIFT.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.drift.data import NoData
from benchmarks.drift.figures import NAB, SETS, delays, false_alarms, labelled
from benchmarks.drift.page import write_page
from benchmarks.stage import REPOSITORY

PARTS = ("false_alarms", "delays", "labelled")
RUNS: tuple[tuple[float, int | None], ...] = ((100.0, 0), (1000.0, 0), (100.0, None))  # rate, seed of the order
UNUSABLE = 2


def main() -> int:
    chosen = _arguments()
    if chosen.data is None:
        print("drift: name the folder of ett/ and nab/ with --data or TIDECAST_DRIFT", file=sys.stderr)
        return UNUSABLE
    raw = chosen.out / "drift"
    raw.mkdir(parents=True, exist_ok=True)
    try:
        for part in chosen.only or PARTS:
            began = time.monotonic()
            (raw / f"{part}.json").write_text(json.dumps(measure(chosen.data, part), indent=1) + "\n")
            print(f"{part}: {time.monotonic() - began:.0f} s")
    except NoData as error:
        print(f"drift: {error}", file=sys.stderr)
        return UNUSABLE
    print(write_page(chosen.out))
    return 0


def measure(data: Path, part: str) -> list[dict[str, Any]]:
    if part == "false_alarms":
        return [false_alarms(data, name, rate, seed) for rate, seed in RUNS for name in SETS]
    if part == "delays":
        return [row for name in ("ETTh1", "ETTh2", "UCI 374") for row in delays(data, name)]
    return [labelled(data, name) for name in NAB]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    folder = os.environ.get("TIDECAST_DRIFT")
    parser.add_argument("--data", type=Path, default=folder and Path(folder), help="folder that holds ett/ and nab/")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where DRIFT.md goes (docs)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
