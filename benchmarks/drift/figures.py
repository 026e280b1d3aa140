"""What is measured: false alarms where nothing drifts, and labelled anomalies. delay.py: where something does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.data import Table, ett, learn, nab, play, uci235, uci374
from model_core.backtest import steps
from model_core.errors import NotEnoughHistory
from model_core.partition import PartitionState
from model_core.predictor import Predictor

HOUR_MS, WEEK = 3_600_000, 168
TOLD = ("cusum", "cusum_horizon", "level")  # what the rate of false alarms is of
SETS: dict[str, Callable[[Path], Table]] = {
    "ETTh1": lambda folder: ett(folder, "ETTh1"),
    "ETTh2": lambda folder: ett(folder, "ETTh2"),
    "UCI 374": lambda _: uci374(),
    "UCI 235": lambda _: uci235(),
}
RANDOM_ORDER, AS_IT_CAME, EXCHANGED = "weeks in random order", "as it came", "as it came, halves exchanged"
ORDERS = 4  # random ones: of one, a set of 40,000 ticks has four alarms, give or take two
WARM_SEASONS = 4  # ticks before what counts, in which units are learned
PROBATION = 0.15  # of an NAB file, as its own scoring has it

# --- false alarms -----------------------------------------------------------------------------------------------------


def shuffled(table: Table, seed: int) -> Table:
    """The same weeks in random order: what trained and what is watched are alike, whatever drifted."""
    count = len(table.values) // WEEK
    weeks = table.values[: count * WEEK].reshape(count, WEEK, -1)
    order = np.random.default_rng(seed).permutation(count)
    return replace(table, values=weeks[order].reshape(count * WEEK, -1))


def false_alarms(folder: Path, name: str, rate: float, seed: int | None, *, exchanged: bool = False) -> dict[str, Any]:
    """Trained on the first half at this rate, counted on the second; `seed` None: as the data came.

    `exchanged`: trained on the second half, counted on the first, of which what units need is not counted.
    """
    table = SETS[name](folder)
    table = table if seed is None else shuffled(table, seed)
    end = len(table.values)
    cut = end // 2
    bundle = learn(table.part(cut, end) if exchanged else table.part(0, cut), rate)
    manifest = bundle.manifest
    state = PartitionState(table.spec, 0, bundle.facts())
    predictor = Predictor(table.spec, bundle, device="cpu")
    warm = table.spec.context_length + WARM_SEASONS * manifest.season
    begin, counted, end = (0, warm, cut) if exchanged else (cut - warm, cut, end)
    readings = table.part(begin, end).readings()
    first = int(np.searchsorted(readings.timestamps_ms, table.spec.grid.starts_ms(table.first + counted)))
    for _ in steps(state, readings.part(0, first), predictor):
        pass
    found: Counter[str] = Counter()
    storms = 0
    for _, outcome in steps(state, readings.part(first, len(readings)), predictor):
        found.update(outcome.alarms)
        storms += len(outcome.storms)
    ticks = (end - counted) * len(table.series)
    return {
        "set": name,
        "order": RANDOM_ORDER if seed is not None else EXCHANGED if exchanged else AS_IT_CAME,
        "rate": rate,
        "ticks": ticks,
        "alarms": dict(found),
        "per_million": sum(found[each] for each in TOLD) / ticks * 1e6,
        "storms": storms,
        "thresholds": [manifest.cusum_threshold, manifest.horizon_threshold, manifest.level_threshold],
    }


# --- labelled anomalies -----------------------------------------------------------------------------------------------

NAB = {
    "ambient_temperature_system_failure": HOUR_MS,
    "cpu_utilization_asg_misconfiguration": 300_000,
    "ec2_request_latency_system_failure": 300_000,
    "machine_temperature_system_failure": 300_000,
    "nyc_taxi": 1_800_000,
    "rogue_agent_key_hold": 300_000,
    "rogue_agent_key_updown": 300_000,
}


def labelled(folder: Path, name: str) -> dict[str, Any]:
    """Windows of realKnownCause/NAME that were hit, and alarms outside of them; and what a 3σ rule does."""
    table = nab(folder, name, NAB[name], context=144, horizon=12)
    probation = int(PROBATION * len(table.values))
    try:
        bundle = learn(table.part(0, probation), 100.0)
    except NotEnoughHistory:
        bundle = None
    season = bundle.manifest.season if bundle else table.spec.default_season
    windows = json.loads((folder / "nab" / "labels" / "combined_windows.json").read_text())
    spans = [[_tick(table, edge) for edge in span] for span in windows[f"realKnownCause/{name}.csv"]]
    said = [each for each in play(table, bundle) if each.series_id and each.state == "drift"]
    ours = [each.since for each in said if each.since >= table.first + probation]
    rule = [each for each in three_sigma(table, season) if each >= table.first + probation]
    judged = (table.first + probation, table.first + len(table.values))
    return {
        "file": name,
        "windows": len(spans),
        "trained": bundle is not None,
        "season": season,
        "levels_watched": bundle is not None and bundle.manifest.level_threshold is not None,
        "detectors": dict(Counter(each.detector for each in said if each.since >= table.first + probation)),
        "tidecast": _score(ours, spans, judged),
        "three_sigma": _score(rule, spans, judged),
    }


def three_sigma(table: Table, season: int) -> list[int]:
    """Ticks whose value lies beyond three standard deviations of the season before; it rests as our detectors do."""
    values, found, until = table.values[:, 0], [], -1
    for row in range(season, len(values)):
        before = values[row - season : row]
        if row <= until or not np.isfinite(values[row]) or np.isfinite(before).sum() < season // 2:
            continue
        if abs(values[row] - np.nanmean(before)) > 3 * np.nanstd(before):
            found.append(table.first + row)
            until = row + season
    return found


def _score(ticks: list[int], spans: list[list[int]], judged: tuple[int, int]) -> dict[str, float]:
    inside = [any(first <= tick <= last for first, last in spans) for tick in ticks]
    hit = sum(any(first <= tick <= last for tick in ticks) for first, last in spans)
    by_chance = hit_by_chance(len(ticks), spans, judged)
    return {"hit": hit, "by_chance": by_chance, "alarms": len(ticks), "outside": inside.count(False)}


def hit_by_chance(alarms: int, spans: list[list[int]], judged: tuple[int, int]) -> float:
    """How many windows [first, last] so many alarms hit on average that come anywhere in ticks [first, end)."""
    begin, end = judged
    shares = [max(0, min(last + 1, end) - max(first, begin)) / (end - begin) for first, last in spans]
    return sum(1 - (1 - share) ** alarms for share in shares)


def _tick(table: Table, text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(table.spec.grid.tick(int(moment.timestamp() * 1000)))
