"""Which series has which column. It does not know what the columns hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

from model_core.arrays import IntArray

NONE = -1  # a series without a column


class Roster:
    """Up to `series_max` series. The column of a deleted series goes to the next new one."""

    def __init__(self, series_max: int) -> None:
        self.series_max = series_max
        self.names: list[str | None] = []  # by column; None: free
        self._columns: dict[str, int] = {}
        self._free: list[int] = []
        self.is_full = False  # somebody was turned away
        self._by_name: IntArray | None = None  # as it was last asked for, until a series comes or goes

    def __len__(self) -> int:
        return len(self._columns)

    def find(self, series_id: str) -> int | None:
        return self._columns.get(series_id)

    def columns(self, series_ids: Sequence[str]) -> IntArray:
        """int64 [n]; NONE for series that found no room."""
        found: IntArray = np.fromiter(map(self._columns.get, series_ids, repeat(NONE)), np.int64, len(series_ids))
        for place in np.flatnonzero(found == NONE).tolist():  # series that are new: seldom
            found[place] = self._add(series_ids[place])
        return found

    def remove(self, series_id: str) -> int | None:
        """The column it had. Whoever keeps values in that column must clear them."""
        column = self._columns.pop(series_id, None)
        if column is not None:
            self.names[column] = self._by_name = None
            self._free.append(column)
            self.is_full = False
        return column

    def taken(self) -> Iterable[tuple[int, str]]:
        return ((column, name) for column, name in enumerate(self.names) if name is not None)

    def by_name(self) -> IntArray:
        """int64 [series], the columns of all series in the order of their names. Must not be changed."""
        if self._by_name is None:
            self._by_name = np.fromiter(map(self._columns.__getitem__, sorted(self._columns)), np.int64, len(self))
        return self._by_name

    def _add(self, series_id: str) -> int:
        if (known := self._columns.get(series_id)) is not None:  # twice in one batch
            return known
        if self._free:
            column = self._free.pop()
            self.names[column] = series_id
        elif len(self.names) < self.series_max:
            column = len(self.names)
            self.names.append(series_id)
        else:
            self.is_full = True
            return NONE
        self._columns[series_id] = column
        self._by_name = None
        return column
