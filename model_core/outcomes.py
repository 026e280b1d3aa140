"""What one poll batch of a partition leads to, as columns; wire/ turns them into messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from model_core.arrays import AnyArray, BoolArray, CodeArray, FloatArray, IntArray
from model_core.batches import WindowBatch


class WaveKind(Enum):
    SETTLED = "settled"  # values are final for scoring
    CORRECTED = "corrected"  # nothing is scored, the newest forecasts are re-issued
    SKIPPED = "skipped"  # a gap too long to emit: what was issued before it is never scored
    PASSED = "passed"  # the watermark closed a tick in which no cell settled


@dataclass(frozen=True)
class Wave:
    """Cells that settle (or are corrected) together: at most one of a series. Of n cells d have a forecast due."""

    columns: IntArray  # int64 [n]
    ticks: IntArray  # int64 [n]
    values: FloatArray  # float64 [n], NaN where the cell is missing
    offsets: IntArray  # int64 [n], of the reading that caused each; -1 for a journaled decision
    due: IntArray  # int64 [d], positions in this wave whose forecast is due
    origins: IntArray  # int64 [d], their origins
    revisions: IntArray  # int64 [d]
    settled: IntArray  # int64 [d], newest settled tick of each series that is due
    season_change: FloatArray  # float64 [n], |y_t − y_{t−m}|, NaN where either is missing
    closed: int  # newest tick that the watermark had closed by then
    cause: int  # offset of the reading that closed a tick; of other waves the first of `offsets`
    kind: WaveKind


@dataclass(frozen=True)
class Rejected:
    """A reading that was well formed but came too late, or lies too far ahead."""

    position: int  # index into the Readings; -1: it had to wait for another one, and its message is gone
    reason: str  # too_late | timestamp_out_of_range
    detail: str


@dataclass(frozen=True)
class Observed:
    """What phase A made of readings: waves in order, and the windows that are due, in the order of the waves."""

    waves: list[Wave]
    windows: WindowBatch | None  # None when no forecast is due
    rejected: list[Rejected]
    deleted: tuple[tuple[int, str], ...]  # (offset, series_id) of tombstones that were carried out before the waves
    counts: dict[str, int]  # readings accepted, corrected, late, duplicate, unconfirmed; cells settled, missing


@dataclass(frozen=True)
class Forecasts:
    """n issued forecasts, in the order in which they were made."""

    series_ids: list[str]
    origins: IntArray  # int64 [n], ticks
    quantiles: FloatArray  # float32 [n, Q, H]
    mean: FloatArray | None  # float32 [n, H], demand only
    rungs: CodeArray  # int8 [n], Rung
    reasons: CodeArray  # int8 [n], Reason
    revisions: IntArray  # int64 [n]
    observed_share: FloatArray  # float32 [n]
    offsets: IntArray  # int64 [n], input offset that caused each

    def __len__(self) -> int:
        return len(self.series_ids)


@dataclass(frozen=True)
class Scored:
    """n forecasts whose last scored target has settled. K scored horizons, I central intervals (widest first)."""

    series_ids: list[str]
    origins: IntArray  # int64 [n], ticks
    actual: FloatArray  # float64 [n, K], NaN where the cell was missing (then nothing is scored there)
    error: FloatArray  # float32 [n, K], actual − point
    pinball: FloatArray  # float32 [n, K], mean over levels of ρτ
    baselines: FloatArray  # float32 [n, K, 2], the same for seasonal_naive and last_value with tracked intervals
    covered: BoolArray  # bool [n, K, I]
    mase: FloatArray  # float32 [n], running, as in Summaries
    coverage: FloatArray  # float32 [n, I], running
    skill: FloatArray  # float32 [n], running
    offsets: IntArray  # int64 [n]


@dataclass(frozen=True)
class Summaries:
    """Running accuracy of n series, exponentially weighted with a half-life of one season."""

    series_ids: list[str]
    ticks: IntArray  # int64 [n]
    mase: FloatArray  # float32 [n], mean |error| of the point / running mean |y_t − y_{t−m}|
    coverage: FloatArray  # float32 [n, I], of the central intervals, widest first
    pinball: FloatArray  # float32 [n]
    skill: FloatArray  # float32 [n], 1 − pinball / that of the better of both naive forecasts
    scored: IntArray  # int64 [n], scored forecasts so far
    offsets: IntArray  # int64 [n]


STORM, OUTAGE = STORMS = ("storm", "outage")  # detectors of cohorts: forecasts that are off, data that fail


@dataclass(frozen=True)
class DriftRecord:
    """A change of a detector's state, or one line of a summary."""

    series_id: str | None  # None: `group` says whom it is about
    group: str | None
    detector: str  # cusum | cusum_horizon | level | missing | flatline; storm | outage; of reports also pit | scale | …
    statistic: float
    threshold: float
    state: str  # ok | warning | drift
    since: int  # tick
    tick: int
    offset: int
    scale: float = float("nan")  # of a series: its errors now over its usual ones
    bias: float = float("nan")  # their mean in units of their size


@dataclass(frozen=True)
class Outcome:
    """Everything that one Observed leads to."""

    forecasts: Forecasts
    scored: Scored | None
    summaries: Summaries | None
    drift: list[DriftRecord] = field(default_factory=list)
    deleted: tuple[tuple[int, str], ...] = ()  # (offset, series_id)
    alarms: Mapping[str, int] = field(default_factory=dict)  # by detector, those that a storm keeps back included
    warming_up: int = 0  # forecasts that were due but not made
    rungs: AnyArray = field(default_factory=lambda: np.zeros(4, np.int64))  # forecasts by rung

    @property
    def storms(self) -> list[DriftRecord]:
        """Storms of forecasts that begin here: each asks for training."""
        return [record for record in self.drift if record.detector == STORM and record.state == "drift"]

    def records(self, *, scored: bool) -> int:
        """How many there are to publish; `scored`: whether each scored forecast is one."""
        count = len(self.forecasts) + len(self.drift) + len(self.storms) + 2 * len(self.deleted)
        count += len(self.summaries.series_ids) if self.summaries is not None else 0
        return count + (len(self.scored.series_ids) if scored and self.scored is not None else 0)


Rows = TypeVar("Rows", Forecasts, Scored, Summaries)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after another. At least one part; a column that is None is None in all of them."""
    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        if isinstance(found[0], list):
            return list(chain.from_iterable(found))
        return None if found[0] is None else np.concatenate(found)

    return type(parts[0])(**{name: column(name) for name in vars(parts[0])})
