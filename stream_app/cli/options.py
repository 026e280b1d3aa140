"""Options that several commands share, so that they are spelled alike everywhere."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.tables import TableFile

DEFAULT_FILE = Path("tidecast.toml")
Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Stream = Annotated[
    str | None, typer.Option("--stream", help="Which stream of the configuration; not needed if there is only one.")
]
ConfigIfThere = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Take broker, client settings and streams from this file. Default: ./tidecast.toml.",
    ),
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="Address of a broker, host:port.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def writable(path: Path | None) -> Path | None:
    """Checks an option that names a file to write, before the minutes of work whose result goes there."""
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
    """The same, for a file whose folder is made if it is missing."""
    if path.parent.is_dir():
        writable(path)
    elif not os.access(next(each for each in path.absolute().parents if each.exists()), os.W_OK):
        raise TidecastError(f"{path}: expected a file to write, no right to make its folder")
    return path


def time_ms(text: str, option: str) -> int:
    """The value of an option that takes a time, in ms since the epoch; UTC where it names no offset."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise TidecastError(f"{option}: expected a time such as 2026-03-01T00:00:00Z, found {text!r}") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


Page = Annotated[
    Path | None, typer.Option("--html", callback=writable, help="Write an HTML page with plots to this file.")
]

FileOfReadings = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="Read this CSV (also .gz) or Parquet file, wide or long, instead of the input topic: docs/FORMATS.md",
    ),
]


@dataclass(frozen=True)
class Layout:
    """How to read a file whose columns do not have the usual names (docs/FORMATS.md). Each field is an option."""

    timezone: Annotated[str, typer.Option(help="IANA time zone of times in the file that have no offset.")] = "UTC"
    series_column: Annotated[str | None, typer.Option(help="Column of the series ids, in a long file.")] = None
    time_column: Annotated[str | None, typer.Option(help="Column of the times in the file.")] = None
    value_column: Annotated[str | None, typer.Option(help="Column of the values, in a long file.")] = None
    timestamp_unit: Annotated[str | None, typer.Option(help="Unit of numeric times in the file: s, ms, us or ns.")] = (
        None
    )

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
