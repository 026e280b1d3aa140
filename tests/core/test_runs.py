"""Runs of marked rows, against what they are by definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_core.compiled import address, runs

MARKS = st.lists(st.integers(0, 3), max_size=40)


def by_definition(marked: list[bool], gap: int) -> list[list[int]]:
    """Each marked row begins a run, unless the marked row before it is near enough."""
    rows = [row for row, is_marked in enumerate(marked) if is_marked]
    firsts = [row for at, row in enumerate(rows) if not at or row - rows[at - 1] - 1 > gap]
    return [
        [first, max(row for row in rows if row < end) + 1]
        for first, end in zip(firsts, [*firsts[1:], 1000][: len(firsts)], strict=True)
    ]


@given(MARKS, st.integers(0, 5))
def test_marked_rows_that_are_near_are_one_run(marks: list[int], gap: int) -> None:
    marked = np.array(marks, np.uint8) > 0
    assert runs.of(marked, gap).tolist() == by_definition(marked.tolist(), gap)


@given(st.data(), st.integers(0, 5), st.sampled_from([1, 2]))
def test_what_is_taken_has_the_bit_in_either_marks_and_loses_it_in_the_first(
    data: st.DataObject, gap: int, bit: int
) -> None:
    marks = np.array(data.draw(MARKS), np.uint8)
    others = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(marks), max_size=len(marks))), np.uint8)
    expected = by_definition((((marks | others) & bit) > 0).tolist(), gap)
    alone = by_definition(((marks & bit) > 0).tolist(), gap)
    assert runs.take(marks.copy(), None, bit, gap).tolist() == alone
    left = marks.copy()
    assert runs.take(left, address(others, np.uint8), bit, gap).tolist() == expected
    assert left.tolist() == (marks & (3 - bit)).tolist()
