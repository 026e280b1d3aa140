"""Event time ↔ ticks of a stream's grid, and the calendar features of a tick.

A tick is the index of a step: floor(timestamp_ms / step_ms). Grids of days may have a time zone; their days are then
local, with their 23 and 25 hours, and a tick counts local days since 1970-01-01.
"""

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from model_core.arrays import FloatArray, IntArray

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
HOUR_MS = 3_600_000
ORIGINS_REMEMBERED = 256
# Local midnights are tabulated once for these years; outside them a day has 24 hours.
_TABLE_FIRST, _TABLE_LAST = date(1970, 1, 1), date(2100, 1, 1)


@lru_cache(maxsize=32)
def _local_midnights_ms(timezone: str) -> IntArray:
    """UTC milliseconds of each local midnight from 1970 to 2100."""
    zone = ZoneInfo(timezone)
    days = (_TABLE_LAST - _TABLE_FIRST).days
    first = datetime(_TABLE_FIRST.year, _TABLE_FIRST.month, _TABLE_FIRST.day)
    return np.array(
        [int((first + timedelta(days=day)).replace(tzinfo=zone).timestamp() * 1000) for day in range(days)], np.int64
    )


class Grid:
    """The grid of one stream. `step_ms` in milliseconds; `timezone` an IANA name, only for steps of whole days."""

    def __init__(self, step_ms: int, timezone: str | None = None) -> None:
        self.step_ms = step_ms
        self.timezone = timezone
        self.midnights = _local_midnights_ms(timezone) if timezone and step_ms == DAY_MS else None  # of local days

    def ticks(self, timestamps_ms: IntArray) -> IntArray:
        """int64 [n] milliseconds since the epoch → int64 [n] ticks."""
        if self.midnights is None:
            return np.floor_divide(timestamps_ms, self.step_ms)
        return np.searchsorted(self.midnights, timestamps_ms, side="right") - 1

    def starts_ms(self, ticks: IntArray) -> IntArray:
        """int64 [n] ticks → int64 [n] milliseconds of their first moment."""
        if self.midnights is None:
            return ticks * self.step_ms
        return self.midnights[np.clip(ticks, 0, len(self.midnights) - 1)]

    def tick(self, timestamp_ms: int) -> int:
        return int(self.ticks(np.array([timestamp_ms], np.int64))[0])

    def start_ms(self, tick: int) -> int:
        return int(self.starts_ms(np.array([tick], np.int64))[0])

    def ends_ms(self, ticks: IntArray) -> IntArray:
        """The first moment after each tick."""
        return self.starts_ms(ticks + 1)

    def last_closed_tick(self, watermark_ms: int) -> int:
        """The newest tick whose end is not after the watermark."""
        return self.tick(watermark_ms) - 1

    def steps(self, duration_ms: int) -> int:
        """How many whole steps a duration covers, rounded up."""
        return -(-duration_ms // self.step_ms)


class Calendar:
    """Calendar features of ticks, in the stream's local time when it has one."""

    def __init__(self, grid: Grid, features: tuple[str, ...], holidays: frozenset[date] = frozenset()) -> None:
        self._grid = grid
        self._features = features
        self._holidays = np.array(sorted((day - date(1970, 1, 1)).days for day in holidays), np.int64)
        self._midnights = _local_midnights_ms(grid.timezone) if grid.timezone else None
        self._after: dict[tuple[int, int], FloatArray] = {}

    @property
    def width(self) -> int:
        """Number of columns of `matrix`."""
        return sum({"hour_of_day": 4, "day_of_week": 7, "holidays": 1}[name] for name in self._features)

    def after(self, origin: int, horizon: int) -> FloatArray:
        """float32 [horizon, width] of the ticks after an origin. Remembered: passes share few origins."""
        known = self._after.get((origin, horizon))
        if known is None:
            if len(self._after) >= ORIGINS_REMEMBERED:
                self._after.clear()
            known = self._after[origin, horizon] = self.matrix(origin + np.arange(1, horizon + 1))
        return known

    def matrix(self, ticks: IntArray) -> FloatArray:
        """int64 [n] ticks → float32 [n, width]: two harmonics of the hour, the weekday one-hot, a holiday flag."""
        starts = self._grid.starts_ms(ticks)
        if self._midnights is None:
            days, of_day = np.floor_divide(starts, DAY_MS), np.mod(starts, DAY_MS)
        else:
            days = np.searchsorted(self._midnights, starts, side="right") - 1
            of_day = starts - self._midnights[days]
        columns = []
        for name in self._features:
            if name == "hour_of_day":
                angle = 2 * np.pi * of_day / DAY_MS
                columns += [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
            elif name == "day_of_week":
                weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
                columns += [weekday == day for day in range(7)]
            else:
                columns.append(np.isin(days, self._holidays))
        if not columns:
            return np.zeros((len(ticks), 0), np.float32)
        return np.stack(columns, axis=1).astype(np.float32)
