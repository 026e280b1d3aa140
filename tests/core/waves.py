"""Phase C alone: columns, a Settlement, waves and answers made by hand, and the ledger as it lies in the columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.columns import Columns
from model_core.ladder import Reason, Rung
from model_core.ledger import slots_of_horizons
from model_core.outcomes import Observed, Outcome, Wave, WaveKind
from model_core.settlement import Settlement, settlement_fields
from model_core.spec import StreamSpec
from model_core.windows import window_fields

NOTHING = np.empty(0, np.int64)


class Waves:
    """Series s0, s1, … of one partition; `facts` are changes to those of no model."""

    def __init__(
        self,
        series: int = 1,
        bounds: tuple[float, float] = (-np.inf, np.inf),
        facts: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.closed = 0  # newest tick that the watermark has closed, for the next wave
        self.spec = StreamSpec(**({"topic": "t", "freq": "1h"} | settings))
        self.columns = Columns((*window_fields(self.spec), *settlement_fields(self.spec)))
        self.columns.add([f"s{i}" for i in range(series)])
        self.columns.flat("bounds")[:] = bounds
        self.facts = replace(ModelFacts.none(self.spec), **(facts or {}))
        self.settlement = Settlement(self.spec, self.columns, 0, self.facts)

    # --- waves ------------------------------------------------------------------------------------------------------

    def settle(self, columns: Any, ticks: Any, values: Any, change: Any = np.nan) -> Outcome:
        index = np.array(columns, np.int64)
        at, found, changes = (np.broadcast_to(x, len(index)) for x in (ticks, values, change))
        return self._take(WaveKind.SETTLED, index, at, values=found, change=changes)

    def drop(self, columns: Any) -> Outcome:
        return self._take(WaveKind.SKIPPED, np.array(columns, np.int64), np.zeros(len(columns)))

    def issue(
        self,
        columns: Any,
        origin: int,
        locations: np.ndarray,
        *,
        reasons: Any = Reason.NO_MODEL,
        scale: float = 1.0,
        settled: int | None = None,
    ) -> Outcome:
        """Forecasts whose locations [n, 3, H] are given; CORRECTED where targets up to `settled` have had their score,
        so that nothing settles beside it."""
        index = np.array(columns, np.int64)
        rows = len(index)
        raw = RawForecast(
            np.array(locations, np.float64),
            np.broadcast_to(np.array(reasons, np.int8), rows).copy(),
            np.ones(rows, np.float32),
            np.zeros(rows, np.bool_),
        )
        empty = np.empty((rows, 1, 1), np.float32)
        spread, ticks = np.full((rows, 1), scale), np.full(rows, origin)
        codes = np.zeros(rows, np.int8)
        windows = WindowBatch(empty, empty, empty, ticks, spread, spread, spread[:, 0], codes, ticks)
        last = np.full(rows, origin if settled is None else settled)
        due = (np.arange(rows), ticks, np.zeros(rows, np.int64), last)
        return self._take(WaveKind.CORRECTED, index, ticks, due=due, raw=raw, windows=windows)

    def _take(
        self,
        kind: WaveKind,
        index: np.ndarray,
        ticks: np.ndarray,
        *,
        values: np.ndarray | None = None,
        change: np.ndarray | None = None,
        due: tuple[np.ndarray, ...] = (NOTHING,) * 4,
        raw: RawForecast | None = None,
        windows: WindowBatch | None = None,
    ) -> Outcome:
        nothing = np.full(len(index), np.nan)
        wave = Wave(
            index,
            np.array(ticks, np.int64),
            nothing if values is None else np.array(values, np.float64),
            np.arange(len(index)),
            *due,
            nothing if change is None else np.array(change, np.float64),
            closed=self.closed,
            cause=0,
            kind=kind,
        )
        return self.settlement.settle_and_issue(Observed([wave], windows, [], (), {"warming_up": 0}), raw)

    # --- the ledger -------------------------------------------------------------------------------------------------

    def enter(self, columns: Any, tick: int, quantiles: np.ndarray, known: Any = True) -> None:
        """Let quantiles [n, K, 3, Q] of the last value wait for `tick`, at the scored horizons `known` [K]."""
        horizons, every = np.array(self.spec.scored_horizons), self.spec.forecast_every
        count = slots_of_horizons(self.spec)
        slots = np.cumsum(count) - count + (tick - horizons) // every % count
        known = np.broadcast_to(known, len(slots))
        slots, quantiles = slots[known], quantiles[:, known]
        index = np.array(columns)[:, None]
        self.columns.arrays["issued"][index >> 8, slots, index & 255] = quantiles
        self.columns.arrays["issued_rung"][index >> 8, slots, index & 255] = Rung.LAST_VALUE

    def waiting(self, column: int) -> dict[tuple[int, int], np.ndarray]:
        """(scored horizon, slot of it) → quantiles [3, Q] of what waits."""
        count = slots_of_horizons(self.spec)
        of_slot = [(h, i) for h, n in zip(self.spec.scored_horizons, count.tolist(), strict=True) for i in range(n)]
        block, at = column >> 8, column & 255
        there = np.flatnonzero(self.columns.arrays["issued_rung"][block, :, at] >= 0)
        return {of_slot[slot]: self.columns.arrays["issued"][block, slot, at].copy() for slot in there.tolist()}
