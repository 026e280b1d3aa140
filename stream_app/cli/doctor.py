"""`tidecast doctor`: what is wrong with a set-up, and what to do about it."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream_app.cli.options import DEFAULT_FILE, AsJson, Config

if TYPE_CHECKING:
    from stream_app.doctor import Finding

MARKS = {"OK": ("✓", "green"), "WARNING": ("!", "yellow"), "ERROR": ("✗", "red")}


class Program(Enum):
    """The rows of docs/OPERATIONS.md, Security."""

    WORKER = "worker"
    TRAINER = "trainer"
    PAGE = "page"


def doctor(
    config: Config = DEFAULT_FILE,
    program: Annotated[
        Program, typer.Option("--as", help="Examine what this program needs, as the user of the given configuration.")
    ] = Program.WORKER,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only what is not as it should be.")] = False,
) -> None:
    """Examine brokers, topics, rights, Redis, state, clocks, schemas and models. Nothing is changed.

    Exit code: 0 all is well, 1 there are warnings, 2 something is broken.
    """
    from stream_app.doctor import Severity, examine
    from stream_app.settings import Settings

    settings = Settings.load(config)
    console = Console(highlight=False, soft_wrap=True)

    def tell(finding: Finding) -> None:
        if as_json or (quiet and finding.severity is Severity.OK):
            return
        mark, style = MARKS[finding.severity.name]
        console.print(f"{mark} {finding.look}: {finding.about}: {finding.found}", style=style, markup=False)
        if finding.remedy:
            console.print(f"    → {finding.remedy}", markup=False)

    found = examine(settings, tell, program.value)
    if as_json:
        rows = [
            {
                "look": f.look,
                "about": f.about,
                "severity": f.severity.name.lower(),
                "found": f.found,
                "remedy": f.remedy,
            }
            for f in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    raise typer.Exit(max(finding.severity for finding in found))
