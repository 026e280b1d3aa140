"""Drives a PartitionState over a log cut into polls, as the pipeline does, and collects what it says by name."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from model_core.bundle import ModelFacts
from model_core.outcomes import Observed, Outcome, WaveKind
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from tests.core.oracle import Idle, Reading, Tombstone

Entry = Reading | Tombstone | Idle
Cells = dict[str, list[tuple[int, float | None, int]]]
Rows = dict[str, list[dict[str, Any]]]  # of each series, in order


@dataclass
class Said:
    """Everything that came out, by series: the order of one series is kept, that between series is free."""

    settled: Cells = field(default_factory=lambda: defaultdict(list))  # series → [(tick, value, cause offset)]
    corrected: list[tuple[str, int, float, int]] = field(default_factory=list)
    rejected: list[tuple[str, int, str]] = field(default_factory=list)
    deleted: list[tuple[int, str]] = field(default_factory=list)
    forecasts: Rows = field(default_factory=lambda: defaultdict(list))
    records: Rows = field(default_factory=lambda: defaultdict(list))
    summaries: Rows = field(default_factory=lambda: defaultdict(list))
    alarms: list[tuple[str, int, str, int]] = field(default_factory=list)
    reports: list[tuple[Any, ...]] = field(default_factory=list)
    storms: list[tuple[str, str, int, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Run:
    """`state` and what it `said`; readings that wait for confirmation are known by what the poll was."""

    def __init__(
        self, spec: StreamSpec, predictor: Predictor | None = None, state: PartitionState | None = None
    ) -> None:
        self.spec = spec
        self.predictor = predictor or Predictor(spec, None, device="cpu")
        self.state = PartitionState(spec, 0) if state is None else state
        self.said = Said()

    def log(self, entries: list[Entry], cuts: list[int], *, windows_max: int = 8192) -> Run:
        """Take entries in polls that begin at `cuts`; an idle decision stands between two polls."""
        idle = [i for i, entry in enumerate(entries) if isinstance(entry, Idle)]
        edges = sorted({0, len(entries), *cuts, *idle, *(i + 1 for i in idle)})
        for start, end in pairwise(edges):
            self.poll(entries[start:end], windows_max)
        return self

    def poll(self, entries: list[Entry], windows_max: int = 8192) -> None:
        if entries and isinstance(entries[0], Idle):
            chunks, kept = self.state.close_idle(), []
        else:
            kept = [entry for entry in entries if isinstance(entry, Reading)]
            gone = tuple((entry.offset, entry.series_id) for entry in entries if isinstance(entry, Tombstone))
            chunks = self.state.observe(readings_of(kept, gone), windows_max=windows_max)
        for observed in chunks:
            names = [name or "" for name in self.state.columns.ids]
            raw = self.predictor.raw(observed.windows) if observed.windows is not None else None
            outcome = self.state.settle_and_issue(observed, raw)
            self._keep(observed, outcome, names, kept)

    def _keep(self, observed: Observed, outcome: Outcome, names: list[str], polled: list[Reading]) -> None:
        said = self.said
        for rejected in observed.rejected:
            reading = polled[rejected.position] if rejected.position >= 0 else None
            said.rejected.append((reading.series_id, reading.timestamp_ms, rejected.reason) if reading else ("", 0, ""))
        for name, count in observed.counts.items():
            said.counts[name] = said.counts.get(name, 0) + count
        said.deleted += outcome.deleted
        for wave in observed.waves:
            values = [None if np.isnan(value) else float(value) for value in wave.values]
            rows = zip(wave.columns.tolist(), wave.ticks.tolist(), values, wave.offsets.tolist(), strict=True)
            for column, tick, value, offset in rows:
                if wave.kind is WaveKind.SETTLED:
                    said.settled[names[column]].append((tick, value, offset))
                elif wave.kind is WaveKind.CORRECTED:
                    said.corrected.append((names[column], tick, value, offset))
        self._keep_forecasts(observed, outcome)
        self._keep_scores(outcome)

    def _keep_forecasts(self, observed: Observed, outcome: Outcome) -> None:
        made, windows = outcome.forecasts, observed.windows
        assert len(made) == (0 if windows is None else len(windows)), "each window due leads to one forecast"
        for i, name in enumerate(made.series_ids):
            said = {
                "origin": int(made.origins[i]),
                "revision": int(made.revisions[i]),
                "offset": int(made.offsets[i]),
                "rung": int(made.rungs[i]),
                "reason": int(made.reasons[i]),
                "quantiles": made.quantiles[i],
                "mean": None if made.mean is None else made.mean[i],
                "observed_share": made.observed_share[i],
            }
            seen = {part: getattr(windows, part)[i] for part in windows.__dataclass_fields__}
            self.said.forecasts[name].append(said | seen)

    def _keep_scores(self, outcome: Outcome) -> None:
        said = self.said
        for part, kept in ((outcome.scored, said.records), (outcome.summaries, said.summaries)):
            if part is not None:
                arrays = {name: getattr(part, name) for name in part.__dataclass_fields__ if name != "series_ids"}
                for i, name in enumerate(part.series_ids):
                    kept[name].append({field: array[i] for field, array in arrays.items()})
        for drift in outcome.drift:
            if drift.series_id is not None:
                said.alarms.append((drift.series_id, drift.tick, drift.state, drift.offset))
            else:
                said.reports.append((drift.detector, drift.statistic, drift.tick, drift.offset))
                if drift.detector in ("storm", "outage"):
                    said.storms.append((drift.detector, drift.state, drift.tick, drift.offset))


def readings_of(readings: list[Reading], deletions: tuple[tuple[int, str], ...] = ()) -> Readings:
    return Readings(
        [reading.series_id for reading in readings],
        np.array([reading.timestamp_ms for reading in readings], np.int64),
        np.array([reading.value for reading in readings], np.float64),
        np.array([reading.offset for reading in readings], np.int64),
        deletions,
    )


def random_cuts(draw: random.Random, length: int) -> list[int]:
    """Polls of a typical size that is itself random: single readings up to the whole log."""
    typical = draw.choice([1, 3, 10, 60, length + 1])
    cuts, at = [], 0
    while at < length:
        cuts.append(at)
        at += draw.randint(1, 2 * typical)
    return cuts


def stopped_and_restored(state: PartitionState, spec: StreamSpec, facts: ModelFacts | None = None) -> PartitionState:
    """The state as it comes back from a snapshot, of the ring only the live rows."""
    pieces = state.columns.take_dirty(0)
    state.columns.touch_all()  # this snapshot is whole, whatever was taken before
    pieces = state.columns.take_dirty(0)
    ids = [bytes(piece.data) for piece in sorted(pieces, key=lambda p: p.block) if piece.field == "ids"]
    meta = json.loads(json.dumps(state.meta()))
    restored = PartitionState.restore(spec, 0, meta, ids, [piece for piece in pieces if piece.field != "ids"], facts)
    first, last = restored.live_rows()
    capacity = spec.ring_capacity
    live = {tick % capacity for tick in range(max(first, last - capacity + 1), last + 1)}
    dead = [row for row in range(capacity) if row not in live]
    restored.columns.arrays["ring"][:, dead] = np.nan
    return restored


def assert_same_bytes(found: Any, expected: Any, where: str) -> None:
    """Equal to the last bit, NaN equal to itself."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same_bytes(found[key], expected[key], f"{where}[{key}]")
    elif isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype, where
        assert found.tobytes() == expected.tobytes(), f"{where}: {found} is not {expected}"
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same_bytes(one, other, f"{where}[{i}]")
    else:
        assert found == expected or (found != found and expected != expected), f"{where}: {found} is not {expected}"


def final(state: PartitionState) -> dict[str, Any]:
    blocks = state.columns.blocks
    return {name: array[:blocks] for name, array in state.columns.arrays.items()} | {
        "meta": state.meta(),
        "ids": state.columns.ids,
    }


def said_bytes(run: Run) -> dict[str, Any]:
    """What was said, in an order that polls do not choose: of single series it is kept, between them it is free."""
    said = vars(run.said).copy()
    for name in ("corrected", "rejected", "alarms"):
        said[name] = sorted(said[name])
    return said
