"""Event times as producers write them → whole milliseconds since the epoch, rounded towards the past.

Numbers are in the stream's `timestamp_unit`, texts are RFC 3339 with an offset. What does not fit an int64 is clamped
far outside the years 1 to 9999, so that it is recognised as out of range later.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import numpy as np

from model_core.arrays import FloatArray, IntArray

Rfc3339 = Annotated[datetime, msgspec.Meta(tz=True)]
# Years 1 to 9999, what RFC 3339 can say.
MIN_MS, MAX_MS = -62_135_596_800_000, 253_402_300_799_999
_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_CLAMP = 2**61
_PER_MS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}  # (multiply, divide)


def scale_integers(timestamps: IntArray, unit: str) -> IntArray:
    """int64 [n] in `unit` → int64 [n] ms."""
    least, most, multiply, divide = bounds_and_scale(unit)
    if divide != 1:
        return np.floor_divide(timestamps, divide)
    if multiply == 1:
        return timestamps
    return np.clip(timestamps, least, most) * multiply


def bounds_and_scale(unit: str) -> tuple[int, int, int, int]:
    """(least, most, multiply, divide): a whole number between the first two · multiply // divide is in ms."""
    multiply, divide = _PER_MS[unit]
    return -_CLAMP // multiply, _CLAMP // multiply, multiply, divide


def scale_floats(timestamps: FloatArray, unit: str) -> IntArray:
    """float64 [n] in `unit` → int64 [n] ms."""
    multiply, divide = _PER_MS[unit]
    with np.errstate(over="ignore"):
        scaled = timestamps * multiply / divide
        # 1767225600.123 s is 1767225600122.9998 ms in float64: take the noise away before rounding down.
        near = np.round(scaled, 3)
    return np.clip(np.floor(np.where(np.isfinite(near), near, scaled)), -_CLAMP, _CLAMP).astype(np.int64)


def from_datetimes(times: "list[datetime]") -> IntArray:
    """Aware datetimes → int64 [n] ms."""
    return np.fromiter(((time - _EPOCH) // _MS for time in times), np.int64, len(times))


def from_one(timestamp: Any, unit: str) -> int | None:
    """One timestamp as JSON has it, in ms; None when it is of a type or form that no timestamp has."""
    if isinstance(timestamp, str):
        try:
            return int(from_datetimes([msgspec.convert(timestamp, Rfc3339)])[0])
        except msgspec.ValidationError:
            return None
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or timestamp != timestamp:
        return None
    if isinstance(timestamp, int):
        return int(scale_integers(np.array([max(-_CLAMP, min(_CLAMP, timestamp))]), unit)[0])
    if math.isinf(timestamp):
        return _CLAMP if timestamp > 0 else -_CLAMP
    return int(scale_floats(np.array([timestamp]), unit)[0])


def seconds_to_ms(seconds: float) -> int:
    """The same as scale_floats for one number, without an array: 0.1 µs instead of 20. Not for NaN."""
    scaled = seconds * 1000
    if math.isfinite(scaled * 1000):
        scaled = round(scaled * 1000) / 1000
    return math.floor(min(max(scaled, -float(_CLAMP)), float(_CLAMP)))


def rfc3339(timestamp_ms: int) -> str:
    """Milliseconds → text with Z, for people; outside the years 1 to 9999 the number itself."""
    if not MIN_MS <= timestamp_ms <= MAX_MS:
        return f"{timestamp_ms} ms"
    text = str(np.datetime_as_string(np.datetime64(timestamp_ms, "ms"), unit="ms"))
    return text.removesuffix(".000") + "Z"
