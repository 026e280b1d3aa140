"""The structs of phase_c.h, settle.c and issue.c as ctypes sees them, and their functions. What they mean is written
there."""

import ctypes
from typing import Any

import numpy as np

from model_core.compiled import ARRAY, INT, REAL, Kernel

HORIZONS_MAX = 16

# Structs of phase_c.h that lie in columns.
SEASON = np.dtype(
    [(name, np.float64) for name in ("change", "updates", "sum")] + [("cells", np.int64), ("number", np.int64)]
)
DRIFT = np.dtype(
    [
        *((name, np.float64, (2,)) for name in ("cusum", "ahead")),
        *((name, np.int64) for name in ("rest", "alarms")),
        ("ratios", np.float64, (4,)),
    ]
)
LEVEL = np.dtype([*((name, np.float64) for name in ("reference", "square", "seasons")), ("g", np.float64, (2,))])

# Fields of the columns, of one row and of many.
ONE_ROW: dict[str, Any] = {
    "role": np.int8,
    "bounds": np.float64,
    "offsets": np.float32,
    **dict.fromkeys(("unit", "unit_floor"), np.float64),
    "calibrated": np.int8,
    "base_row": np.int32,
    **dict.fromkeys(("loss", "error"), np.float64),
    "season_state": SEASON,
    "coverage": np.float64,
    "scored": np.int64,
    "drift": DRIFT,
    "level": LEVEL,
    "pit": np.float32,
    "run_state": np.int8,
    "resting_until": np.int64,
    "naive_rung": np.int8,
    "naive_since": np.int64,
    "seed": np.int64,
}
MANY_ROWS: dict[str, type[np.generic]] = {
    "issued": np.float32,
    "issued_rung": np.int8,
    "results": np.float64,
    "issued_mean": np.float32,
}


def _members(text: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in text.split()]


class Settlement(ctypes.Structure):
    _fields_ = [
        *_members("K Q H I median every whole demand ledger_rows result_rows quiet", INT),
        *_members("horizons first_slot slot_count bucket intervals levels normal bin_score", ARRAY),
        ("G", INT),
        ("fine_levels", ARRAY),
        ("span_turns", INT),
        *_members("unit_floor_share unit_winsor drift_slack drift_winsor", REAL),
        *_members("level_slack level_winsor level_decay level_seasons", REAL),
        *_members("trained season", INT),
        ("rates", ARRAY),
        *_members("decay slow_decay threshold far_threshold level_threshold", REAL),
        *_members("tables spread scored_tables scored_spread", ARRAY),
        *_members("cohort_offsets cohort_above cohort_counted cohort_totals cohort_hits cohort_scored", ARRAY),
        *_members(" ".join([*ONE_ROW, *MANY_ROWS]), ARRAY),
        *_members("season_state_marks level_marks scored_marks issuing_marks", ARRAY),
        *_members("issued_marks issued_rung_marks results_marks issued_mean_marks table sorted", ARRAY),
        *_members("widths moved", ARRAY),
    ]


class Found(ctypes.Structure):
    _fields_ = [
        *_members("turned completed summarised", INT),
        *_members("turned_rows completed_rows summarised_rows statistic said lost", ARRAY),
    ]


class Answers(ctypes.Structure):
    _fields_ = [
        *_members("locations reason suspicious scale level own windows", ARRAY),
        *_members("length width", INT),
        *_members("rungs reasons quantiles mean runs run_facts", ARRAY),
        *_members("turned", INT),
    ]


# (cells, settlement, found, index, ticks, values, change). It keeps the interpreter's lock: a tick of 1,250 cells takes
# 10 µs where no forecast waits and 150 µs where one does, and to get the lock back can take thousands.
settle = Kernel("phase_c_settle", [ARRAY] * 6).keeping
close = Kernel("phase_c_close", [ARRAY])  # (rungs, settlement)
issue = Kernel("phase_c_issue", [ARRAY, ARRAY, INT, ARRAY, ARRAY, ARRAY, INT])
scores = Kernel("phase_c_scores", [ARRAY] * 6).keeping  # (columns, settlement, index, …)
results = Kernel("phase_c_results", [ARRAY] * 8).keeping  # (forecasts, settlement, index, origins, …)
