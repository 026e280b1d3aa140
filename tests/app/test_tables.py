"""Files become the same readings whatever their shape, and a bad cell is named with its line."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from stream_app.errors import TidecastError
from stream_app.tables import Table, read_table

TEN = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
WIDE = "ts,a,b\n2026-03-01 10:00,1,\n2026-03-01 11:00,2,20\n"
LONG = "series_id,timestamp,value\na,2026-03-01T10:00:00Z,1\nb,2026-03-01T11:00:00Z,20\na,2026-03-01T11:00:00Z,2\n"


def rows(table: Table) -> list[tuple[str, int, float]]:
    return [
        (table.series_ids[code], int(time), float(value))
        for code, time, value in zip(table.series, table.timestamps_ms, table.values, strict=True)
    ]


def written(folder: Path, text: str, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_wide_and_long_files_hold_the_same_readings(tmp_path):
    expected = {("a", TEN, 1.0), ("a", TEN + HOUR, 2.0), ("b", TEN + HOUR, 20.0)}
    assert set(rows(read_table(written(tmp_path, WIDE)))) == expected
    assert set(rows(read_table(written(tmp_path, LONG, "long.csv.gz")))) == expected


def test_parquet_holds_the_same_readings(tmp_path):
    columns = {
        "when": pa.array([TEN, TEN + HOUR], pa.timestamp("ms", tz="UTC")),
        "a": pa.array([1, 2], pa.int32()),
        "b": pa.array([None, 20.0]),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "wide.parquet")
    assert rows(read_table(tmp_path / "wide.parquet")) == rows(read_table(written(tmp_path, WIDE)))


def test_readings_are_merged_by_time_and_those_of_one_moment_keep_the_order_of_the_file(tmp_path):
    text = (
        "sensor,time,reading\nb,2026-03-01 11:00,3\na,2026-03-01 10:00,1\nb,2026-03-01 10:00,5\nb,2026-03-01 10:00,4\n"
    )
    found = rows(read_table(written(tmp_path, text)))
    assert found == [("a", TEN, 1), ("b", TEN, 5), ("b", TEN, 4), ("b", TEN + HOUR, 3)]


def test_the_columns_of_a_long_file_can_be_named(tmp_path):
    text = "store;item;day;sold\n1;x;2026-03-01;4\n"
    path = written(tmp_path, text)
    found = read_table(path, series_column="item", time_column="day", value_column="sold")
    assert rows(found) == [("x", TEN - 10 * HOUR, 4.0)]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_of_numeric_times_is_recognised(tmp_path, unit, factor):
    path = written(tmp_path, f"timestamp,a\n{TEN // 1000 * factor},1\n")
    assert rows(read_table(path)) == rows(read_table(path, timestamp_unit=unit)) == [("a", TEN, 1.0)]


def test_times_with_and_without_offset_may_be_mixed(tmp_path):
    path = written(tmp_path, "ts,a\n2026-03-01T11:00:00+01:00,1\n2026-03-01 11:00:00,2\n")
    assert rows(read_table(path)) == [("a", TEN, 1.0), ("a", TEN + HOUR, 2.0)]


def test_local_times_repeat_an_hour_in_autumn_and_none_is_lost(tmp_path):
    text = "ts,a\n" + "".join(
        f"2026-10-25 {clock},1\n" for clock in ("01:30", "02:00", "02:30", "02:00", "02:30", "03:00")
    )
    times = read_table(written(tmp_path, text), timezone="Europe/Berlin").timestamps_ms
    assert [int(step) for step in times[1:] - times[:-1]] == [HOUR // 2] * 5


def test_an_hour_that_clocks_skip_is_placed_after_the_gap(tmp_path):
    text = "ts,a\n2026-03-29 01:59,1\n2026-03-29 02:30,2\n2026-03-29 03:00,3\n"
    times = read_table(written(tmp_path, text), timezone="Europe/Berlin").timestamps_ms
    assert [int(step) for step in times[1:] - times[:-1]] == [60_000, 0]


@pytest.mark.parametrize("cell", ["", "NaN", "null", " "])
def test_an_empty_cell_is_no_reading(tmp_path, cell):
    assert len(read_table(written(tmp_path, f"ts,a\n2026-03-01,1\n2026-03-02,{cell}\n"))) == 1


BAD = {
    "a word": (
        "ts,a\n2026-03-01,1\n\n2026-03-02,warm\n",
        "column 'a', line 4: expected a number, found 'warm'",
    ),
    "infinite": ("ts,a\n2026-03-01,inf\n", "line 2: expected a finite number, found inf"),
    "decimal comma": ("ts;a\n2026-03-01;1,5\n", "expected a number (decimals with a point, as in 1.5), found '1,5'"),
    "no time": ("ts,a\n2026-03-01,1\nyesterday,2\n", "column 'ts', line 3: expected a time such as"),
    "empty time": ("ts,a\n2026-03-01,1\n,2\n", "column 'ts', line 3: expected a time, found an empty cell"),
    "no time column": ("x,y\n1,2\n", "expected a column of times"),
    "only times": ("ts\n2026-03-01\n", "expected a column for each series"),
    "no readings": ("ts,a\n2026-03-01,\n", "expected readings, found none"),
    "no header": ("\n", "expected a line of column names first"),
    "twice": ("ts,a,a\n2026-03-01,1,2\n", "found 'a' more than once"),
    "ragged": ("ts,a\n2026-03-01,1,2\n", "could not be read"),
    "no series id": ("id,ts,value\n,2026-03-01,2\n", "column 'id', line 2: expected a series id"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(TidecastError) as error:
        read_table(written(tmp_path, text))
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TidecastError, match=r"nothing\.csv: no such file"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(TidecastError, match="expected a file, found a folder"):
        read_table(tmp_path)


def test_a_part_of_the_time_keeps_the_series(tmp_path):
    table = read_table(written(tmp_path, LONG))
    assert rows(table.between(TEN + HOUR)) == [("b", TEN + HOUR, 20.0), ("a", TEN + HOUR, 2.0)]
    assert rows(table.between(end_ms=TEN + HOUR)) == [("a", TEN, 1.0)]
