"""I4 for what is in Redis: the saved state of a deployment equals that of an undisturbed one over the same log.

Apart from checker.py, because states can only be read with the product's own reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.app.running_worker import World
from tests.app.saved_states import saved_state

if TYPE_CHECKING:
    from model_core.partition import PartitionState
    from tests.chaos.checker import Verdict

RELATIVE_MAX = 1e-12  # of float64 sums; windows and everything else bit for bit


def compare_states(world: World, config: Path, reference: Path, verdict: Verdict) -> None:
    """Of two deployments that have stopped."""
    for partition in range(world.partitions):
        try:
            mine, theirs = saved_state(world, config, partition), saved_state(world, reference, partition)
        except AssertionError:
            verdict.violation("I4 no saved state", f"partition {partition}")
            continue
        for difference in differences(mine, theirs):
            verdict.violation("I4 saved state unlike the undisturbed run's", f"partition {partition}: {difference}")
        verdict.counts["compared series"] += len(theirs.columns.index)


def differences(mine: PartitionState, theirs: PartitionState) -> list[str]:
    """Every live row of every series, and what is no column."""
    if mine.columns.index.keys() != theirs.columns.index.keys():
        return [f"other series: {sorted(mine.columns.index.keys() ^ theirs.columns.index.keys())[:5]}"]
    if mine.live_rows() != theirs.live_rows():
        return [f"live rows {mine.live_rows()} against {theirs.live_rows()}"]
    found = []
    slots = [
        np.array([state.columns.index[series_id] for series_id in mine.columns.index], np.int64)
        for state in (mine, theirs)
    ]
    first, last = mine.live_rows()
    for name, field in mine.columns.fields.items():
        rows = np.arange(first, last + 1) % field.rows if field.ahead else np.arange(field.rows)
        left, right = (
            state.columns.arrays[name][slot >> 8, :, slot & 255][:, rows]
            for state, slot in zip((mine, theirs), slots, strict=True)
        )
        if not _same(left, right):
            found.append(f"column {name} of {int((left != right).any(axis=1).sum())} series")
    try:
        np.testing.assert_equal(mine.meta(), theirs.meta())
    except AssertionError as error:
        found.append(f"meta: {' '.join(str(error).split())[:300]}")
    return found


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    if left.dtype == np.float64:
        return bool(np.allclose(left, right, rtol=RELATIVE_MAX, atol=0, equal_nan=True))
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
