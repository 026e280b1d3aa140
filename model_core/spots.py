"""Spots: some cells of distinct columns, and where they lie in the arrays.

Most often the columns are consecutive and the cells all of one tick; then slices and single rows take the place of
index arrays, which is what makes a tick of a thousand series cheap.
"""

from model_core.arrays import IntArray
from model_core.columns import BLOCK, Columns


class Spots:
    """Cells (index, ticks), at most one of a column. `at`: their place in a field of one row."""

    def __init__(self, index: IntArray, ticks: IntArray) -> None:
        self.index = index  # int64 [n]
        self.ticks = ticks  # int64 [n]
        self.at: slice | IntArray = index
        self.tick: int | IntArray = ticks  # a number where all are of one tick
        self._bases: dict[int, IntArray] = {}
        if len(index):
            first, last = int(index[0]), int(index[-1])
            if last - first == len(index) - 1 and (index[1:] - index[:-1] == 1).all():
                self.at = slice(first, last + 1)
            if (ticks == ticks[0]).all():
                self.tick = int(ticks[0])

    def __len__(self) -> int:
        return len(self.index)

    def places(self, rows: int, shift: int = 0) -> IntArray:
        """Of the cells `shift` ticks on, in a flattened field of so many rows addressed by tick: int64 [n]."""
        base = self._bases.get(rows)
        if base is None:
            base = self._bases[rows] = self.index + (self.index & -BLOCK) * (rows - 1)
        return base + (self.tick + shift) % rows * BLOCK

    def touch(self, columns: Columns, name: str) -> None:
        """Note that these cells of a field addressed by tick change."""
        rows = columns.fields[name].rows
        if isinstance(self.tick, int):
            columns.touch_blocks(name, self._blocks, self.tick % rows)
        else:
            columns.touch(name, self.index, self.ticks % rows)

    def touch_hot(self, columns: Columns) -> None:
        columns.touch_hot_blocks(self._blocks)

    @property
    def _blocks(self) -> slice | IntArray:
        if isinstance(self.at, slice):
            return slice(self.at.start // BLOCK, (self.at.stop - 1) // BLOCK + 1)
        return self.index // BLOCK
