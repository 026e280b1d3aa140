"""`tidecast topics create | check`: the topics of all streams of a configuration."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from model_core.durations import format_duration, parse_duration_ms
from stream_app.cli.options import DEFAULT_FILE, AsJson, Config
from stream_app.cli.tables import show_table
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.kafka.topics import Found

SOMETHING_WRONG = 1
RETENTION_DEFAULT_MS = 30 * 86_400_000
app = typer.Typer(no_args_is_help=True)
Stream = Annotated[str | None, typer.Option(help="Only this stream; default: all streams of the configuration.")]


@app.command()
def create(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of a topic; default: as many as the input topic has, else 4.")
    ] = None,
    replication: Annotated[int, typer.Option(help="Replication factor; -1 takes the brokers' default.")] = -1,
    retention: Annotated[
        str | None,
        typer.Option(help="How long messages are kept: 30d, or forever; default: as long as the input, else 30d."),
    ] = None,
    compacted: Annotated[
        bool,
        typer.Option(
            "--compacted", help="Compact forecasts, accuracy and drift: keep the newest message of each series."
        ),
    ] = False,
) -> None:
    """Create the input and output topics that do not exist yet. Existing ones are left as they are."""
    from stream_app.kafka.topics import TopicAdmin, streams_of, wanted
    from stream_app.schema_registry.our_schemas import register
    from stream_app.settings import Settings

    settings = Settings.load(config)
    wished_ms = _retention_ms(retention)
    admin = TopicAdmin(settings)
    there = admin.partitions()
    created = []
    for name, spec in streams_of(settings, stream).items():
        count = there[spec.topic][0] if spec.topic in there else partitions or 4
        if partitions not in (None, count):
            raise TidecastError(
                f"--partitions: expected {count}, as the input {spec.topic} has, found {partitions}. Leave it out."
            )
        retention_ms = wished_ms or (admin.retention_ms(spec.topic) if spec.topic in there else None)
        topics = wanted(
            name, spec, partitions=count, retention_ms=retention_ms or RETENTION_DEFAULT_MS, compacted=compacted
        )
        created += admin.create(topics, replication)
    registered = register(settings, streams_of(settings, stream))
    console = Console()
    for topic in created:
        console.print(
            f"created {topic.topic} ({topic.role}, {topic.partitions} partitions)", highlight=False, soft_wrap=True
        )
    if not created:
        console.print("All topics are there already.")
    for subject, number in registered.items():
        console.print(f"schema {number} is that of {subject}", highlight=False, soft_wrap=True)


def _retention_ms(text: str | None) -> int | None:
    from stream_app.kafka.topics import FOREVER

    try:
        return FOREVER if text == "forever" else None if text is None else parse_duration_ms(text)
    except ValueError as error:
        raise TidecastError(f"--retention: {error}") from None


@app.command()
def check(config: Config = DEFAULT_FILE, stream: Stream = None, as_json: AsJson = False) -> None:
    """Check partitions, retention and cleanup policy of all topics; exit code 1 if one is not as it should be."""
    from stream_app.kafka.topics import TopicAdmin, streams_of
    from stream_app.settings import Settings

    settings = Settings.load(config)
    admin = TopicAdmin(settings)
    found = [topic for name, spec in streams_of(settings, stream).items() for topic in admin.check(name, spec)]
    if as_json:
        typer.echo(json.dumps([asdict(topic) for topic in found], indent=2))
    else:
        _print(found)
    if any(topic.problem for topic in found):
        raise typer.Exit(SOMETHING_WRONG)


def _print(found: list[Found]) -> None:
    """A table that fits a terminal, and what is wrong below it, in whole sentences."""
    table = Table("topic", "role", "partitions", "copies", "kept", "cleanup", "state", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for topic in found:
        table.add_row(
            topic.topic,
            topic.role,
            str(topic.partitions or ""),
            str(topic.replication or ""),
            "" if topic.retention_ms is None else _duration(topic.retention_ms),
            topic.cleanup or "",
            "✗" if topic.problem else "ok",
            style="red" if topic.problem else None,
        )
    console = Console(highlight=False)
    show_table(console, table)
    for topic in found:
        if topic.problem:
            console.print(f"{topic.topic}: {topic.problem}", soft_wrap=True, markup=False)


def _duration(retention_ms: int) -> str:
    return "forever" if retention_ms < 0 else format_duration(retention_ms)
