"""Delay: changes that stay, injected into copies of the raw series of the second half, and how soon they are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.data import Table, learn
from benchmarks.drift.figures import SETS, TOLD, WARM_SEASONS
from model_core.backtest import steps
from model_core.bundle import ModelFacts
from model_core.drift.level import SEASONS_MIN, SLOW_SEASONS
from model_core.partition import PartitionState
from model_core.predictor import Predictor

RATE = 100.0
INJECTIONS = 8  # a series
WARM_LEVELS = 60  # seasons before the second half: what is usual has been learned
DAYS = (1, 3, 7, 14)
PHASE_TICKS = 8
Change = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


def level(sizes: float) -> Change:
    return lambda cells, at, size, _: np.concatenate([cells[:at], cells[at:] + sizes * size])


def noise(cells: np.ndarray, at: int, size: float, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([cells[:at], cells[at:] + 2 * size * rng.normal(size=len(cells) - at)])


def clock(cells: np.ndarray, at: int, _size: float, _rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([cells[:at], cells[at - PHASE_TICKS : len(cells) - PHASE_TICKS]])


# (cells [n], row at which it begins, σ, rng) → cells [n]
CHANGES: dict[str, Change] = {
    "none": level(0.0),
    "level +1 σ": level(1.0),
    "level +2 σ": level(2.0),
    "noise of 2 σ": noise,
    "clock +8 h": clock,
}


def delays(folder: Path, name: str, seed: int = 0) -> list[dict[str, Any]]:
    """σ is of the seasonal difference of the first half, from which everything else is learned as well."""
    return _delays(SETS[name](folder), name, CHANGES, seed)


def own_change(folder: Path, name: str, seed: int = 0) -> list[dict[str, Any]]:
    """The same of a level that moves as far as this set's levels do by themselves once in a long while."""
    table, size = SETS[name](folder), typical_change(folder, name)["size"]
    return _delays(table, name, {f"level +{size:.1f} σ": level(size)}, seed)


def _delays(table: Table, name: str, changes: dict[str, Change], seed: int) -> list[dict[str, Any]]:
    cut = len(table.values) // 2
    bundle = learn(table.part(0, cut), RATE)
    season, facts = bundle.manifest.season, bundle.facts()
    rng = np.random.default_rng(seed)
    after = DAYS[-1] * 24
    warm = max(table.spec.context_length + WARM_SEASONS * season, WARM_LEVELS * season)
    places = rng.integers(max(cut, warm), len(table.values) - after, (INJECTIONS, len(table.series)))
    sizes = np.nanstd(table.values[season:cut] - table.values[: cut - season], axis=0)
    first = max(cut, warm) - warm
    watched = table.part(first, len(table.values))
    rows = []
    for change, inject in changes.items():
        altered = [
            inject(watched.values[:, column], int(places[k, column]) - first, float(sizes[column]), rng)
            for k in range(INJECTIONS)
            for column in range(len(table.series))
        ]
        copies = {f"{of}@{k}": of for k in range(INJECTIONS) for of in table.series}
        played = replace(watched, series=tuple(copies), values=np.stack(altered, axis=1))
        waited = _waits(played, places.ravel() + table.first, as_copies(facts, copies), Predictor(table.spec, bundle))
        rows.append({"set": name, "change": change} | _summary(waited))
    return rows


def as_copies(facts: ModelFacts, copies: dict[str, str]) -> ModelFacts:
    """Each copy has the tables of its original. Nothing is a storm: copies that alarm together are not one event."""
    tables = {copy: facts.series_base[of] for copy, of in copies.items() if of in facts.series_base}
    return replace(facts, series_base=tables, storm_share=1.0)


def _waits(table: Table, since: np.ndarray, facts: ModelFacts, predictor: Predictor) -> np.ndarray:
    """Ticks from `since` [S] to the first alarm of each series that counts, float64 [S]; infinite: none."""
    state = PartitionState(table.spec, 0, facts)
    begins = dict(zip(table.series, since.tolist(), strict=True))
    waited = dict.fromkeys(table.series, math.inf)
    for _, outcome in steps(state, table.readings(), predictor):
        for record in outcome.drift:
            name = record.series_id
            if (
                name is not None
                and record.detector in TOLD
                and record.state == "drift"
                and record.since >= begins[name]
            ):
                waited[name] = min(waited[name], float(record.since - begins[name]))
    return np.array(list(waited.values()))


def _summary(ticks: np.ndarray) -> dict[str, Any]:
    within = {f"{days} d": float((ticks <= days * 24).mean()) for days in DAYS}
    median = float(np.median(ticks)) if (ticks <= DAYS[-1] * 24).mean() > 0.5 else None
    return {"injections": len(ticks), "within": within, "median_ticks": median}


def typical_change(folder: Path, name: str) -> dict[str, Any]:
    """By how many σ the mean of a season lies off that of the SLOW_SEASONS before it as often as alarms are asked for:
    what levels do by themselves, over the whole set."""
    table = SETS[name](folder)
    season = 24
    values = table.values[: len(table.values) // season * season]
    means = np.nanmean(values.reshape(-1, season, values.shape[1]), axis=1)
    size = np.nanstd(table.values[season:] - table.values[:-season], axis=0)
    back = int(SLOW_SEASONS)
    usual = np.stack([np.nanmean(means[row - back : row], axis=0) for row in range(max(back, SEASONS_MIN), len(means))])
    off = np.abs(means[-len(usual) :] - usual) / size
    return {"set": name, "rate": RATE, "size": float(np.nanquantile(off, 1 - RATE * season / 1e6))}
