"""The newest rows of each series, ordered by a rising key. A key that comes again replaces its row; an older key is
ignored.

Arrays are [depth, series_max] and begin as untouched zeros: the system provides memory only when a series first writes
there, so their size is a bound, not a cost.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from model_core.arrays import AnyArray, IntArray

KEY_MAX = 2**32 - 1


class RecentRows:
    """Keys are whole numbers from 1 to KEY_MAX (ticks). `fields`: name → dtype of the other values of a row."""

    def __init__(self, depth: int, series_max: int, fields: Mapping[str, DTypeLike]) -> None:
        self.depth = depth
        self._keys = np.zeros((depth, series_max), np.uint32)
        self._fields = {name: np.zeros((depth, series_max), dtype) for name, dtype in fields.items()}
        self._count = np.zeros(series_max, np.int64)  # rows ever written; the newest is at (count − 1) % depth

    def put(self, columns: IntArray, keys: IntArray, fields: Mapping[str, AnyArray]) -> None:
        """All [n], in log order. Columns below 0 and keys out of range are passed over."""
        fine = np.flatnonzero((columns >= 0) & (keys >= 1) & (keys <= KEY_MAX))
        if not len(fine):
            return
        order = fine[np.argsort(columns[fine], kind="stable")]
        rising = columns[order] << 32 | keys[order]  # one number that rises within a series as its keys do
        kept = rising >= np.maximum.accumulate(rising)  # what came late is passed over
        order, rising = order[kept], rising[kept]
        last = np.append(rising[1:] != rising[:-1], True)  # of one key the last row counts
        order = order[last]
        newest = self.newest(columns[order])
        order = order[keys[order] >= newest]
        if len(order):
            self._write(order, columns[order], keys[order], fields)

    def _write(self, order: IntArray, columns: IntArray, keys: IntArray, fields: Mapping[str, AnyArray]) -> None:
        begins = np.append(True, columns[1:] != columns[:-1])
        first = np.flatnonzero(begins)
        group = np.cumsum(begins) - 1
        # A first row whose key is there already replaces it: the count begins one lower.
        again = keys[first] == self.newest(columns[first])
        position = self._count[columns] + (np.arange(len(columns)) - first[group]) - again[group]
        ends = np.append(first[1:], len(columns)) - 1
        self._count[columns[ends]] = position[ends] + 1
        fits = position > position[ends][group] - self.depth  # more than there is room for: the newest of them
        rows, columns, order = position[fits] % self.depth, columns[fits], order[fits]
        self._keys[rows, columns] = keys[fits]
        for name, values in self._fields.items():
            values[rows, columns] = fields[name][order]

    def newest(self, columns: IntArray | slice) -> IntArray:
        """int64, the newest key of each series; 0 where there is none."""
        counts = self._count[columns]
        if isinstance(columns, slice):
            columns = np.arange(len(self._count))[columns]
        keys: IntArray = self._keys[(counts - 1) % self.depth, columns].astype(np.int64)
        return np.where(counts > 0, keys, 0)

    def of(self, column: int) -> tuple[IntArray, dict[str, AnyArray]]:
        """Copies of one series' rows, oldest first."""
        count = int(self._count[column])
        rows = np.arange(max(0, count - self.depth), count) % self.depth
        return self._keys[rows, column].astype(np.int64), {n: v[rows, column] for n, v in self._fields.items()}

    def means(self, columns: IntArray) -> tuple[IntArray, dict[str, AnyArray]]:
        """All keys of these series, rising, and for each key the mean of each field over the series that have it."""
        count = self._count[columns]
        written = np.arange(self.depth)[:, None] < np.minimum(count, self.depth)
        keys, places = np.unique(self._keys[:, columns][written], return_inverse=True)
        means = {}
        for name, values in self._fields.items():
            found = values[:, columns][written].astype(np.float64)
            known = np.isfinite(found)
            number = np.bincount(places[known], minlength=len(keys))
            sums = np.bincount(places[known], found[known], minlength=len(keys))
            means[name] = np.where(number > 0, sums / np.maximum(number, 1), np.nan)
        return keys.astype(np.int64), means

    def count(self, column: int) -> int:
        """Rows of a series that were ever written, including those that were overwritten."""
        return int(self._count[column])

    def clear(self, column: int) -> None:
        self._count[column] = 0
