"""The oracle of drift: both CUSUMs, runs at the end of windows, and what is told when. Part of oracle_quantiles.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.core.oracle import Due, Settings
    from tests.core.oracle_quantiles import Issued, Judged

LEVEL = 3
CUSUM_SLACK, CUSUM_WINSOR = 0.5, 4.0


def run_to(window: tuple[float | None, ...]) -> tuple[int, tuple[float | None, ...]]:
    """How many cells at the end are missing, or else equal (missing ones between do not count), and what is before."""
    last, cells = window[-1], 0
    for i in range(len(window) - 1, -1, -1):
        if window[i] != last and (last is None or window[i] is not None):
            return cells, window[: i + 1]
        cells += window[i] == last
    return cells, ()


@dataclass
class Alarm:
    tick: int
    fate: str = "held"  # then told | suppressed | over


class DriftJudge:
    """Collects `alarms` and `storms` as plain values."""

    set: Settings
    median: int

    def __init__(self) -> None:
        self.alarms: list[tuple[str, int, str, int]] = []
        self.storms: list[tuple[str, str, int, int]] = []  # kind, state, tick, offset
        self.stormy: set[str] = set()
        self.told: int | None = None  # newest closed tick for which alarms were told

    def spread(self, rung: int, horizon: int) -> float:
        raise NotImplementedError

    def score_of_bin(self, number: int) -> float:
        raise NotImplementedError

    def residual(self, of: Judged, value: float, at: list[float], issued: Issued | None, spread: float) -> float | None:
        """In units, of demand as a normal score; None where there is nothing to watch."""
        if issued is None or issued.rung == LEVEL:
            return None
        unit = of.units[issued.rung]
        residual = (value - issued.published[self.median]) / (max(math.sqrt(unit.value), of.unit_floor) * spread)
        if self.set.demand:
            residual = self.score_of_bin(sum(q < at[issued.rung] for q in issued.published))
        return max(-CUSUM_WINSOR, min(CUSUM_WINSOR, residual if unit.updates else 0.0))

    def watch(
        self,
        of: Judged,
        name: str,
        tick: int,
        value: float,
        at: list[float],
        entries: dict[int, Issued],
        offset: int,
    ) -> bool:
        """Both CUSUMs; returns whether a decision on one-step residuals is under way, which freezes the units."""
        every, horizon, last = self.set.every, self.set.horizon, len(self.set.horizons) - 1
        near = self.residual(of, value, at, entries.get(0), 1.0)
        far = None
        if last and (tick - horizon) // every % -(-horizon // every) == 0 and last in entries:
            far = self.residual(of, value, at, entries[last], self.spread(entries[last].rung, horizon))
        if near is None and far is None:
            return False
        deciding = near is not None and max(of.cusums[0]) > self.set.cusum_threshold / 2
        if of.rest is not None and tick <= of.rest:
            return deciding
        ended, of.rest = of.rest is not None, None
        alarm = False
        for which, (residual, threshold) in enumerate(
            [(near, self.set.cusum_threshold), (far, self.set.horizon_threshold)]
        ):
            if residual is not None:
                up, down = of.cusums[which]
                of.cusums[which] = [max(0.0, up + residual - CUSUM_SLACK), max(0.0, down - residual - CUSUM_SLACK)]
                alarm = alarm or max(of.cusums[which]) > threshold
        if alarm:
            of.cusums, of.rest = [[0.0, 0.0], [0.0, 0.0]], tick + self.set.season
            of.alarms["storm"] = Alarm(tick)
        elif ended:
            self.over(of, "storm", name, tick, offset)
        return deciding

    def over(self, of: Judged, kind: str, name: str, tick: int, offset: int) -> None:
        if of.alarms[kind].fate == "told":
            self.alarms.append((name, tick, "ok", offset))
        of.alarms[kind].fate = "over"

    def watch_run(self, of: Judged, due: Due) -> None:
        """The window ends with missing, or with equal, cells for a season and twice as long as ever before."""
        window, least = due.window[0], min(self.set.season, self.set.length // 2)
        if len(window) < 2:
            return
        kind = "missing" if window[-1] is None else "flatline"
        cells, before = run_to(window)
        if of.run:
            if of.run != kind or cells < least:
                of.run = ""
                self.over(of, "outage", due.series_id, due.origin, due.offset)
            return
        if cells < least or not before:
            return
        longest = 0
        while before:
            if (before[-1] is None) != (kind == "missing"):
                before = before[:-1]
                continue
            earlier, before = run_to(before)
            longest = max(longest, earlier)
        if cells >= 2 * longest:
            of.run, of.alarms["outage"] = kind, Alarm(due.origin)

    def tell(self, everyone: list[tuple[str, Judged]], closed: int, offset: int) -> None:
        """The first that happens after the watermark has moved: what alarmed until then is told, or is a storm."""
        if self.told is not None and closed <= self.told:
            return
        self.told = closed
        there = [of for _, of in everyone if of.scored]
        for kind in ("storm", "outage"):
            held = [(name, of.alarms[kind]) for name, of in everyone if kind in of.alarms]
            held = [(name, alarm) for name, alarm in held if alarm.fate == "held"]
            if not held and kind not in self.stormy:
                continue
            recent = sum(kind in of.alarms and of.alarms[kind].tick > closed - self.set.season for of in there)
            share = recent / len(there) if there else 0.0
            if kind in self.stormy and share < 0.025:
                self.stormy.remove(kind)
                self.storms.append((kind, "ok", closed, offset))
            elif kind not in self.stormy and share > 0.05 and recent >= 3:
                self.stormy.add(kind)
                self.storms.append((kind, "drift", closed, offset))
            for name, alarm in held:
                alarm.fate = "suppressed" if kind in self.stormy else "told"
                if alarm.fate == "told":
                    self.alarms.append((name, alarm.tick, "drift", offset))
