"""What manifests tell containers to do, held against the product: command lines and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from stream_app.cli import build_app
from stream_app.settings import Settings


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The parameters of `tidecast WORDS`, as typer takes them. Raises its usage error for what does not exist."""
    command: Any = typer.main.get_command(build_app(words[0]))
    name, parent, rest = "tidecast", None, list(words)
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not hasattr(command, "resolve_command"):
            return dict(context.params)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parent = context


def settings_of(configuration: Path, environment: Mapping[str, str]) -> Settings:
    """As the container would load them. TidecastError for a name that does not exist, in the file or a variable."""
    return Settings.load(configuration, {name: str(value) for name, value in environment.items()})
