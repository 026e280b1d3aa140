"""Where the rows come from: files that are read in place."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.accuracy.protocol import TEST_END, Ett
from benchmarks.figures_in_turn import NoData
from benchmarks.probabilities.streamed import Rows

APPLIANCES = "uci374_appliances_26ch_10min.csv.gz"
APPLIANCES_STEP_MS = 600_000


def ett(folder: Path, name: str) -> Rows:
    """The 20 months of the long-horizon protocol, in their own units."""
    data = Ett.read(folder / "ett", name)
    return Rows(name, data.series, data.first_tick, data.rows[:TEST_END])


def appliances(folder: Path) -> Rows:
    """UCI 374, all 26 channels, every ten minutes."""
    path = folder / "demo" / APPLIANCES
    if not path.is_file():
        raise NoData(f"expected {APPLIANCES} in {path.parent} (--data, or TIDECAST_DATA), and it is not there")
    with gzip.open(path, "rt") as file:
        head, *lines = csv.reader(file)
    first = datetime.fromisoformat(lines[0][0]).replace(tzinfo=UTC)
    cells = np.array([line[1:] for line in lines], np.float64)
    return Rows("UCI 374", tuple(head[1:]), int(first.timestamp() * 1000) // APPLIANCES_STEP_MS, cells)
