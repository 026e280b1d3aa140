"""`tidecast dead-letters accept`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from stream_app.cli.options import DEFAULT_FILE, Config

app = typer.Typer(no_args_is_help=True)


@app.callback()
def dead_letters() -> None:
    """Input that could not be used."""


@app.command()
def accept(
    config: Config = DEFAULT_FILE,
    stream: Annotated[str | None, typer.Option(help="Which stream of the configuration.")] = None,
    partition: Annotated[list[int] | None, typer.Option(help="Only this one; may be given more than once.")] = None,
) -> None:
    """Read on in partitions that are held because too much of their input could not be used.

    Mend the producer first: counting begins anew, and the next flood holds the partition again.
    """
    from confluent_kafka.admin import AdminClient

    from stream_app.accepting import accept_held
    from stream_app.kafka.clients import admin_properties
    from stream_app.settings import Settings
    from stream_app.startup import identities

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    count = identities(settings, AdminClient(admin_properties(settings)))[name].partition_count
    console = Console(highlight=False, soft_wrap=True)
    found = accept_held(settings, name, partition or range(count))
    for at, taken_up in found.items():
        console.print(f"{at} reads on." if taken_up else f"{at} is accepted; its worker has not taken it up yet.")
    if not found:
        console.print(f"No partition of {name} is held.")
