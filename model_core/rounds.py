"""Order within a stretch of readings, as vectors: rounds with one reading a series, and the last one of each series."""

import numpy as np

from model_core.arrays import IntArray


def rounds(members: IntArray, group: IntArray) -> list[IntArray]:
    """Split positions into rounds with at most one of a group each, keeping each group's order.

    `members` index into `group` (the group of every reading of the poll).
    """
    if not len(members):
        return []
    groups = group[members]
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    if rank.max() == 0:
        return [members]
    ranks = np.empty(len(members), np.int64)
    ranks[order] = rank
    return [members[ranks == r] for r in range(int(rank.max()) + 1)]


def by_column(index: IntArray) -> IntArray | None:
    """Positions [n] in the order of their columns; None where one occurs twice. No sort: one look each."""
    if (index[1:] > index[:-1]).all():
        return np.arange(len(index))
    first = int(index.min())
    place = np.full(int(index.max()) + 1 - first, -1)
    place[index - first] = np.arange(len(index))
    order = place[place >= 0]
    return order if len(order) == len(index) else None


def last_of_each(index: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct columns and the offset of the last reading of each."""
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return ordered[last], offsets[order][last]
