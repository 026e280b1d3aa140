"""`tidecast schema`: the schemas of the published messages, printed, or registered for Avro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stream_app.cli.options import DEFAULT_FILE, Config
from stream_app.errors import TidecastError

Output = Literal["forecasts", "accuracy", "drift", "journal", "control"]


def schema(
    output: Annotated[Output | None, typer.Argument(help="One output; default: all.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Write the schemas into this folder, a file each.")
    ] = None,
    avro: Annotated[
        bool, typer.Option("--avro", help="Print the Avro schemas instead (forecasts, accuracy, drift).")
    ] = False,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print an AsyncAPI 3 document of the configured streams instead.")
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Register the Avro schemas of streams that publish Avro.")
    ] = False,
    config: Config = DEFAULT_FILE,
    stream: Annotated[str | None, typer.Option(help="With --register: only this stream.")] = None,
) -> None:
    """Print the JSON Schemas of the published messages; the tests check the real messages against them."""
    if register:
        _register(config, stream)
        return
    if stream is not None:
        raise TidecastError("--stream goes with --register: the schemas are those of all streams.")
    if asyncapi:
        from stream_app.schemas.asyncapi import document
        from stream_app.settings import Settings

        typer.echo(json.dumps(document(Settings.load(config)), indent=2))
        return
    chosen = _chosen(output, avro=avro)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        ending = "avsc" if avro else "schema.json"
        for name, body in chosen.items():
            (directory / f"{name}.{ending}").write_text(json.dumps(body, indent=2) + "\n", "utf-8")
        return
    typer.echo(json.dumps(chosen if output is None else chosen[output], indent=2))


def _chosen(output: str | None, *, avro: bool) -> dict[str, Any]:
    from stream_app.schemas.avro_schemas import SCHEMAS
    from stream_app.schemas.message_schemas import MESSAGES, json_schema

    if not avro:
        return {name: json_schema(name) for name in MESSAGES if output in (None, name)}
    if output is not None and output not in SCHEMAS:
        raise TidecastError(f"Expected one of {', '.join(SCHEMAS)} with --avro, found {output}: it is always JSON.")
    return {name: body for name, body in SCHEMAS.items() if output in (None, name)}


def _register(config: Path, stream: str | None) -> None:
    from stream_app.kafka.topics import streams_of
    from stream_app.schema_registry.our_schemas import register
    from stream_app.settings import Settings

    settings = Settings.load(config)
    found = register(settings, streams_of(settings, stream))
    for subject, number in found.items():
        typer.echo(f"schema {number} is that of {subject}")
    if not found:
        typer.echo('No stream publishes Avro: set format = "avro" under [streams.NAME.outputs].')
