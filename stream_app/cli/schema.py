"""`tidecast schema`: the JSON Schemas of the published messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

Output = Literal["forecasts", "accuracy", "drift", "journal", "control"]


def schema(
    output: Annotated[Output | None, typer.Argument(help="One output; all when absent.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Write OUTPUT.schema.json files there.")] = None,
) -> None:
    """Print the JSON Schema of what is published, as it is held against the real messages in the tests."""
    from stream_app.wire.message_schemas import MESSAGES, json_schema

    chosen = {name: json_schema(name) for name in MESSAGES if output in (None, name)}
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, body in chosen.items():
            (directory / f"{name}.schema.json").write_text(json.dumps(body, indent=2) + "\n", "utf-8")
        return
    typer.echo(json.dumps(chosen if output is None else chosen[output], indent=2))
