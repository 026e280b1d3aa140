"""`tidecast series delete`: forget series."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from stream_app.cli.options import DEFAULT_FILE, Config, Stream

app = typer.Typer(no_args_is_help=True)


@app.callback()
def series() -> None:
    """What a worker knows of single series."""


@app.command()
def delete(
    series_ids: Annotated[list[str], typer.Argument(help="The series to delete.")],
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
) -> None:
    """Delete series: their state, their pending scores, and their newest messages in compacted outputs.

    A null value with the series' key goes to every partition of the input topic, because which one a series lives on
    depends on its producers' key and partitioner. The other partitions do not know the series and ignore it.
    """
    from stream_app.kafka.tombstones import delete_series
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, spec = settings.stream(stream)
    partitions = delete_series(settings, spec, series_ids)
    Console().print(
        f"{len(series_ids)} series of {name}: tombstones are in {spec.topic} ({partitions} partitions).",
        highlight=False,
        soft_wrap=True,
    )
