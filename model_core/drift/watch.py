"""The drift watch of a partition: findings of its detectors become records, of single series, of storms, and in
reports.

A report has a line for each detector, every `drift_report_every`: how the partition as a whole is doing.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.bundle import ModelFacts
from model_core.columns import Columns, Field
from model_core.drift import alarms, cusum, level, ratios, runs
from model_core.drift.alarms import DATA, FORECASTS, NAMES, Alarms, Heard, Kind, Said
from model_core.drift.pit import PSI_DRIFT, PitHistogram, pit_fields
from model_core.outcomes import DriftRecord
from model_core.quantiles import Levels

COVERAGE_SLACK = 0.05  # by which the coverage of a horizon may be off
COVERAGE_VALUES_MIN = 400  # from which it says something


def drift_fields(levels: int) -> tuple[Field, ...]:
    return (*cusum.FIELDS, *runs.FIELDS, *alarms.FIELDS, *level.FIELDS, *pit_fields(levels))


class DriftWatch:
    """State beside its columns: storms, coverage since the last report, and when that was."""

    def __init__(self, columns: Columns, levels: Levels, partition: int, report_ticks: int, facts: ModelFacts) -> None:
        self._columns = columns
        self._levels = levels
        self._partition = partition
        self._report_ticks = report_ticks
        self._alarms = Alarms(columns, partition)
        self._counts: dict[str, int] = {}
        self._pit = PitHistogram(columns, levels.levels)
        horizons, intervals = len(levels.horizons), max(1, len(levels.intervals))
        self.hits: IntArray = np.zeros((horizons, intervals), np.int64)  # the kernels count, since the last report
        self.scored: IntArray = np.zeros(horizons, np.int64)
        self.reported = -(2**62)  # the report period that the last report was for
        self.closed = -(2**62)
        self._season = facts.season
        self.swap(facts)

    def swap(self, facts: ModelFacts) -> None:
        """Another model takes charge: its limits apply."""
        if facts.season != self._season:
            self._begin_levels()
        self._season = facts.season
        self._thresholds = np.full(len(Said), np.nan)
        self._thresholds[[Said.QUIET_AGAIN, Said.CUSUM]] = facts.cusum_threshold
        self._thresholds[Said.CUSUM_HORIZON], self._thresholds[Said.LEVEL] = (
            facts.horizon_threshold,
            facts.level_threshold,
        )
        self._alarms.limits[FORECASTS.place] = facts.storm_share

    def _begin_levels(self) -> None:
        """Means over other seasons are other means."""
        used = self._columns.used
        self._columns.flat("level")[:used] = 0
        for name in ("sum", "cells", "number"):
            self._columns.flat("season_state")[name][:used] = 0
        index = np.arange(used)
        self._columns.touch_hot(index, level.GROUP)
        self._columns.touch("season_state", index)

    # --- what the kernels found -------------------------------------------------------------------------------------

    def hear_cusums(
        self, index: IntArray, said: AnyArray, statistic: FloatArray, ticks: IntArray, offsets: IntArray
    ) -> list[DriftRecord]:
        """CUSUMs of columns [n] that alarm, or whose rest is over."""
        facts = np.stack([statistic, self._thresholds[said]], axis=1)
        return self._hear(FORECASTS, Heard(index, said, facts, ticks, offsets))

    def hear_runs(
        self, index: IntArray, said: AnyArray, facts: FloatArray, ticks: IntArray, offsets: IntArray
    ) -> list[DriftRecord]:
        """Windows of columns [n] whose end is a run, or is one no more."""
        return self._hear(DATA, Heard(index, said, facts, ticks, offsets))

    def _hear(self, kind: Kind, heard: Heard) -> list[DriftRecord]:
        for code, count in enumerate(np.bincount(heard.said).tolist()):
            if count and code != Said.QUIET_AGAIN:
                self._counts[NAMES[code]] = self._counts.get(NAMES[code], 0) + count
        return self._alarms.hear(kind, heard)

    def take_counts(self) -> dict[str, int]:
        """Alarms by detector since the last call, including those that a storm keeps back."""
        counts, self._counts = self._counts, {}
        return counts

    def close(self, tick: int, cause: int) -> list[DriftRecord]:
        """The watermark closed `tick`, because of the reading `cause`: report what waited for that."""
        if tick <= self.closed:
            return []
        self.closed = tick
        records = self._alarms.close(tick, cause, self._season)
        period = tick // self._report_ticks
        if period > self.reported:
            first, self.reported = self.reported < -(2**61), period
            records += [] if first else list(self._report(tick, cause))
        return records

    # --- the report -------------------------------------------------------------------------------------------------

    def _report(self, tick: int, cause: int) -> Iterator[DriftRecord]:
        def line(detector: str, statistic: float, threshold: float = float("nan"), state: str = "ok") -> DriftRecord:
            group = f"partition-{self._partition}"
            return DriftRecord(None, group, detector, statistic, threshold, state, tick, tick, cause)

        used = np.arange(self._columns.used)
        yield line("cusum_share", self._alarms.share(FORECASTS, tick, self._season), self._alarms.limits[0])
        divergence, weight = self._pit.divergence(used)
        yield line("pit", divergence, PSI_DRIFT, self._pit.state(divergence, weight))
        there = self._columns.flat("scored")[used] > 0
        series = max(int(there.sum()), 1)
        for name, off in zip(("scale", "bias"), self._out_of_proportion(used), strict=True):
            yield line(name, off / series)
        run = self._columns.flat("run_state")[used][there]
        for said in (Said.MISSING, Said.FLATLINE):
            yield line(said.name.lower(), int((run == said).sum()) / series)
        if self._levels.intervals:
            yield from (line(*each) for each in self._coverage())
        self.hits[:], self.scored[:] = 0, 0

    def _out_of_proportion(self, index: IntArray) -> tuple[int, int]:
        scale, bias = ratios.out_of_proportion(*ratios.ratios(self._columns, index))
        return int(scale.sum()), int(bias.sum())

    def _coverage(self) -> Iterator[tuple[str, float, float, str]]:
        """Coverage of the widest interval at each scored horizon, since the last report."""
        low, high = self._levels.intervals[0]
        nominal = float(self._levels.levels[high] - self._levels.levels[low])
        for k, scored in enumerate(self.scored.tolist()):
            covered = int(self.hits[k, 0]) / scored if scored else float("nan")
            off = scored >= COVERAGE_VALUES_MIN and abs(covered - nominal) > COVERAGE_SLACK
            yield f"coverage_{self._levels.horizons[k]}", covered, nominal, "warning" if off else "ok"

    # --- snapshot of what is not in columns -------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        return {
            "reported": self.reported,
            "closed": self.closed,
            "storms": self._alarms.snapshot(),
            "hits": self.hits.tolist(),
            "scored": self.scored.tolist(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """After the columns. What an older state does not have begins."""
        self.reported, self.closed = snapshot["reported"], snapshot["closed"]
        self._alarms.restore(snapshot.get("storms"))
        self.hits[...], self.scored[...] = snapshot.get("hits", 0), snapshot.get("scored", 0)
