"""Alarms of single series: held back until the watermark closes a tick, then reported singly, or as one storm.

A shift of the whole cohort alarms in all series at once, and whether it does is known only when the tick is over. There
are two kinds of alarms, each with its own storms: forecasts are off, or data are missing or stand still.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.columns import Columns, Field, beginning
from model_core.drift.ratios import ratios
from model_core.drift.storm import STORM_SHARE_MIN, Storm
from model_core.outcomes import OUTAGE, STORM, DriftRecord


class Said(IntEnum):
    """Codes of compiled/drift.h."""

    QUIET_AGAIN = 0
    CUSUM = 1
    CUSUM_HORIZON = 2
    MISSING = 3
    FLATLINE = 4
    LEVEL = 5


NAMES = tuple(said.name.lower() for said in Said)


class Kind(NamedTuple):
    place: int  # in the columns
    storm: str  # detector of its storms


FORECASTS, DATA = Kind(0, STORM), Kind(1, OUTAGE)
KINDS = (FORECASTS, DATA)
NOTHING, HELD, TOLD, SUPPRESSED = range(4)  # what has become of the newest alarm
NEVER = np.iinfo(np.int64).min
GROUP = "alarms"  # of what only an alarm changes
# The newest one. One field, since each is a command of Redis for each checkpoint that has an alarm. Facts: statistic,
# threshold.
ALARM = np.dtype([("tick", np.int64), ("facts", np.float64, (2,)), ("fate", np.int8), ("said", np.int8)])
FIELDS = (Field("alarm", ALARM, inner=(2,), fill=beginning(ALARM, tick=NEVER), group=GROUP),)  # by kind


@dataclass(frozen=True)
class Heard:
    """What n distinct columns report, all of one kind. `facts` [n, 2]: statistic and threshold."""

    columns: IntArray  # int64 [n]
    said: AnyArray  # int8 [n], Said
    facts: FloatArray  # float64 [n, 2]
    ticks: IntArray  # int64 [n]
    offsets: IntArray  # int64 [n]


class Alarms:
    """State beside its columns: the storms. `limits`: the share of series from which on it is a storm, by kind."""

    def __init__(self, columns: Columns, partition: int) -> None:
        self._columns = columns
        self._group = f"partition-{partition}"
        self.storms = tuple(Storm() for _ in KINDS)
        self.limits = [STORM_SHARE_MIN, STORM_SHARE_MIN]
        self._held = [False, False]  # whether there are any, by kind

    def hear(self, kind: Kind, heard: Heard) -> list[DriftRecord]:
        """Hold alarms back. That a series is quiet again is reported at once, if its alarm was reported."""
        newest, place, index = self._columns.flat("alarm"), kind.place, heard.columns
        fate = newest["fate"]
        quiet = heard.said == Said.QUIET_AGAIN
        over = np.flatnonzero(quiet & (fate[index, place] == TOLD))
        fate[index[quiet], place] = NOTHING
        records = [
            self._record(int(index[i]), kind, "ok", heard.facts[i], int(heard.ticks[i]), int(heard.offsets[i]))
            for i in over.tolist()
        ]
        alarms = index[~quiet]
        if len(alarms):
            fate[alarms, place] = HELD
            newest["tick"][alarms, place] = heard.ticks[~quiet]
            newest["said"][alarms, place] = heard.said[~quiet]
            newest["facts"][alarms, place] = heard.facts[~quiet]
            self._held[place] = True
        self._columns.touch_hot(index, GROUP)
        return records

    def close(self, tick: int, cause: int, season: int) -> list[DriftRecord]:
        """The watermark closed `tick`: report what was held back until then. Two comparisons if nothing was."""
        records: list[DriftRecord] = []
        for kind, storm in zip(KINDS, self.storms, strict=True):
            if self._held[kind.place] or storm.since is not None:
                records += self._close(kind, storm, tick, cause, season)
        return records

    def _close(self, kind: Kind, storm: Storm, tick: int, cause: int, season: int) -> list[DriftRecord]:
        used, place = self._columns.used, kind.place
        newest = self._columns.flat("alarm")
        held = np.flatnonzero(newest["fate"][:used, place] == HELD)
        self._held[place] = False
        if not len(held) and storm.since is None:  # what was held is quiet again
            return []
        alarming, series = self._share(place, tick, season)
        limit = self.limits[place]
        change = storm.look(tick, alarming, series, limit)
        records: list[DriftRecord] = []
        if change in ("starts", "ends"):
            state = "drift" if change == "starts" else "ok"
            share = alarming / max(series, 1)
            said = (kind.storm, share, limit if change == "starts" else limit / 2, state)
            records.append(DriftRecord(None, self._group, *said, tick, tick, cause))
        if len(held):
            singly = storm.since is None
            storm.suppressed += 0 if singly else len(held)
            newest["fate"][held, place] = TOLD if singly else SUPPRESSED
            self._columns.touch_hot(held, GROUP)
            for column in held.tolist() if singly else ():
                facts, at = newest["facts"][column, place], int(newest["tick"][column, place])
                records.append(self._record(column, kind, "drift", facts, at, cause))
        return records

    def _share(self, place: int, tick: int, season: int) -> tuple[int, int]:
        """(distinct series that alarmed within a season, series there are). Columns of series that phase A has met and
        this one has not would make the share depend on the polls."""
        used = self._columns.used
        there = self._columns.flat("scored")[:used] > 0
        recent = self._columns.flat("alarm")["tick"][:used, place] > tick - season
        return int((recent & there).sum()), int(there.sum())

    def share(self, kind: Kind, tick: int, season: int) -> float:
        alarming, series = self._share(kind.place, tick, season)
        return alarming / max(series, 1)

    def _record(self, column: int, kind: Kind, state: str, facts: FloatArray, tick: int, offset: int) -> DriftRecord:
        name, detector = self._columns.ids[column], NAMES[self._columns.flat("alarm")["said"][column, kind.place]]
        scale, bias = ratios(self._columns, np.array([column]))
        of = (detector, float(facts[0]), float(facts[1]), state, tick, tick, offset)
        return DriftRecord(name, None, *of, float(scale[0]), float(bias[0]))

    # --- snapshot of what is not in columns -------------------------------------------------------------------------

    def snapshot(self) -> list[list[int | None]]:
        return [[storm.since, storm.suppressed] for storm in self.storms]

    def restore(self, snapshot: list[list[int | None]] | None) -> None:
        """After the columns."""
        if snapshot is not None:
            self.storms = tuple(Storm(since, suppressed or 0) for since, suppressed in snapshot)
        held = self._columns.flat("alarm")["fate"][: self._columns.used] == HELD
        self._held = held.any(axis=0).tolist()
