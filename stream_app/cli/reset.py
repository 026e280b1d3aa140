"""`tidecast reset`: move a stopped deployment to another place in its input."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from stream_app.cli.options import DEFAULT_FILE, Config, Stream


def reset(
    to: Annotated[
        str | None,
        typer.Option("--to", help="earliest, or a time (2026-03-01T10:00:00Z): read and forecast again from there."),
    ] = None,
    resume_from_state: Annotated[
        bool, typer.Option("--resume-from-state", help="Go on from where the state in Redis ends.")
    ] = False,
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
) -> None:
    """Move a stopped deployment to another place in its input, and rebuild its state from the log."""
    from stream_app.errors import TidecastError
    from stream_app.recovery.reset import Reset, parse_target
    from stream_app.settings import Settings

    if (to is None) is not resume_from_state:
        raise TidecastError("Expected either --to earliest | TIME or --resume-from-state.")
    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    work = Reset(settings, name)
    moved = work.resume_from_state() if to is None else work.to(parse_target(to))
    for each in moved:
        Console().print(f"{name}[{each.partition}] goes on at offset {each.offset}", highlight=False)
