"""The cells of a file → numbers and times. An empty cell is no reading; anything else must be what its column holds."""

import math
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_core.arrays import BoolArray, FloatArray, IntArray
from stream_app.errors import TidecastError
from stream_app.tables.files import SourceFile

EMPTY = pa.array(["", "na", "n/a", "nan", "null", "none", "-"])
UNITS_PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
SECONDS_MAX, MILLISECONDS_MAX, MICROSECONDS_MAX = 1e11, 1e14, 1e17  # 5138-11-16 in each unit


def numbers(source: SourceFile, name: str) -> FloatArray:
    """Column → float64 [rows], NaN where it is empty. TidecastError for text and for infinite values."""
    column = source.column(name)
    if _is_text(column.type):
        column = _blank_to_null(column)
    try:
        values = pc.cast(column, pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row, found = _first_bad(column)
        point = " (decimals with a point, as in 1.5)" if _DECIMAL_COMMA.fullmatch(str(found)) else ""
        raise TidecastError(f"{source.where(name, row)}: expected a number{point}, found {found!r}") from None
    array = values.to_numpy(zero_copy_only=False) if values.null_count == 0 else _with_nan(values)
    for row in np.flatnonzero(np.isinf(array))[:1]:
        raise TidecastError(f"{source.where(name, int(row))}: expected a finite number, found {array[row]}")
    return np.array(array, np.float64)


def times_ms(
    source: SourceFile, name: str, timezone: str, unit: str | None, series: IntArray | None
) -> tuple[IntArray, BoolArray]:
    """Column → int64 [rows] milliseconds since the epoch, and bool [rows] whether the row has a time at all.

    `series` [rows] tells whose clock a row follows; None: all rows follow one.
    """
    if unit is not None and unit not in UNITS_PER_MS:
        raise TidecastError(f"timestamp unit: expected one of {', '.join(UNITS_PER_MS)}, found {unit!r}")
    _zone(timezone)
    column = source.column(name)
    if _is_text(column.type):
        column = _blank_to_null(column)
        if _all_numbers(column):
            column = pc.cast(column, pa.float64())
    known = ~np.asarray(column.is_null(), bool)
    if not known.all() and source.delimiter is not None:
        row = int(np.flatnonzero(~known)[0])
        raise TidecastError(f"{source.where(name, row)}: expected a time, found an empty cell")
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _numeric_ms(source, name, column, unit), known
    if not pa.types.is_temporal(column.type) and not _is_text(column.type):
        raise TidecastError(f"{source.path}, column {name!r}: expected times, found {column.type}")
    return _calendar_ms(source, name, column, timezone, series), known


def _numeric_ms(source: SourceFile, name: str, column: pa.ChunkedArray, unit: str | None) -> IntArray:
    numeric = pc.fill_null(column, 0).to_numpy()
    if unit is None:
        largest = float(np.max(np.abs(numeric), initial=0.0))
        limits = {"s": SECONDS_MAX, "ms": MILLISECONDS_MAX, "us": MICROSECONDS_MAX, "ns": math.inf}
        unit = next(candidate for candidate, limit in limits.items() if largest < limit)
    if unit == "s":
        return np.floor(numeric * 1000.0 + 1e-6).astype(np.int64)
    return np.floor_divide(numeric, UNITS_PER_MS[unit]).astype(np.int64)


def _calendar_ms(
    source: SourceFile, name: str, column: pa.ChunkedArray, timezone: str, series: IntArray | None
) -> IntArray:
    if _is_text(column.type):
        column = _parsed(source, name, column, timezone)
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("ms"))
    if not pa.types.is_timestamp(column.type):
        raise TidecastError(f"{source.path}, column {name!r}: expected times, found {column.type}")
    column = pc.cast(column, pa.timestamp("ms", tz=column.type.tz), safe=False)
    if column.type.tz is None:
        return _local_ms(column, timezone, series)
    return pc.fill_null(column.cast(pa.int64()), 0).to_numpy()


def _parsed(source: SourceFile, name: str, column: pa.ChunkedArray, timezone: str) -> pa.ChunkedArray:
    """Text → timestamps: all without offset, all with one, or (slowly) mixed."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", tz="UTC")):
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid:
            continue
    zone = _zone(timezone)
    parsed: list[datetime | None] = []
    for row, text in enumerate(column.to_pylist()):
        try:
            moment = datetime.fromisoformat(text) if text is not None else None
        except ValueError:
            raise TidecastError(
                f"{source.where(name, row)}: expected a time such as 2026-03-01T10:00:00Z or 2026-03-01 10:00, "
                f"found {text!r}"
            ) from None
        parsed.append(moment.replace(tzinfo=moment.tzinfo or zone).astimezone(UTC) if moment else None)
    return pa.chunked_array([pa.array(parsed, pa.timestamp("us", tz="UTC"))])


def _local_ms(column: pa.ChunkedArray, timezone: str, series: IntArray | None) -> IntArray:
    """Local times → UTC. In the hour that clocks repeat, a series whose local time did not advance is in the second."""
    if timezone == "UTC":
        return pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    first = _assumed(column, timezone, ambiguous="earliest")
    second = _assumed(column, timezone, ambiguous="latest")
    chosen = first.copy()
    local = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    last_local: dict[int, int] = {}
    repeated: set[int] = set()
    for row in np.flatnonzero(first != second):  # at most an hour a year of each series
        whose = int(series[row]) if series is not None else 0
        before = last_local.get(whose)
        if before is not None and local[row] <= before:
            repeated.add(whose)
        elif before is not None and local[row] - before > 7_200_000:  # another year's hour
            repeated.discard(whose)
        last_local[whose] = int(local[row])
        if whose in repeated:
            chosen[row] = second[row]
    return chosen


def _assumed(column: pa.ChunkedArray, timezone: str, *, ambiguous: str) -> IntArray:
    placed = pc.assume_timezone(column, timezone, ambiguous=ambiguous, nonexistent="latest")
    return np.array(pc.fill_null(placed.cast(pa.int64()), 0).to_numpy(), np.int64)


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TidecastError(f"timezone: expected an IANA name such as Europe/Berlin, found {timezone!r}") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(pc.utf8_lower(column), EMPTY), pa.scalar(None, column.type), column)


def _all_numbers(column: pa.ChunkedArray) -> bool:
    try:
        pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        return False
    return column.null_count < len(column)


def _with_nan(values: pa.ChunkedArray) -> FloatArray:
    return np.array(pc.fill_null(values, math.nan).to_numpy(), np.float64)


def _is_number(cell: object) -> bool:
    if not isinstance(cell, str | int | float):
        return False
    try:
        pc.cast(pa.scalar(cell), pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return False
    return True


def _first_bad(column: pa.ChunkedArray) -> tuple[int, object]:
    """Row and cell of the first that is not a number."""
    for row, cell in enumerate(column.to_pylist()):
        if cell is not None and not _is_number(cell):
            return row, cell
    return 0, str(column.type)
