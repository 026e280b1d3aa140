"""`tidecast services up | down | status`: a real Kafka and a real Valkey on this machine, for development."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream_app.cli.options import AsJson
from stream_app.cli.tables import show_table
from stream_app.local_services import LocalServices, ServiceStatus

NOT_RUNNING = 1

app = typer.Typer(no_args_is_help=True)

Directory = Annotated[Path, typer.Option("--dir", help="Where data, logs and Kafka's jars are kept.")]
DEFAULT_DIRECTORY = Path(".tidecast")


@app.command()
def up(
    directory: Directory = DEFAULT_DIRECTORY,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Use free ports instead of 9092 and 6379, until `down`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a real Kafka and a real Valkey. Those that already run are left alone.

    There is no schema registry among them: for Avro and JSON Schema start your own, or the one of docker-compose.yml,
    and set schema_registry.url.
    """
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("Kafka's jars", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        services = LocalServices(directory, free_ports=free_ports, persistent=True, progress=show)
        services.up()
    _print(services.status(), as_json=as_json)
    if not as_json and not services.on_usual_ports:
        console.print("\nFor other terminals, since these are not the default ports:")
        console.print(f"  export TIDECAST__KAFKA__BOOTSTRAP_SERVERS={services.kafka_bootstrap}", highlight=False)
        console.print(f"  export TIDECAST__REDIS__URL={services.redis_url}", highlight=False)


@app.command()
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop both in an orderly way. Their data and logs are kept."""
    LocalServices(directory, persistent=True).down()
    Console(stderr=True).print("Kafka and Valkey have ended; data and logs are kept.")


@app.command()
def status(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Show what runs and where; exit code 1 unless both answer."""
    lines = LocalServices(directory, persistent=True).status()
    _print(lines, as_json=as_json)
    if any(line.state != "running" for line in lines):
        raise typer.Exit(NOT_RUNNING)


def _print(lines: list[ServiceStatus], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([line.as_dict() for line in lines]))
        return
    table = Table("service", "state", "address", "pid", "log")
    for line in lines:
        table.add_row(line.name, line.state, line.address or "", str(line.pid or ""), _short(line.log))
    show_table(Console(), table)


def _short(path: str) -> str:
    """Relative where it lies below the current folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
