"""`python -m benchmarks.drift --data DIR`: false alarms, delays and labelled anomalies, then docs/DRIFT.md."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.drift.figures import NAB, SETS, delays, false_alarms, labelled
from benchmarks.drift.page import write_page
from benchmarks.figures_in_turn import Benchmark, run

PARTS = ("false_alarms", "delays", "labelled")
RUNS: tuple[tuple[float, int | None], ...] = ((100.0, 0), (1000.0, 0), (100.0, None))  # rate, seed of the order


def measure(data: Path, part: str) -> list[dict[str, Any]]:
    if part == "false_alarms":
        return [false_alarms(data, name, rate, seed) for rate, seed in RUNS for name in SETS]
    if part == "delays":
        return [row for name in SETS for row in delays(data, name)]
    return [labelled(data, name) for name in NAB]


def saved(part: str, data: Path, docs: Path) -> str:
    rows = measure(data, part)
    raw = docs / "drift"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{part}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return f"{len(rows)} rows"


if __name__ == "__main__":
    parts = {part: partial(saved, part) for part in PARTS}
    sys.exit(run(Benchmark("drift", __doc__, "ett/ and nab/", "TIDECAST_DRIFT", parts, write_page)))
