"""Small files of readings as other people have them, seeded: each function writes two halves and names them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

HOUSEHOLD = Path(__file__).parents[2] / "stream_app" / "data" / "uci235_household_7ch_15min.csv.gz"
Row = tuple[Any, ...]  # time, then cells


def hourly_demand(folder: Path, *, stores: int = 10, days: int = 30) -> list[Path]:
    """Sales, long: hours with several readings, hours without, a closed store for two days."""
    rng, hours = np.random.default_rng(1), np.arange(days * 24)
    rows: list[Row] = []
    for store in range(stores):
        day = 1 + rng.uniform(0.4, 0.8) * np.sin(2 * np.pi * (hours - 8) / 24)
        total = rng.poisson(rng.lognormal(2.5, 0.6) * day * np.exp(_autoregressive(rng, len(hours), 0.7, 0.15)))
        closed = rng.random(len(hours)) < 0.03
        start = rng.integers(0, len(hours) - 48)
        closed[start : start + 48] = True
        for hour in np.flatnonzero(~closed & (total > 0)).tolist():
            count = int(rng.integers(1, 4))
            for part in rng.multinomial(total[hour], np.ones(count) / count).tolist():
                at = datetime(2026, 1, 5) + timedelta(hours=hour, seconds=int(rng.integers(0, 3600)))
                rows.append((at, f"store-{store}.sales", part))
    return _halves(folder, ["timestamp", "series_id", "value"], rows)


def jittered_sensors(folder: Path, *, steps: int = 900) -> list[Path]:
    """A household's 15-minute sensors, long: each reading somewhere in its step, one in fifty missing."""
    rng = np.random.default_rng(2)
    rows: list[Row] = []
    with gzip.open(HOUSEHOLD, "rt", newline="") as file:
        _, *names = next(reader := csv.reader(file))
        for start, *cells in islice(reader, steps):
            for name, cell in zip(names, cells, strict=True):
                if cell and rng.random() > 0.02:
                    at = datetime.fromisoformat(start) + timedelta(milliseconds=int(rng.integers(0, 900_000)))
                    rows.append((at, name, cell))
    return _halves(folder, ["time", "sensor", "value"], rows)


def air_quality(folder: Path, *, stations: int = 4, days: int = 30) -> list[Path]:
    """Stations with four variables, hourly, wide: a daily cycle, wind that clears the air, holes of days."""
    rng, hours = np.random.default_rng(3), np.arange(days * 24)
    wind = _autoregressive(rng, len(hours), 0.95, 0.3)
    names: list[str] = []
    columns: list[Any] = []
    for station in range(stations):
        for variable in ("PM25", "O3", "TEMP", "WSPM"):
            cycle = np.sin(2 * np.pi * (hours - 3) / 24) * rng.uniform(0.6, 1.2)
            own = _autoregressive(rng, len(hours), 0.8, 0.2)
            values = {
                "PM25": 60 * np.exp(0.5 * cycle - 0.3 * np.roll(wind, 3) + own),
                "WSPM": np.maximum(0, 2 + wind + own),
            }.get(variable, 15 + 5 * cycle + own)
            cells = np.round(values, 2).astype(object)
            start = rng.integers(0, len(hours) - 72)
            cells[start : start + rng.integers(24, 72)] = ""
            names.append(f"station{station}.{variable}")
            columns.append(cells)
    begin = datetime(2014, 3, 1)
    rows = [(begin + timedelta(hours=hour), *(cells[hour] for cells in columns)) for hour in hours.tolist()]
    return _halves(folder, ["datetime", *names], rows)


def _autoregressive(rng: np.random.Generator, length: int, memory: float, spread: float) -> Any:
    values, shocks = np.zeros(length), rng.normal(0, spread, length)
    for at in range(1, length):
        values[at] = memory * values[at - 1] + shocks[at]
    return values


def _halves(folder: Path, header: Sequence[str], rows: list[Row]) -> list[Path]:
    rows.sort(key=lambda row: row[0])
    paths = [folder / "first.csv", folder / "second.csv"]
    middle = len(rows) // 2
    for path, part in zip(paths, (rows[:middle], rows[middle:]), strict=True):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows((row[0].isoformat(sep=" "), *row[1:]) for row in part)
    return paths
