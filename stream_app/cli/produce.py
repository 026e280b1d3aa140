"""`tidecast produce FILE --topic T --rate N|max`: a file of readings into an input topic."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stream_app.cli.interrupts import INTERRUPTED
from stream_app.cli.options import DEFAULT_FILE, Bootstrap, ConfigIfThere, Layout, with_layout
from stream_app.errors import TidecastError
from stream_app.kafka.address import client_properties, settings_at
from stream_app.kafka.producing import (
    Message,
    Pace,
    ReadingsProducer,
    create_topic,
    pack_messages,
    parse_rate,
    single_messages,
)
from stream_app.kafka.topics import TopicAdmin, meant
from stream_app.settings import Settings
from stream_app.tables import Table


@with_layout
def produce(
    file: Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet, wide or long.")],
    topic: Annotated[str, typer.Option("--topic", "-t", help="The input topic.")],
    rate: Annotated[str, typer.Option(help="Readings to send each second, or max.")] = "max",
    bootstrap: Bootstrap = None,
    config: ConfigIfThere = None,
    create: Annotated[bool, typer.Option("--create-topic", help="Create the topic if it does not exist.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of a topic created so.")] = 1,
    pack: Annotated[
        bool, typer.Option("--pack", help="Send one message for all series of an entity at a time.")
    ] = False,
    separator: Annotated[
        str | None,
        typer.Option("--entity-separator", help="Key messages by entity: the part of a series id before this."),
    ] = None,
    format: Annotated[Literal["json"], typer.Option(help="Format of the messages.")] = "json",
    layout: Layout = Layout(),
) -> None:
    """Send a file of readings to an input topic, in event-time order over all series."""
    pace = parse_rate(rate)
    table = layout.of(file).read()
    if config is None and bootstrap is None and DEFAULT_FILE.is_file():
        config = DEFAULT_FILE
    settings = settings_at(bootstrap, config)
    client = client_properties(settings)
    _require_topic(topic, settings, create=create, partitions=partitions)
    chunks = pack_messages(table, separator, file.name.split(".")[0]) if pack else single_messages(table, separator)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a container flushes as well
    _send(table, ReadingsProducer(topic, client), chunks, pace, packed=pack)


def _send(
    table: Table, producer: ReadingsProducer, chunks: Iterator[list[Message]], pace: Pace, *, packed: bool
) -> None:
    what = "packs" if packed else "readings"
    with _progress_bar() as bar:
        task = bar.add_task(producer.topic, total=None if packed else len(table), what=what)
        try:
            producer.send(chunks, pace, progress=lambda handed: bar.update(task, completed=handed))
            producer.flush()
        except KeyboardInterrupt:
            producer.flush()
            bar.stop()
            typer.echo(f"Stopped: {producer.sent:,} {what} were sent to {producer.topic}.", err=True)
            raise typer.Exit(INTERRUPTED) from None
    series = len(table.series_ids)
    typer.echo(f"Sent {producer.sent:,} {what} of {series:,} series to {producer.topic}.", err=True)


def _progress_bar() -> Progress:
    """On a terminal only: a log of a pipeline gets the last line alone."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("→ {task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.completed:,} {task.fields[what]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _require_topic(topic: str, settings: Settings, *, create: bool, partitions: int) -> None:
    there, client = TopicAdmin(settings).partitions(), client_properties(settings)
    if topic in there:
        return
    if not create:
        broker = client["bootstrap.servers"]
        raise TidecastError(f"There is no topic {topic!r} on {broker}; --create-topic makes it.{meant(topic, there)}")
    create_topic(topic, partitions, client)
