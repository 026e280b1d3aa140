"""Real series as dense tables, and the worker's own core over them. Nothing here decides what is drift."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.figures_in_turn import NoData
from benchmarks.stage import REPOSITORY
from model_core.backtest import steps
from model_core.bundle import Bundle
from model_core.outcomes import DriftRecord
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory
from model_core.training.train import train

HOUR_MS = 3_600_000
UCI = REPOSITORY / "stream_app" / "data"


@dataclass(frozen=True)
class Table:
    """S series on one grid: `values` float64 [n, S], NaN where a cell is missing; row 0 is tick `first`."""

    name: str
    spec: StreamSpec
    series: tuple[str, ...]
    first: int
    values: np.ndarray

    def part(self, start: int, end: int) -> Table:
        return replace(self, first=self.first + start, values=self.values[start:end])

    def readings(self) -> Readings:
        """In event-time order, a reading for each cell that is there."""
        rows, columns = np.nonzero(np.isfinite(self.values))
        stamps = self.spec.grid.starts_ms(self.first + rows)
        names = [self.series[column] for column in columns.tolist()]
        return Readings(names, stamps, self.values[rows, columns], np.arange(len(rows)))

    def history(self) -> CellHistory:
        history = CellHistory()
        columns = history.columns_of(list(self.series))
        rows, series = np.nonzero(np.isfinite(self.values))
        history.put(columns[series], self.first + rows, self.values[rows, series])
        return history


def learn(table: Table, alarms_per_million: float) -> Bundle:
    """What `tidecast train` makes of the table; whether it would pass the gate does not matter here."""
    trained = train(
        table.history(),
        table.spec,
        version="drift",
        created_at="2026-01-01T00:00:00Z",
        false_alarms_per_million=alarms_per_million,
        device="cpu",
    )
    return trained.bundle


def play(table: Table, bundle: Bundle | None) -> Iterator[DriftRecord]:
    """Every drift record that a worker would publish."""
    predictor = Predictor(table.spec, bundle, device="cpu")
    state = PartitionState(table.spec, 0, bundle.facts() if bundle else None)
    for _, outcome in steps(state, table.readings(), predictor):
        yield from outcome.drift


def spec_of(step_ms: int, *, context: int, horizon: int, seasons: tuple[int, ...] = ()) -> StreamSpec:
    hints = tuple(season * step_ms for season in seasons)
    return StreamSpec(topic="drift", freq=step_ms, context_length=context, horizon=horizon, seasonality=hints)


# --- files ----------------------------------------------------------------------------------------------------------


def ett(folder: Path, name: str) -> Table:
    return _wide(folder / "ett" / f"{name}.csv.gz", name, spec_of(HOUR_MS, context=336, horizon=24))


def uci374() -> Table:
    """Ten-minute readings of a house as hourly means: half a year of 26 sensors."""
    of = spec_of(HOUR_MS, context=168, horizon=24)
    return _wide(UCI / "uci374_appliances_26ch_10min.csv.gz", "UCI 374", of)


def uci235() -> Table:
    of = spec_of(HOUR_MS, context=336, horizon=24)
    return _wide(UCI / "uci235_household_7ch_15min.csv.gz", "UCI 235", of)


def nab(folder: Path, name: str, step_ms: int, *, context: int, horizon: int) -> Table:
    return _wide(folder / "nab" / f"{name}.csv.gz", name, spec_of(step_ms, context=context, horizon=horizon))


def _wide(path: Path, name: str, spec: StreamSpec) -> Table:
    """A column of times and one a series; readings of a step are averaged."""
    if not path.exists():
        raise NoData(f"expected {path}: name the folder that holds ett/ and nab/ with --data")
    with gzip.open(path, "rt") as file:
        rows = list(csv.reader(io.StringIO(file.read())))
    header, body = rows[0], rows[1:]
    stamps = np.array([_ms(row[0]) for row in body], np.int64)
    cells = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in body])
    ticks = spec.grid.ticks(stamps)
    first = int(ticks.min())
    count = int(ticks.max()) - first + 1
    total, seen = np.zeros((count, cells.shape[1])), np.zeros((count, cells.shape[1]))
    there = np.isfinite(cells)
    np.add.at(total, ticks - first, np.where(there, cells, 0.0))
    np.add.at(seen, ticks - first, there)
    with np.errstate(invalid="ignore"):
        return Table(name, spec, tuple(header[1:]), first, total / np.where(seen > 0, seen, np.nan))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
