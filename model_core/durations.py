"""Durations as people write them (`10min`, `1d`, `500ms`) ↔ whole milliseconds."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PATTERN = re.compile(r"^\s*(\d+)\s*(ms|s|min|h|d|w)\s*$")


def parse_duration_ms(value: Any) -> int:
    """`"10min"` → 600000. A whole number is taken as milliseconds. ValueError says what was expected."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected a duration such as 30s, 10min, 1h or 1d, found {value!r}")
    if isinstance(value, int):
        return value
    match = _PATTERN.match(value)
    if match is None:
        raise ValueError(f"expected a duration such as 30s, 10min, 1h or 1d, found {value!r}")
    return int(match[1]) * _UNITS_MS[match[2]]


def format_duration(duration_ms: int) -> str:
    """The shortest exact text: 600000 → `10min`."""
    for unit in ("d", "h", "min", "s"):
        if duration_ms and duration_ms % _UNITS_MS[unit] == 0:
            return f"{duration_ms // _UNITS_MS[unit]}{unit}"
    return f"{duration_ms}ms" if duration_ms else "0s"


DurationMs = Annotated[
    int, BeforeValidator(parse_duration_ms), PlainSerializer(format_duration, return_type=str, when_used="json")
]
