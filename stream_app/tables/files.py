"""Opens a CSV or Parquet file as named columns, and says where in the file something is."""

import csv
import gzip
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from stream_app.errors import TidecastError

DELIMITERS = ",;\t"
PROBED_CELLS = 20  # of a column, to tell whether it holds times
SHOWN_NAMES = 12


@dataclass(frozen=True)
class SourceFile:
    """Columns as they are in the file: text for CSV (so that an error can quote the cell), typed for Parquet."""

    path: Path
    columns: pa.Table
    delimiter: str | None  # None: not a CSV

    @property
    def names(self) -> list[str]:
        return list(self.columns.column_names)

    def names_text(self) -> str:
        shown = ", ".join(repr(name) for name in self.names[:SHOWN_NAMES])
        more = len(self.names) - SHOWN_NAMES
        return f"the columns {shown}" + (f" and {more} more" if more > 0 else "")

    def column(self, name: str) -> pa.ChunkedArray:
        return self.columns.column(name)

    def where(self, name: str, row: int) -> str:
        """`FILE, column 'x', line 17`: the line as an editor counts it, quoted line breaks and empty lines included."""
        if self.delimiter is None:
            return f"{self.path}, column {name!r}, row {row + 1}"
        return f"{self.path}, column {name!r}, line {self._line(row)}"

    def looks_like_time(self, name: str) -> bool:
        column = self.column(name)
        if pa.types.is_temporal(column.type):
            return True
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return False
        cells = [text for text in column[:PROBED_CELLS].to_pylist() if text]
        try:
            pc.cast(pa.array([text.strip()[:10] for text in cells], pa.string()), pa.date32())
        except pa.ArrowInvalid:
            return False
        return bool(cells)

    def _line(self, row: int) -> int:
        opened = gzip.open if self.path.suffix == ".gz" else open
        with opened(self.path, "rt", encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=self.delimiter or ",")
            for _ in islice((cells for cells in reader if cells), row + 2):  # the header, then `row` + 1 rows
                pass
            return reader.line_num


def open_source(path: Path) -> SourceFile:
    """Open a file. TidecastError if it does not exist, cannot be read, or is not a table."""
    if not path.is_file():
        raise TidecastError(f"{path}: " + ("expected a file, found a folder" if path.is_dir() else "no such file"))
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            source = SourceFile(path, pyarrow.parquet.read_table(path), None)
        else:
            source = _open_csv(path)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TidecastError(
            f"{path}: expected a CSV (also .gz) or Parquet file, and it could not be read: {first_line}"
        ) from error
    repeated = {name for name in source.names if source.names.count(name) > 1}
    if repeated:
        raise TidecastError(f"{path}: expected each column once, found {sorted(repeated)[0]!r} more than once")
    return source


def _open_csv(path: Path) -> SourceFile:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
    if not header.strip():
        raise TidecastError(f"{path}: expected a line of column names first, found an empty line")
    delimiter = max(DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter))
    # All cells as text: the conversion is ours, so that a bad one can be named with its line.
    columns = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in names}),
    )
    return SourceFile(path, columns, delimiter)
