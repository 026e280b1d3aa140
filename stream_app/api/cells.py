"""What was read, cell by cell: a ring of ticks [depth, series_max], as far back as is shown.

Readings of a cell are combined as the stream's `aggregate` says. The cells have what arrived, not what the worker made
of it: a reading that came too late for a forecast is shown as well.
"""

from __future__ import annotations

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray

TICK_MAX = 2**32 - 1
AGGREGATES = ("mean", "sum", "last", "min", "max", "count")


class Cells:
    """Columns of the ring are series, rows are ticks modulo the depth. Untouched zeros take no memory."""

    def __init__(self, depth: int, series_max: int) -> None:
        self.depth = depth
        self._ticks = np.zeros((depth, series_max), np.uint32)  # whose value stands there; 0: nobody's
        self._values = np.zeros((depth, series_max), np.float32)
        self._counts = np.zeros((depth, series_max), np.uint16)  # readings in it
        self.newest = np.zeros(series_max, np.int64)  # tick; 0: none
        self._aggregates = np.zeros(series_max, np.uint8)

    def combine_by(self, column: int, aggregate: str) -> None:
        self._aggregates[column] = AGGREGATES.index(aggregate)

    def put(self, columns: IntArray, ticks: IntArray, values: FloatArray) -> None:
        """All [n], in log order. Columns below 0 and ticks older than the ring are passed over."""
        known = (columns >= 0) & (ticks >= 1) & (ticks <= TICK_MAX)
        columns, ticks, values = columns[known], ticks[known], values[known]
        if not len(columns):
            return
        np.maximum.at(self.newest, columns, ticks)
        held = ticks > self.newest[columns] - self.depth
        columns, ticks, values = columns[held], ticks[held], values[held]
        if not len(columns):
            return
        order = np.argsort(ticks * len(self.newest) + columns, kind="stable")
        columns, ticks, values = columns[order], ticks[order], values[order]
        first = np.flatnonzero(np.append(True, (columns[1:] != columns[:-1]) | (ticks[1:] != ticks[:-1])))
        counts = np.diff(np.append(first, len(columns)))
        columns, ticks = columns[first], ticks[first]
        rows = ticks % self.depth
        before = np.where(self._ticks[rows, columns] == ticks, self._counts[rows, columns], 0).astype(np.int64)
        old = self._values[rows, columns].astype(np.float64)
        combined = _combined(self._aggregates[columns], before, old, values, first, counts)
        self._ticks[rows, columns] = ticks
        self._values[rows, columns] = combined
        self._counts[rows, columns] = np.minimum(before + counts, np.iinfo(np.uint16).max)

    def values(self, column: int, ticks: IntArray) -> FloatArray:
        """float64 [n], one for each tick; NaN where nothing was read, or where the value is no longer held."""
        rows = ticks % self.depth
        found: FloatArray = self._values[rows, column].astype(np.float64)
        found[(self._ticks[rows, column] != ticks) | (ticks < 1)] = np.nan
        return found

    def last(self, columns: IntArray) -> FloatArray:
        """float64 [n], the newest value of each; NaN where there is none."""
        rows = self.newest[columns] % self.depth
        found: FloatArray = self._values[rows, columns].astype(np.float64)
        found[self.newest[columns] == 0] = np.nan
        return found

    def clear(self, column: int) -> None:
        self._ticks[:, column] = 0
        self.newest[column] = 0


def _combined(
    aggregates: AnyArray, before: IntArray, old: FloatArray, values: FloatArray, first: IntArray, counts: IntArray
) -> FloatArray:
    """float64 [cells]. `values` are sorted by cell; those of cell i begin at first[i]. `before`: readings in it."""
    sums = np.add.reduceat(values, first)
    result: FloatArray = (old * before + sums) / (before + counts)  # mean
    for code in np.unique(aggregates).tolist():
        if AGGREGATES[code] != "mean":
            fresh = _other(AGGREGATES[code], before, old, values, first, counts, sums)
            result = np.where(aggregates == code, fresh, result)
    return result


def _other(
    aggregate: str,
    before: IntArray,
    old: FloatArray,
    values: FloatArray,
    first: IntArray,
    counts: IntArray,
    sums: FloatArray,
) -> FloatArray:
    again = before > 0
    if aggregate == "sum":
        return np.where(again, old, 0.0) + sums
    if aggregate == "last":
        return values[first + counts - 1]
    if aggregate == "min":
        return np.fmin(np.where(again, old, np.inf), np.minimum.reduceat(values, first))
    if aggregate == "max":
        return np.fmax(np.where(again, old, -np.inf), np.maximum.reduceat(values, first))
    assert aggregate == "count", f"an aggregate that nobody knows: {aggregate}"
    return (before + counts).astype(np.float64)
