"""The long-horizon protocol of ETT: which rows fit, which choose, which judge, and how errors are counted.

12, 4 and 4 months of 30 days. The z-score is of the first 12 months alone. Windows of the later parts look back into
the part before; every origin counts (stride 1), the last ones too. The test part stays closed until the method is
saved.
"""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.figures_in_turn import NoData
from model_core.arrays import FloatArray, IntArray
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.history import CellHistory

CONTEXT = 512
SEASON = 24
MONTH = 30 * 24
TRAIN_END, VALIDATION_END, TEST_END = 12 * MONTH, 16 * MONTH, 20 * MONTH
TEST_WINDOWS = {96: 2785, 192: 2689, 336: 2545, 720: 2161}
HORIZONS_ALL = tuple(TEST_WINDOWS)
HOUR_MS = 3_600_000


class ClosedPart(Exception):
    """Somebody asked for the test part before the method was saved."""


@dataclass(frozen=True)
class Ett:
    """One file: hourly rows of all its series."""

    name: str
    series: tuple[str, ...]
    first_tick: int  # hours since 1970
    rows: FloatArray  # float64 [T, S]

    @classmethod
    def read(cls, folder: Path, name: str) -> Ett:
        path = folder / f"{name}.csv.gz"
        if not path.is_file():
            raise NoData(f"expected {name}.csv.gz in {folder} (--data, or TIDECAST_ETT), and it is not there")
        with gzip.open(path, "rt") as file:
            head, *lines = csv.reader(file)
        first = datetime.strptime(lines[0][0], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        rows = np.array([line[1:] for line in lines], np.float64)
        return cls(name, tuple(head[1:]), int(first.timestamp() * 1000) // HOUR_MS, rows)


def standardised(rows: FloatArray) -> FloatArray:
    """Rows [T, S] in standard deviations of the training part: nothing after it has a say."""
    train = rows[:TRAIN_END]
    return (rows[:TEST_END] - train.mean(axis=0)) / train.std(axis=0)


class Sealed:
    """Standardised rows [T, S] whose test part opens only when the method is on disk."""

    def __init__(self, data: Ett) -> None:
        self._rows = standardised(data.rows)
        self._data = data

    @property
    def train(self) -> FloatArray:
        return self._rows[:TRAIN_END]

    @property
    def before_test(self) -> FloatArray:
        return self._rows[:VALIDATION_END]

    def open(self, methods: Path, cell: str) -> FloatArray:
        """All rows [T, S]. ClosedPart when `methods` does not name how this cell will be forecast."""
        if not methods.is_file() or cell not in json.loads(methods.read_text()):
            raise ClosedPart(f"save the method of {cell} in {methods} before looking at the test part")
        return self._rows

    def history(self, rows: FloatArray) -> CellHistory:
        return history_of(rows, self._data.series, self._data.first_tick)

    def windows(self, rows: FloatArray, horizon: int, half_life_days: int | None = None) -> TrainingWindows:
        """What the product trains on and forecasts from. It sees these rows and no later one."""
        return windows_of(rows, self._data.series, self._data.first_tick, stream(horizon, half_life_days))


def stream(horizon: int, half_life_days: int | None = None) -> StreamSpec:
    """Without calendar features: one year is too little to learn a week's shape from seven series."""
    half_life = None if half_life_days is None else f"{half_life_days}d"
    return StreamSpec(
        topic="ett", freq="1h", context_length=CONTEXT, horizon=horizon, calendar=(), training_half_life=half_life
    )


def history_of(rows: FloatArray, series: tuple[str, ...], first_tick: int) -> CellHistory:
    history = CellHistory()
    columns = history.columns_of(list(series))
    ticks = np.repeat(np.arange(len(rows)) + first_tick, len(series))
    history.put(np.tile(columns, len(rows)), ticks, rows.reshape(-1))
    return history


def windows_of(rows: FloatArray, series: tuple[str, ...], first_tick: int, spec: StreamSpec) -> TrainingWindows:
    return TrainingWindows(spec, history_of(rows, series, first_tick))


def train_origins(horizon: int) -> tuple[int, int]:
    """Rows [first, last) that are origins of windows wholly inside the training part."""
    return CONTEXT - 1, TRAIN_END - horizon


def validation_origins(horizon: int) -> tuple[int, int]:
    return TRAIN_END - 1, VALIDATION_END - horizon


def judged_origins(horizon: int) -> tuple[int, int]:
    first, last = VALIDATION_END - 1, TEST_END - horizon
    expected = TEST_WINDOWS.get(horizon)
    assert expected is None or last - first == expected, f"{last - first} test windows, the protocol has {expected}"
    return first, last


@dataclass(frozen=True)
class Errors:
    """Mean over the horizon of squared and absolute errors, float64 [n, S], at n origins."""

    origins: IntArray  # int64 [n], rows
    squared: FloatArray
    absolute: FloatArray

    @classmethod
    def of(cls, origins: IntArray, forecasts: FloatArray, actual: FloatArray) -> Errors:
        """forecasts and actual [n, S, H]."""
        error = forecasts - actual
        return cls(origins, (error**2).mean(axis=2), np.abs(error).mean(axis=2))

    @staticmethod
    def joined(parts: list[Errors]) -> Errors:
        names = ("origins", "squared", "absolute")
        return Errors(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def at(self, origins: IntArray) -> Errors:
        """The same at some of the origins only."""
        places = np.searchsorted(self.origins, origins)
        assert np.array_equal(self.origins[places], origins), "origins that were never forecast"
        return Errors(origins, self.squared[places], self.absolute[places])

    @property
    def mse(self) -> float:
        return float(self.squared.mean())

    @property
    def mae(self) -> float:
        return float(self.absolute.mean())
