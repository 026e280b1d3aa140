"""The border between phase C and its kernels (compiled/phase_c.h, settle.c, issue.c, scoring.c): which array is where.

The kernels are told the addresses of columns again when columns were added, and those of the model when another takes
charge. Nothing is decided here.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import AnyArray, BoolArray, CodeArray, FloatArray, IntArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.columns import Columns
from model_core.compiled import address, phase_c
from model_core.drift import level
from model_core.drift.ratios import SLOW_SEASONS
from model_core.ladder import ISSUING, TRACKED_RUNGS
from model_core.ledger import slots_of_horizons
from model_core.models.intermittent import fine_levels
from model_core.quantiles import Levels
from model_core.scoring import SCORED, result_rows
from model_core.spec import StreamSpec


@dataclass(frozen=True)
class Constants:
    """Numbers that training uses as well."""

    unit_floor_share: float  # smallest unit, of the scaler's standard deviation
    unit_winsor: float
    drift_slack: float
    drift_winsor: float
    level_slack: float
    level_winsor: float
    level_decay: float  # a season
    level_seasons: float  # from which a level is judged


class Answers:
    """The forecasts of one poll as they are made, wave by wave: all arrays have a row a window, in wave order."""

    def __init__(self, spec: StreamSpec, raw: RawForecast, windows: WindowBatch, *, quiet: bool) -> None:
        """`quiet`: without quantiles, means and runs; what will be scored goes into the ledger all the same."""
        rows, levels = len(raw.reason), len(spec.quantile_levels)
        told = 0 if quiet else rows
        self.rungs: CodeArray = np.empty(rows, np.int8)
        self.reasons: CodeArray = np.empty(rows, np.int8)
        self.quantiles: FloatArray = np.empty((told, levels, spec.horizon), np.float32)
        with_mean = spec.is_demand and not quiet
        self.mean: FloatArray | None = np.empty((rows, spec.horizon), np.float32) if with_mean else None
        assert len(windows) == rows, "an answer for each window"
        assert raw.locations.shape == (rows, TRACKED_RUNGS, spec.horizon), "a location for each step"
        self._runs: CodeArray = np.full(told, -1, np.int8)
        self._run_facts: FloatArray = np.empty((told, 2))
        given: list[tuple[AnyArray, Any]] = [
            (np.ascontiguousarray(raw.locations), np.float64),
            (np.ascontiguousarray(raw.reason), np.int8),
            (np.ascontiguousarray(raw.suspicious), np.bool_),
            (np.ascontiguousarray(windows.scale[:, 0]), np.float64),
            (np.ascontiguousarray(windows.level), np.float64),
            (np.ascontiguousarray(windows.windows), np.float32),
        ]
        shape = windows.windows.shape[1:]
        made: list[tuple[AnyArray, Any]] = [
            (self.rungs, np.int8),
            (self.reasons, np.int8),
            (self.quantiles, np.float32),
        ]
        own = raw.own if spec.is_demand else None
        if own is not None:
            assert own.shape == (rows, spec.horizon, len(fine_levels(spec.quantile_levels))), "a distribution a step"
            own = np.ascontiguousarray(own)
        mean = None if self.mean is None else address(self.mean, np.float32)
        self._kept = given, own  # as long as their addresses
        *seen, cells = (address(array, dtype) for array, dtype in given)
        self._struct = phase_c.Answers(
            *seen,
            None if own is None else address(own, np.float64),
            cells,
            *shape,
            *(address(array, dtype) if array.size else None for array, dtype in made),
            mean,
            address(self._runs, np.int8),
            address(self._run_facts, np.float64),
        )
        self.address = ctypes.addressof(self._struct)

    @property
    def turned(self) -> int:
        """Windows of the newest wave whose end is a run, or is one no more."""
        return int(self._struct.turned)

    def runs_from(self, start: int, rows: int) -> tuple[IntArray, CodeArray, FloatArray]:
        """Those of the wave whose answers are at `start` and after: rows of it, codes of alarms.Said, facts."""
        found = np.flatnonzero(self._runs[start : start + rows] >= 0)
        return found, self._runs[start + found], self._run_facts[start + found]


class Found:
    """Rows of a wave that Python has to report."""

    def __init__(self) -> None:
        self._room = 0
        self._lost: FloatArray | None = None
        self._struct = phase_c.Found()
        self.address = ctypes.addressof(self._struct)

    def make_room(self, rows: int) -> None:
        if rows <= self._room:
            return
        self._room = rows
        self._rows = {name: np.empty(rows, np.int64) for name in ("turned_rows", "completed_rows", "summarised_rows")}
        self._statistic, self._said = np.empty(rows), np.empty(rows, np.int8)
        for name, array in self._rows.items():
            setattr(self._struct, name, address(array, np.int64))
        self._struct.statistic = address(self._statistic, np.float64)
        self._struct.said = address(self._said, np.int8)
        if self._lost is not None:
            self.keep_losses(True)

    def keep_losses(self, keep: bool) -> None:
        """Whether `lost` is kept."""
        self._lost = np.empty(self._room) if keep else None
        self._struct.lost = None if self._lost is None else address(self._lost, np.float64)

    def lost(self, rows: int) -> FloatArray:
        """Of each of the rows: pinball of what was issued, NaN where nothing was scored. A copy, float64 [rows]."""
        assert self._lost is not None, "asked for beforehand"
        return self._lost[:rows].copy()

    @property
    def turned(self) -> tuple[IntArray, CodeArray, FloatArray] | None:
        """CUSUMs that alarm or whose rest is over: rows, codes of alarms.Said, statistics."""
        count = self._struct.turned
        return (self._rows["turned_rows"][:count], self._said[:count], self._statistic[:count]) if count else None

    @property
    def completed(self) -> IntArray | None:
        """Rows whose tick was the last scored target of a forecast; results are kept."""
        count = self._struct.completed
        return self._rows["completed_rows"][:count] if count else None

    @property
    def summarised(self) -> IntArray | None:
        """Rows of series whose season is over."""
        count = self._struct.summarised
        return self._rows["summarised_rows"][:count] if count else None


class SettlementKernel:
    """The kernels of one partition. K scored horizons, Q levels, H horizon, I central intervals."""

    def __init__(
        self, spec: StreamSpec, columns: Columns, levels: Levels, constants: Constants, *, quiet: bool
    ) -> None:
        """`quiet`: what is only reported, and not learned from, is left out (phase_c.h)."""
        assert len(levels.horizons) <= phase_c.HORIZONS_MAX, "phase_c.h has no room for so many horizons"
        self._columns = columns
        self._growths = -1  # of the columns when their addresses were noted
        self._intervals, self._horizons = len(levels.intervals), len(levels.horizons)
        self._kept: dict[str, AnyArray] = {}  # what the struct has addresses of, columns apart
        self._struct = struct = phase_c.Settlement()
        self._address = ctypes.addressof(struct)
        self._found = Found()
        struct.K, struct.Q, struct.H, struct.I = self._horizons, len(levels.levels), spec.horizon, self._intervals
        struct.median, struct.every, self._rate = levels.median, spec.forecast_every, spec.calibration_rate
        struct.whole, struct.demand = spec.aggregate == "count", spec.is_demand
        struct.span_turns = -(-spec.horizon // spec.forecast_every)
        slots = slots_of_horizons(spec)
        struct.ledger_rows = int(slots.sum())
        struct.quiet = quiet
        struct.result_rows = result_rows(spec) if spec.accuracy == "records" else 0
        for name, value in vars(constants).items():
            setattr(struct, name, value)
        self._keep(np.int64, horizons=levels.horizons, first_slot=np.cumsum(slots) - slots, slot_count=slots)
        self._keep(np.int64, bucket=levels.bucket, intervals=np.array(levels.intervals, np.int64).reshape(-1, 2))
        self._keep(np.float64, levels=levels.levels, normal=levels.normal, bin_score=levels.bin_scores())
        fine = fine_levels(spec.quantile_levels)
        struct.G = len(fine)
        self._keep(np.float64, fine_levels=fine)
        self._keep(np.float64, table=np.empty(len(levels.levels)), sorted=np.empty(len(levels.levels)))

    def _keep(self, dtype: type[np.generic], **arrays: AnyArray) -> None:
        self._kept |= arrays
        for name, array in arrays.items():
            setattr(self._struct, name, address(array, dtype))

    def take_model(
        self,
        facts: ModelFacts,
        decay: float,
        tables: FloatArray,
        scored: FloatArray,
        spread: FloatArray,
        scored_spread: FloatArray,
    ) -> None:
        """Residual tables [3 + N, H, Q] and [3 + N, K, Q] with their widths [3 + N, H, 1] and [3 + N, K, 1].

        Misses far ahead come in rows, since neighbours share most of their way: beyond a season offsets follow less.
        """
        struct = self._struct
        struct.trained = facts.version is not None
        struct.season, struct.decay, struct.slow_decay = facts.season, decay, decay ** (1 / SLOW_SEASONS)
        self._keep(np.float64, rates=self._rate * np.minimum(1.0, np.sqrt(facts.season / self._kept["horizons"])))
        struct.threshold, struct.far_threshold = facts.cusum_threshold, facts.horizon_threshold
        struct.level_threshold = facts.level_threshold
        self._keep(np.float64, tables=tables, spread=spread, scored_tables=scored, scored_spread=scored_spread)

    def take_cohort(self, offsets: FloatArray, above: IntArray, counted: IntArray, totals: FloatArray) -> None:
        """[3, K, Q] each, and [K, 5]; the kernels write into them."""
        self._keep(np.float64, cohort_offsets=offsets, cohort_totals=totals)
        self._keep(np.int64, cohort_above=above, cohort_counted=counted)

    def take_coverage(self, hits: IntArray, scored: IntArray) -> None:
        """[K, max(I, 1)] and [K]; the kernels write into them."""
        self._keep(np.int64, cohort_hits=hits, cohort_scored=scored)

    def _bind(self) -> int:
        """The address of the kernels' struct, with the addresses that the columns have now."""
        columns, struct = self._columns, self._struct
        if columns.growths == self._growths:
            return self._address
        for name, dtype in phase_c.ONE_ROW.items():
            if name in columns.arrays:
                setattr(struct, name, address(columns.flat(name), dtype))
        for name, dtype in phase_c.MANY_ROWS.items():
            if name in columns.arrays:
                setattr(struct, name, address(columns.arrays[name], dtype))
                setattr(struct, f"{name}_marks", address(columns.touched(name), np.uint8))
        if "corrector_width" in columns.arrays:
            struct.widths = address(columns.flat("corrector_width"), np.float32)
            struct.moved = address(columns.flat("corrector_moved"), np.float64)
        struct.season_state_marks = address(columns.touched("season_state"), np.uint8)
        struct.level_marks = address(columns.touched_group(level.GROUP), np.uint8)
        struct.scored_marks = address(columns.touched_group(SCORED), np.uint8)
        struct.issuing_marks = address(columns.touched_group(ISSUING), np.uint8)
        self._growths = columns.growths
        return self._address

    def keep_losses(self, keep: bool) -> None:
        """Whether `settle` keeps the loss of each cell."""
        self._found.keep_losses(keep)

    # --- what the kernels do ----------------------------------------------------------------------------------------

    def settle(self, index: IntArray, ticks: IntArray, values: FloatArray, change: FloatArray) -> Found:
        """Cells [n] of distinct columns meet what was issued for them. Valid until the next call."""
        rows, found = len(index), self._found
        assert len(ticks) == len(values) == len(change) == rows, "a tick, a value and a change for each cell"
        found.make_room(rows)
        phase_c.settle(
            rows,
            self._bind(),
            found.address,
            address(index, np.int64),
            address(ticks, np.int64),
            address(values, np.float64),
            address(change, np.float64),
        )
        return found

    def issue(
        self, answers: Answers, start: int, index: IntArray, origins: IntArray, settled: IntArray, corrected: bool
    ) -> None:
        """Forecasts [d] of distinct columns, from the answers at `start` and after. `settled` as in Wave."""
        rows = len(index)
        assert len(origins) == len(settled) == rows, "an origin and a settled tick for each forecast"
        assert start + rows <= len(answers.rungs), "an answer for each forecast"
        phase_c.issue(
            rows,
            self._bind(),
            answers.address,
            start,
            address(index, np.int64),
            address(origins, np.int64),
            address(settled, np.int64),
            corrected,
        )

    def close_cohort(self) -> None:
        phase_c.close(TRACKED_RUNGS, self._address)

    def running(self, index: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(MASE [n], coverage [n, I], pinball [n], skill [n]); NaN where nothing is known."""
        rows = len(index)
        mase, pinball, skill = (np.empty(rows, np.float32) for _ in range(3))
        made = mase, np.empty((rows, self._intervals), np.float32), pinball, skill
        phase_c.scores(rows, self._bind(), address(index, np.int64), *(address(array, np.float32) for array in made))
        return made

    def results(
        self, index: IntArray, origins: IntArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, BoolArray]:
        """Of forecasts: actual, error, pinball [n, K], that of both naive rungs [n, K, 2], covered [n, K, I]."""
        shape = (len(index), self._horizons)
        actual, error, pinball = np.empty(shape), np.empty(shape, np.float32), np.empty(shape, np.float32)
        baselines = np.empty((*shape, 2), np.float32)
        covered = np.empty((*shape, self._intervals), np.bool_)
        phase_c.results(
            len(index),
            self._bind(),
            address(index, np.int64),
            address(origins, np.int64),
            address(actual, np.float64),
            *(address(array, np.float32) for array in (error, pinball, baselines)),
            address(covered, np.bool_),
        )
        return actual, error, pinball, baselines, covered
