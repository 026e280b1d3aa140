"""Files of readings (CSV, gzipped CSV, Parquet), wide or long → one set of columns, merged by time over all series.

wide: a time column, and one column for each series. long: one row for each reading, with columns for series id, time
and value. Knows nothing of Kafka or grids; times stay as they are in the file, to the millisecond.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_core.arrays import FloatArray, IntArray
from stream_app.errors import TidecastError
from stream_app.tables.cells import numbers, times_ms
from stream_app.tables.files import SourceFile, open_source

SERIES_NAMES = (
    "series_id",
    "unique_id",
    "item_id",
    "sensor_id",
    "series",
    "sensor",
    "metric",
    "tag",
    "id",
    "name",
)
TIME_NAMES = ("timestamp", "time", "ts", "datetime", "date_time", "date", "ds", "event_time", "date time")
VALUE_NAMES = ("value", "y", "reading", "val", "target", "measurement")


@dataclass(frozen=True)
class Table:
    """n readings in event-time order; readings of the same moment keep the order of the file."""

    series_ids: list[str]  # S names, in the order of the file
    series: IntArray  # int64 [n], index into series_ids
    timestamps_ms: IntArray  # int64 [n], UTC, rising
    values: FloatArray  # float64 [n], finite

    def __len__(self) -> int:
        return len(self.series)

    def between(self, start_ms: int | None = None, end_ms: int | None = None) -> "Table":
        """The readings with start ≤ time < end, and all series, so that indices stay valid."""
        low = 0 if start_ms is None else int(np.searchsorted(self.timestamps_ms, start_ms))
        high = len(self) if end_ms is None else int(np.searchsorted(self.timestamps_ms, end_ms))
        return Table(self.series_ids, self.series[low:high], self.timestamps_ms[low:high], self.values[low:high])


@dataclass(frozen=True)
class TableFile:
    """A file, and what it does not say of itself: see `read_table`."""

    path: Path
    timezone: str = "UTC"
    series_column: str | None = None
    time_column: str | None = None
    value_column: str | None = None
    timestamp_unit: str | None = None

    def read(self) -> Table:
        """Read all of it. TidecastError names column, line, what was expected and what was found."""
        return read_table(
            self.path,
            timezone=self.timezone,
            series_column=self.series_column,
            time_column=self.time_column,
            value_column=self.value_column,
            timestamp_unit=self.timestamp_unit,
        )


def read_table(
    path: Path | str,
    *,
    timezone: str = "UTC",
    columns: Sequence[str] | None = None,
    series_column: str | None = None,
    time_column: str | None = None,
    value_column: str | None = None,
    timestamp_unit: str | None = None,
) -> Table:
    """Read a whole file. TidecastError names column, line, what was expected and what was found.

    Times without an offset are in `timezone`; numeric times are in `timestamp_unit` (s | ms | us | ns), by default the
    one that puts them between 1973 and 5138. Empty cells and NaN are no readings. `columns`: the series to take.
    """
    source = open_source(Path(path))
    time_name = _time_column(source, time_column)
    series_name = _named(source, series_column, SERIES_NAMES)
    value_name = _named(source, value_column, VALUE_NAMES)
    if series_name and value_name and len({series_name, value_name, time_name}) == 3:
        table = _long(source, series_name, time_name, value_name, timezone, timestamp_unit)
    elif series_column or value_column:
        raise TidecastError(
            f"{source.path}: a long file needs a series column, a time column and a value column, found only "
            f"{', '.join(sorted({name for name in (series_name, value_name, time_name) if name}))} among "
            f"{source.names_text()}. Name them with --series-column, --time-column and --value-column."
        )
    else:
        table = _wide(source, time_name, columns, timezone, timestamp_unit)
    table = _only(table, columns, source.path)
    if not len(table):
        raise TidecastError(f"{source.path}: expected readings, found none (all cells are empty)")
    return _by_time(table)


def _wide(source: SourceFile, time_name: str, columns: Sequence[str] | None, timezone: str, unit: str | None) -> Table:
    names = [name for name in source.names if name != time_name and (columns is None or name in columns)]
    if not names:
        raise TidecastError(
            f"{source.path}: expected a column for each series beside {time_name!r}, found {source.names_text()}"
        )
    times, known = times_ms(source, time_name, timezone, unit, None)
    try:
        cells = np.stack([numbers(source, name) for name in names], axis=1)  # [rows, series]
    except TidecastError as error:
        raise TidecastError(
            f"{error}. The file was read as wide, a column a series; if it is long, a row a reading, name its columns "
            "with --series-column and --value-column."
        ) from None
    cells[~known] = np.nan  # a row without a time is refused by times_ms unless it is empty altogether
    rows, series = np.nonzero(~np.isnan(cells))  # row by row: the order of the file
    return Table(names, series.astype(np.int64), times[rows], cells[rows, series])


def _long(
    source: SourceFile, series_name: str, time_name: str, value_name: str, timezone: str, unit: str | None
) -> Table:
    ids = pc.fill_null(source.column(series_name).cast(pa.string()), "").combine_chunks().dictionary_encode()
    codes = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = ids.dictionary.to_pylist()
    values = numbers(source, value_name)
    times, known = times_ms(source, time_name, timezone, unit, codes)
    kept = known & ~np.isnan(values)
    unnamed = np.flatnonzero(kept & (codes == names.index("")))[:1] if "" in names else ()
    for row in unnamed:
        raise TidecastError(f"{source.where(series_name, int(row))}: expected a series id, found an empty cell")
    return Table(names, codes[kept], times[kept], values[kept])


def _by_time(table: Table) -> Table:
    if np.all(table.timestamps_ms[1:] >= table.timestamps_ms[:-1]):
        return table
    order = np.argsort(table.timestamps_ms, kind="stable")
    return Table(table.series_ids, table.series[order], table.timestamps_ms[order], table.values[order])


def _only(table: Table, columns: Sequence[str] | None, path: Path) -> Table:
    """The chosen series; without a choice, those that have readings."""
    used = {table.series_ids[code] for code in np.unique(table.series)}
    missing = [name for name in columns or () if name not in table.series_ids]
    if missing:
        raise TidecastError(f"{path}: no series {missing[0]!r}; there are {', '.join(table.series_ids[:12])}")
    kept = [name for name in table.series_ids if name in (used if columns is None else columns)]
    if kept == table.series_ids:
        return table
    new_code = {name: code for code, name in enumerate(kept)}
    mapping = np.array([new_code.get(name, -1) for name in table.series_ids] or [-1], np.int64)
    codes = mapping[table.series]
    chosen = codes >= 0
    return Table(kept, codes[chosen], table.timestamps_ms[chosen], table.values[chosen])


def _time_column(source: SourceFile, wanted: str | None) -> str:
    """The one that was named, one with a usual name, or the first that looks like times."""
    named = _named(source, wanted, TIME_NAMES)
    if named:
        return named
    for name in source.names:
        if source.looks_like_time(name):
            return name
    raise TidecastError(
        f"{source.path}: expected a column of times (named {', '.join(TIME_NAMES[:4])}, …), found "
        f"{source.names_text()}. Name it with --time-column."
    )


def _named(source: SourceFile, wanted: str | None, usual: Sequence[str]) -> str | None:
    if wanted is not None:
        if wanted not in source.names:
            raise TidecastError(f"{source.path}: expected a column {wanted!r}, found {source.names_text()}")
        return wanted
    by_lower = {name.strip().lower(): name for name in reversed(source.names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)
