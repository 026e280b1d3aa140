"""What is measured: false alarms where nothing drifts, delay where something does, and labelled anomalies."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.data import Table, ett, learn, nab, play, uci235, uci374
from model_core.backtest import steps
from model_core.bundle import Bundle
from model_core.columns import Piece
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training import NotEnoughHistory

HOUR_MS, WEEK = 3_600_000, 168
TOLD = ("cusum", "cusum_horizon", "level")  # what the rate of false alarms is of
SETS: dict[str, Callable[[Path], Table]] = {
    "ETTh1": lambda folder: ett(folder, "ETTh1"),
    "ETTh2": lambda folder: ett(folder, "ETTh2"),
    "UCI 374": lambda _: uci374(),
    "UCI 235": lambda _: uci235(),
}
WARM_SEASONS = 4  # ticks before what counts, in which units are learned
WARM_LEVELS = 60  # seasons before a change: what is usual has been learned
INJECTIONS, AFTER_DAYS = 8, 14
PHASE_TICKS = 8
# (values [n, 1] from the change on, σ, rng) → what they are instead
CHANGES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "none": lambda values, _, __: values,
    "level +1 σ": lambda values, size, _: values + size,
    "level +2 σ": lambda values, size, _: values + 2 * size,
    "noise of 2 σ": lambda values, size, rng: values + 2 * size * rng.normal(size=values.shape),
    "clock +8 h": lambda values, _, __: np.roll(values, PHASE_TICKS, axis=0),
}
PROBATION = 0.15  # of an NAB file, as its own scoring has it

# --- false alarms -----------------------------------------------------------------------------------------------------


def shuffled(table: Table, seed: int) -> Table:
    """The same weeks in random order: what trained and what is watched are alike, whatever drifted."""
    count = len(table.values) // WEEK
    weeks = table.values[: count * WEEK].reshape(count, WEEK, -1)
    order = np.random.default_rng(seed).permutation(count)
    return replace(table, values=weeks[order].reshape(count * WEEK, -1))


def false_alarms(folder: Path, name: str, rate: float, seed: int | None) -> dict[str, Any]:
    """Trained on the first half at this rate, counted on the second; `seed` None: as the data came."""
    table = SETS[name](folder)
    table = table if seed is None else shuffled(table, seed)
    cut = len(table.values) // 2
    bundle = learn(table.part(0, cut), rate)
    manifest = bundle.manifest
    state = PartitionState(table.spec, 0, bundle.facts())
    predictor = Predictor(table.spec, bundle, device="cpu")
    warm = table.spec.context_length + WARM_SEASONS * manifest.season
    readings = table.part(cut - warm, len(table.values)).readings()
    first = int(np.searchsorted(readings.timestamps_ms, table.spec.grid.starts_ms(table.first + cut)))
    for _ in steps(state, readings.part(0, first), predictor):
        pass
    found: Counter[str] = Counter()
    storms = 0
    for _, outcome in steps(state, readings.part(first, len(readings)), predictor):
        found.update(outcome.alarms)
        storms += len(outcome.storms)
    ticks = (len(table.values) - cut) * len(table.series)
    return {
        "set": name,
        "order": "as it came" if seed is None else "weeks in random order",
        "rate": rate,
        "ticks": ticks,
        "alarms": dict(found),
        "per_million": sum(found[each] for each in TOLD) / ticks * 1e6,
        "storms": storms,
        "thresholds": [manifest.cusum_threshold, manifest.horizon_threshold, manifest.level_threshold],
    }


# --- delay ------------------------------------------------------------------------------------------------------------


def delays(folder: Path, name: str, seed: int = 0) -> list[dict[str, Any]]:
    """Changes that stay, injected into the raw series of the second half; σ is of the seasonal difference."""
    table = SETS[name](folder)
    cut = len(table.values) // 2
    bundle = learn(table.part(0, cut), 100.0)
    season = bundle.manifest.season
    rng = np.random.default_rng(seed)
    after = AFTER_DAYS * 24
    warm = max(table.spec.context_length + WARM_SEASONS * season, WARM_LEVELS * season)
    places = rng.integers(max(cut, warm), len(table.values) - after, (INJECTIONS, len(table.series)))
    sizes = np.nanstd(table.values[season:cut] - table.values[: cut - season], axis=0)
    waited: dict[str, list[float]] = {change: [] for change in CHANGES}
    predictor = Predictor(table.spec, bundle, device="cpu")
    for column, size in enumerate(sizes.tolist()):
        one = replace(table, series=(table.series[column],), values=table.values[:, [column]])
        for at in places[:, column].tolist():
            state = PartitionState(table.spec, 0, bundle.facts())
            for _ in steps(state, one.part(at - warm, at).readings(), predictor):
                pass
            state.columns.touch_all()
            kept, meta, part = state.columns.take_dirty(0), state.meta(), one.part(at, at + after)
            for change, inject in CHANGES.items():
                again = _as_it_was(table.spec, meta, kept, bundle)
                waited[change].append(_wait(replace(part, values=inject(part.values, size, rng)), again, predictor))
    rows = []
    for change, found in waited.items():
        ticks = np.array(found)
        within = {f"{days} d": float((ticks <= days * 24).mean()) for days in (1, 3, 7, 14)}
        median = float(np.median(ticks)) if np.isfinite(np.median(ticks)) else None
        rows.append({"set": name, "change": change, "injections": len(ticks), "within": within, "median_ticks": median})
    return rows


def _as_it_was(spec: StreamSpec, meta: dict[str, Any], kept: list[Piece], bundle: Bundle) -> PartitionState:
    """The state that was taken before the change, once more."""
    ids = [bytes(piece.data) for piece in kept if piece.field == "ids"]
    rest = [piece for piece in kept if piece.field != "ids"]
    return PartitionState.restore(spec, 0, meta, ids, rest, bundle.facts())


def _wait(table: Table, state: PartitionState, predictor: Predictor) -> float:
    """Ticks from the first row to the first alarm that counts; infinite: none until the end of the table."""
    for _, outcome in steps(state, table.readings(), predictor):
        for record in outcome.drift:
            if record.detector in TOLD and record.state == "drift" and record.since >= table.first:
                return float(record.since - table.first)
    return math.inf


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
    return {
        "file": name,
        "windows": len(spans),
        "trained": bundle is not None,
        "season": season,
        "detectors": dict(Counter(each.detector for each in said if each.since >= table.first + probation)),
        "tidecast": _score(ours, spans),
        "three_sigma": _score([each for each in three_sigma(table, season) if each >= table.first + probation], spans),
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


def _score(ticks: list[int], spans: list[list[int]]) -> dict[str, int]:
    inside = [any(first <= tick <= last for first, last in spans) for tick in ticks]
    hit = sum(any(first <= tick <= last for tick in ticks) for first, last in spans)
    return {"hit": hit, "alarms": len(ticks), "outside": inside.count(False)}


def _tick(table: Table, text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(table.spec.grid.tick(int(moment.timestamp() * 1000)))
