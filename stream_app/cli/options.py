"""Options that several commands share, so that they are spelled alike everywhere."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.tables import TableFile

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

FileOfReadings = Annotated[
    Path | None,
    typer.Option("--file", help="CSV (also .gz) or Parquet instead of the input topic, wide or long: docs/FORMATS.md"),
]


@dataclass(frozen=True)
class Layout:
    """How a file of readings is read whose columns do not have the usual names: docs/FORMATS.md. An option each."""

    timezone: Annotated[str, typer.Option(help="IANA zone of times in a file without an offset.")] = "UTC"
    series_column: Annotated[str | None, typer.Option(help="Long file: the column of series ids.")] = None
    time_column: Annotated[str | None, typer.Option(help="File: the column of times.")] = None
    value_column: Annotated[str | None, typer.Option(help="Long file: the column of values.")] = None
    timestamp_unit: Annotated[str | None, typer.Option(help="Unit of numeric times in a file: s, ms, us or ns.")] = None

    def of(self, file: Path) -> "TableFile":
        from stream_app.tables import TableFile

        return TableFile(file, **vars(self))


def with_layout(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with an option for each part of its parameter `layout`, where that stands."""
    signature, parts = inspect.signature(command, eval_str=True), inspect.signature(Layout).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters.extend(parts.values() if name == "layout" else [parameter])

    @wraps(command)
    def called(**given: Any) -> None:
        command(layout=Layout(**{part: given.pop(part) for part in parts}), **given)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # where typer looks
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called
