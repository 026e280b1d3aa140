"""`python -m benchmarks.drift --data DIR`: false alarms, delays and labelled anomalies, then docs/DRIFT.md.

Each figure is of one set and takes a few minutes at most: `--only` measures some, the page takes the others as saved.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.drift.delay import delays, own_change, typical_change
from benchmarks.drift.figures import NAB, ORDERS, SETS, false_alarms, labelled
from benchmarks.drift.page import write_page
from benchmarks.figures_in_turn import Benchmark, run

AS_IT_CAME = None
RUNS: dict[int, tuple[int | None, ...]] = {  # rate → seeds of the orders
    100: (AS_IT_CAME, *range(ORDERS)),
    1000: tuple(range(ORDERS)),
}


def of_orders(data: Path, name: str, rate: int) -> list[dict[str, Any]]:
    return [false_alarms(data, name, float(rate), seed) for seed in RUNS[rate]]


def exchanged(data: Path, name: str) -> list[dict[str, Any]]:
    return [false_alarms(data, name, float(min(RUNS)), AS_IT_CAME, exchanged=True)]


def parts() -> dict[str, Callable[[Path], list[dict[str, Any]]]]:
    """Named as the files under docs/drift that they are saved in."""
    found: dict[str, Callable[[Path], list[dict[str, Any]]]] = {}
    for name in SETS:
        file = name.replace(" ", "-")
        for rate in RUNS:
            found[f"false-alarms-{file}-{rate}"] = partial(of_orders, name=name, rate=rate)
        found[f"false-alarms-{file}-exchanged"] = partial(exchanged, name=name)
        found[f"delays-{file}"] = partial(delays, name=name)
        found[f"delays-{file}-own"] = partial(own_change, name=name)
    found["typical-changes"] = lambda data: [typical_change(data, name) for name in SETS]
    found["labelled"] = lambda data: [labelled(data, name) for name in NAB]
    return found


def saved(part: str, measure: Callable[[Path], list[dict[str, Any]]], data: Path, docs: Path) -> str:
    rows = measure(data)
    raw = docs / "drift"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{part}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return f"{len(rows)} rows"


if __name__ == "__main__":
    figures = {part: partial(saved, part, measure) for part, measure in parts().items()}
    sys.exit(run(Benchmark("drift", __doc__, "ett/ and nab/", "TIDECAST_DRIFT", figures, write_page)))
