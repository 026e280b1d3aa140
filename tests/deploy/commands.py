"""What manifests tell containers to do, held against the product: command lines and settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from stream_app.cli import build_app
from stream_app.settings import Settings

SHELL_WORDS = {";", "&&", "||", "do", "done", "&"}


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


def tidecast_calls(entrypoint: Sequence[str], command: Sequence[str]) -> list[list[str]]:
    """The words after `tidecast`: of a container's own command, or of each such call in its shell's text."""
    if list(entrypoint) == ["tidecast"]:
        return [list(command)]
    assert list(entrypoint) == ["/bin/sh", "-c"], entrypoint
    lexer = shlex.shlex(command[0], posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    calls: list[list[str]] = []
    inside = False
    for word in lexer:
        if word == "tidecast":
            calls.append([])
            inside = True
        elif word in SHELL_WORDS:
            inside = False
        elif inside:
            calls[-1].append(word)
    return calls


def settings_of(configuration: Path, environment: Mapping[str, str]) -> Settings:
    """As the container would load them. TidecastError for a name that does not exist, in the file or a variable."""
    return Settings.load(configuration, {name: str(value) for name, value in environment.items()})
