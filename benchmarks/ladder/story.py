"""What happens to each series, and when. One log of all of them, hour by hour; knows nothing of workers.

Six series of the same daily wave with noise. Each is spoiled in its own way for some hours; the last two faults are of
the model, and seen by all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from model_core.arrays import FloatArray

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000  # 2026-01-01, ticks count from here
SEASON, NOISE, LEVEL, SWING = 24, 0.4, 20.0, 4.0
SEED = 20_260_101
HISTORY = 60 * SEASON  # ticks before the first, to train on
NAN_FROM, NAN_TO, GONE_FROM, GONE_TO, TICKS = 300, 324, 372, 396, 440


@dataclass(frozen=True)
class Scene:
    """One picture: a series, the ticks that are drawn, what was done in ticks [first, last), and how it is spoiled.

    The last tick of all is open when the story ends.
    """

    name: str
    title: str
    series: str
    drawn: tuple[int, int]
    fault: tuple[int, int]
    spoil: Callable[[int, float], float | None] | None = None  # (tick, value) → what is read instead, None: nothing


def _unread(_tick: int, _value: float) -> None:
    return None


def _now_and_then(tick: int, value: float) -> float | None:
    return None if tick % 5 in (1, 3) else value


def _the_same(_tick: int, _value: float) -> float:
    return LEVEL + 1.0


def _tenfold(_tick: int, value: float) -> float:
    return 10.0 * value


SCENES = (
    Scene("cold_start", "A series that speaks for the first time", "new", (80, 180), (0, 100), _unread),
    Scene("missing", "40 % of the readings missing", "holed", (80, 260), (120, 180), _now_and_then),
    Scene("gap", "Nothing read for longer than a season", "silent", (80, 260), (120, 150), _unread),
    Scene("flatline", "A sensor that is stuck", "stuck", (80, 280), (120, 180), _the_same),
    Scene("tenfold", "Values ten times as large", "tenfold", (80, 240), (130, 134), _tenfold),
    Scene("nan", "A model that answers NaN", "steady", (250, 370), (NAN_FROM, NAN_TO)),
    Scene("gone", "A model whose files are gone", "steady", (330, TICKS - 1), (GONE_FROM, GONE_TO)),
)
SERIES = tuple(dict.fromkeys(scene.series for scene in SCENES))


def waves() -> FloatArray:
    """float64 [HISTORY + TICKS, series]: what there would be to read."""
    rng = np.random.default_rng(SEED)
    ticks = np.arange(-HISTORY, TICKS)[:, None]
    phase = rng.uniform(0, 2 * np.pi, len(SERIES))
    wave = LEVEL + SWING * np.sin(2 * np.pi * ticks / SEASON + phase)
    return np.round(wave + rng.normal(0, NOISE, wave.shape), 2)


def read(values: FloatArray) -> dict[str, list[float | None]]:
    """Of each series what is read at each tick, spoiled; `values` float64 [TICKS, series]."""
    found = {name: [float(value) for value in values[:, column]] for column, name in enumerate(SERIES)}
    spoiled: dict[str, list[float | None]] = {name: list(row) for name, row in found.items()}
    for scene in SCENES:
        for tick in range(*scene.fault) if scene.spoil else ():
            spoiled[scene.series][tick] = scene.spoil(tick, found[scene.series][tick])
    return spoiled


def messages(of: dict[str, list[float | None]], first: int, last: int) -> Iterator[tuple[str, bytes]]:
    """(key, value) of ticks [first, last), in the order of time."""
    encode = partial(json.dumps, separators=(",", ":"))
    for tick in range(first, last):
        for name, row in of.items():
            if row[tick] is not None:
                reading = {"series_id": name, "timestamp": START_MS + tick * HOUR_MS, "value": row[tick]}
                yield name, encode(reading).encode()
