"""`tidecast config check | show | size`: what a configuration says, and how much memory it takes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from stream_app.cli.options import DEFAULT_FILE, AsJson, Config
from stream_app.cli.tables import show_table

if TYPE_CHECKING:
    from stream_app.settings.table import Row

app = typer.Typer(no_args_is_help=True)
File = Annotated[Path | None, typer.Argument(help="The configuration file; the same as --config.")]
WIDE = 120  # columns from which the settings are a table, not a list


@app.command()
def check(file: File = None, config: Config = DEFAULT_FILE) -> None:
    """Say what is wrong with a configuration, one sentence for each problem; exit code 2 if there is any."""
    from stream_app.schema_registry.client import schemas_of
    from stream_app.settings import Settings
    from stream_app.wire import decoder

    file = file or config
    settings = Settings.load(file)
    settings.kafka.properties("admin")  # reads the properties file, if there is one
    schemas = schemas_of(settings)
    for spec in settings.streams.values():
        decoder(spec, schemas)
    names = ", ".join(settings.streams) or "none yet: add [streams.NAME] with topic and freq"
    Console().print(f"{file} is valid. Streams: {names}.", highlight=False, markup=False, soft_wrap=True)


@app.command()
def show(
    file: File = None,
    config: Config = DEFAULT_FILE,
    as_json: AsJson = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their defaults.")] = False,
) -> None:
    """List every setting in force: its value, what it means, and what changing it means. Secrets are not shown."""
    from stream_app.settings import Settings
    from stream_app.settings.table import rows

    file = file or config
    chosen = [row for row in rows(Settings.load(file)) if not (changed and row.is_default)]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in chosen], ensure_ascii=False, indent=2))
        return
    console = Console()
    if console.width < WIDE:
        _print_list(console, chosen)
    else:
        _print_table(console, str(file), chosen)


@app.command()
def size(
    file: File = None,
    config: Config = DEFAULT_FILE,
    series: Annotated[int, typer.Option(min=1, help="How many series a stream has.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """How much memory the state of each stream takes, by part, in all workers together and in Redis."""
    from stream_app.checkpoints import sizing
    from stream_app.settings import Settings

    console = Console(highlight=False, soft_wrap=True)
    for name, spec in Settings.load(file or config).streams.items():
        parts = sizing.parts(spec)
        bytes_each = sum(parts.values())
        worker_mb = sizing.WORKER_FACTOR * bytes_each * series / 1e6 + sizing.WORKER_MB
        redis_mb = sizing.REDIS_FACTOR * bytes_each * series / 1e6
        if as_json:
            memory = {"worker_mb": worker_mb, "redis_mb": redis_mb}
            typer.echo(json.dumps({"stream": name, "bytes_a_series": parts, "series": series, **memory}))
            continue
        table = Table("part", "bytes a series", title=f"{name}: {bytes_each:,.0f} bytes a series", title_justify="left")
        for part, length in parts.items():
            table.add_row(part, f"{length:,.0f}")
        show_table(console, table)
        console.print(
            f"{series:,} series: {worker_mb:,.0f} MB in one worker ({sizing.WORKER_FACTOR:g} × + {sizing.WORKER_MB} MB "
            f"a process), {redis_mb:,.0f} MB in Redis ({sizing.REDIS_FACTOR:g} ×)."
        )


def _print_table(console: Console, title: str, chosen: list[Row]) -> None:
    table = Table(title=title)
    for name, share in (("key", 5), ("value", 4), ("default?", 2), ("what it means", 7), ("changing it", 3)):
        table.add_column(name, ratio=share, overflow="fold")
    for row in chosen:
        style = None if row.is_default else "bold"
        default = "default" if row.is_default else ""
        table.add_row(row.key, _shown(row.value), default, row.description, row.change, style=style)
    console.print(table, markup=False)


def _print_list(console: Console, chosen: list[Row]) -> None:
    """For narrow terminals, where five columns would be five letters each."""
    for row in chosen:
        default = "  (default)" if row.is_default else ""
        console.print(f"{row.key} = {_shown(row.value)}{default}", style="" if row.is_default else "bold", markup=False)
        console.print(Padding(f"{row.description} Changing it: {row.change}.", (0, 0, 0, 4)), style="dim", markup=False)


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
