"""The structs of phase_a.h as ctypes sees them, and its functions. What they mean is written there."""

import ctypes
from typing import Any

from model_core.compiled import ARRAY, INT, REAL, Kernel

SETTLED, CORRECTED, PASSED = range(3)
TOO_LATE, OUT_OF_RANGE = range(2)
DONE, FULL, BEGINS, GAP, SILENCE = range(5)
WAVE_WIDTH, REJECTION_WIDTH = 7, 3  # int64 each
CELL_WIDTH = 9


def _members(text: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in text.split()]


class Fields(ctypes.Structure):
    _fields_ = [
        *_members("ring open_count open_value open_stamp", ARRAY),
        *_members("last_tick first_tick last_seen observed newest_origin revision aggregate fill role", ARRAY),
        *_members("scaler covariates ring_touched count_touched value_touched stamp_touched hot_touched", ARRAY),
        *_members("last_wave listed", ARRAY),
        *_members("blocks used", INT),
    ]


class Settings(ctypes.Structure):
    _fields_ = [
        *_members("length horizon capacity open_rows past future", INT),
        *_members("forecast_every min_readings dormant_ticks open_ticks known_ahead report_ticks silence_ticks", INT),
        *_members("readings_per_step stamped behind_ms lateness_ms step_ms", INT),
        ("midnights", ARRAY),
        ("days", INT),
        *_members("empty decay level_decay", REAL),
    ]


class Windows(ctypes.Structure):
    _fields_ = _members("windows known season center scale level readings fill", ARRAY)


class Partition(ctypes.Structure):
    _fields_ = [
        *_members("closed newest_ms season", INT),
        *_members("index stamps offsets values repeated", ARRAY),
        *_members("at goal gap_from cause listed told first_round silence_due", INT),
        *_members("following follower late_tick follow_offset", INT),
        *_members("cells waves rejected", ARRAY),
        *_members("cell_count cell_room wave_count wave_room", INT),
        *_members("window_count window_room rejected_count rejected_room first_wave group", INT),
        ("counts", ARRAY),
        *_members("known_tick known_start known_end", INT),
        ("set", Settings),
        ("fields", Fields),
        ("windows", Windows),
    ]


run = Kernel("phase_a_run", [ARRAY], INT)  # (readings, partition) → DONE, FULL, …
take = Kernel("phase_a_take", [ARRAY] * 5)  # (cells, partition, cells, values, due, windows)
clear = Kernel("phase_a_clear", [ARRAY])  # (tick, partition)
newest = Kernel("phase_a_newest", [ARRAY, INT, INT], INT)
JUMPED = 2**63 - 1  # what `newest` says of event times of which one jumps
_bytes = Kernel("phase_a_bytes", [], INT)

assert [_bytes(which) for which in range(4)] == [
    ctypes.sizeof(Partition),
    *(8 * width for width in (CELL_WIDTH, WAVE_WIDTH, REJECTION_WIDTH)),
], "phase_a.h and phase_a.py describe the same structs"
