"""One figure: rows of the table, and the raw numbers behind them. Saved as soon as it is there."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stage import Stage


@dataclass(frozen=True)
class Row:
    """One line of the table. `value` is the median where there are several rounds."""

    what: str
    value: float | None  # None: not run, and `note` says why
    unit: str
    low: float | None = None
    high: float | None = None
    must: str = ""  # what it must reach
    note: str = ""

    @staticmethod
    def of(what: str, values: Sequence[float], unit: str, *, must: str = "", note: str = "") -> Row:
        if not values:
            return Row(what, None, unit, must=must, note=note or "not run")
        return Row(what, statistics.median(values), unit, min(values), max(values), must, note)


@dataclass
class Figure:
    """What a figure's function fills. `rows` of a failed one are those that were there before it failed."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)  # printed under the table, fenced
    plots: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    quick: bool = False
    machine: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(asdict(self), indent=1, default=float) + "\n")
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> Figure:
        found = json.loads(path.read_text())
        return Figure(**(found | {"rows": [Row(**row) for row in found["rows"]]}))


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The quick ones show that the benchmarks work, and are no figures."""

    rounds: int = 3
    series: int = 10_000
    ticks: int = 300
    packed_ticks: int = 600
    backlog_ticks: int = 500
    comings_ticks: int = 2_000
    live_seconds: int = 20
    live_rate: int = 20_000
    large_series: int = 100_000
    large_ticks: int = 512
    published_series: int = 4_000
    published_ticks: int = 50
    million: int = 1_000_000
    million_ticks: int = 20
    scaling_series: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    scaling_horizons: tuple[int, ...] = (12, 24, 48, 96)
    scaling_contexts: tuple[int, ...] = (96, 256, 512)
    scaling_partitions: tuple[int, ...] = (1, 8, 32)
    scaling_readings: int = 600_000
    interval_ms: int = 100  # transaction_interval, and commit.interval.ms of Kafka Streams


QUICK = Sizes(
    rounds=1,
    series=2_000,
    ticks=100,
    packed_ticks=100,
    backlog_ticks=200,
    comings_ticks=1_000,
    live_seconds=5,
    live_rate=4_000,
    large_series=2_000,
    large_ticks=512,
    published_series=500,
    published_ticks=30,
    million=20_000,
    million_ticks=20,
    scaling_series=(500, 2_000),
    scaling_horizons=(12, 24),
    scaling_contexts=(96, 128),
    scaling_partitions=(1, 8),
    scaling_readings=100_000,
)


@dataclass(frozen=True)
class Asked:
    """What the command line asked for."""

    sizes: Sizes
    peers: Path | None
    say: Callable[[str], None]


Measure = Callable[[Stage, Asked, Figure], None]
