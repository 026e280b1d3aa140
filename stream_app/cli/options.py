"""Options that several commands share, so that they are spelled alike everywhere."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stream_app.errors import TidecastError

DEFAULT_FILE = Path("tidecast.toml")
Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]


def writable(path: Path | None) -> Path | None:
    """Of an option that names a file to write: asked before the work of minutes whose result goes there."""
    if path is None:
        return None
    problem = None
    if path.is_dir():
        problem = "found a folder"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        problem = "no right to write there"
    if problem is not None:
        raise TidecastError(f"{path}: expected a file to write, {problem}")
    return path


def writable_in_a_new_folder(path: Path) -> Path:
    """The same of a file whose folder is made where there is none."""
    if path.parent.is_dir():
        writable(path)
    elif not os.access(next(each for each in path.absolute().parents if each.exists()), os.W_OK):
        raise TidecastError(f"{path}: expected a file to write, no right to make its folder")
    return path


Page = Annotated[Path | None, typer.Option("--html", callback=writable, help="Write a page with plots there.")]

# How a file of readings is read, where its columns do not have the usual names: docs/FORMATS.md
FileOfReadings = Annotated[
    Path | None,
    typer.Option("--file", help="CSV (also .gz) or Parquet instead of the input topic, wide or long: docs/FORMATS.md"),
]
Timezone = Annotated[str, typer.Option("--timezone", help="IANA zone of times in a file without an offset.")]
SeriesColumn = Annotated[str | None, typer.Option("--series-column", help="Long file: the column of series ids.")]
TimeColumn = Annotated[str | None, typer.Option("--time-column", help="File: the column of times.")]
ValueColumn = Annotated[str | None, typer.Option("--value-column", help="Long file: the column of values.")]
TimestampUnit = Annotated[
    str | None, typer.Option("--timestamp-unit", help="Unit of numeric times in a file: s, ms, us or ns.")
]
