"""The struct of corrector.c as ctypes sees it, and its functions. What they mean is written there."""

import ctypes
from typing import Any

from model_core.compiled import ARRAY, INT, REAL, Kernel

HORIZONS_MAX = 16


def _members(text: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in text.split()]


class Corrector(ctypes.Structure):
    _fields_ = [
        *_members("C K H L W every rows far", INT),
        *_members("horizons first_slot slot_count", ARRAY),
        *_members("decay penalty winsor margin unit_floor_share unit_min", REAL),
        *_members("locations reason scale windows", ARRAY),
        *_members("unit sums widths moved entries sums_marks entries_marks", ARRAY),
    ]


correct = Kernel("corrector_correct", [ARRAY, INT, ARRAY, ARRAY, ARRAY])  # (forecasts, corrector, start, index, …)
learn = Kernel("corrector_learn", [ARRAY] * 4)  # (cells, corrector, index, ticks, values)
