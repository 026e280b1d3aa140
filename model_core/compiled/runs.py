"""Runs of marked rows, found by compiled/runs.c: a checkpoint asks for those of each field."""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.compiled import ARRAY, INT, Kernel, address

_of = Kernel("runs_of", [ARRAY, INT, ARRAY], INT)
_take = Kernel("runs_take", [ARRAY, ARRAY, INT, INT, ARRAY], INT)


def of(marked: BoolArray, gap: int) -> IntArray:
    """Consecutive marked rows (bool, of any shape) as int64 [n, 2]: first, and one after last. Those that lie at most
    `gap` rows apart are one."""
    found = _room(marked)
    return found[: _of(marked.size, address(marked, np.bool_), gap, address(found, np.int64))]


def take(marks: AnyArray, others: int | None, bit: int, gap: int) -> IntArray:
    """The same of rows that have this bit in `marks` (uint8), where it is cleared, or in `others`, the address of as
    many."""
    found = _room(marks)
    return found[: _take(marks.size, address(marks, np.uint8), others, bit, gap, address(found, np.int64))]


def _room(rows: AnyArray) -> IntArray:
    return np.empty((rows.size // 2 + 1, 2), np.int64)  # there is a row between two runs
