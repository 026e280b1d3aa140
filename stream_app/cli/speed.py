"""`tidecast speed`: what a forecast costs on this machine, by device, horizon, batch and format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from stream_app.cli.options import AsJson
from stream_app.cli.progress import progress_bar
from stream_app.cli.tables import show_table

if TYPE_CHECKING:
    from stream_app.pages.speed_page import Records

HORIZONS, BATCHES = (24, 96), (1, 7, 256, 2048)


def speed(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write speed.json, speed.md and speed.svg (drawn by the extra `charts`) into this folder."
        ),
    ] = None,
    horizons: Annotated[
        list[int] | None,
        typer.Option("--horizon", min=1, help="Steps to forecast; may be repeated. Default: 24 and 96."),
    ] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", min=1, help="Windows answered at once; may be repeated. Default: 1, 7, 256 and 2048."),
    ] = None,
    context_length: Annotated[int, typer.Option("--context", min=4, help="Steps a forecast looks back.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Measure what a forecast costs: the worker's own path, torch eager, torch.export and ONNX.

    Devices that this machine lacks are shown as not run. Records of other devices that are in the folder are kept.
    """
    from stream_app.runtime.threads import pin_threads

    pin_threads()  # before torch is imported
    import torch

    from stream_app.models.speed import DEVICES, Shapes, measure
    from stream_app.pages import speed_page

    records = speed_page.load(out) if out else {}
    shapes = Shapes(context_length, tuple(horizons or HORIZONS), tuple(batches or BATCHES))
    devices = [device for device in DEVICES if device == "cpu" or torch.cuda.is_available()]
    with progress_bar() as bar:
        for device in devices:
            task = bar.add_task(device, total=1.0)

            def tell(what: str, share: float, task: TaskID = task) -> None:
                bar.update(task, description=what, completed=share)

            records[device] = measure(device, shapes, tell)
            bar.update(task, description=device, completed=1.0)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(records))
    else:
        _show(records)
    if out:
        written, undrawn = speed_page.save(records, out)
        for path in written:
            typer.echo(f"wrote {path}", err=as_json)
        if undrawn:
            typer.echo(undrawn, err=True)


def _show(records: Records) -> None:
    from stream_app.pages.speed_page import about, heads, table

    console = Console()
    shown = Table(title="microseconds a forecast", title_justify="left")
    for number, head in enumerate(heads()):
        shown.add_column(head, justify="right" if number else "left")
    for line in table(records):
        shown.add_row(*line)
    show_table(console, shown)
    for record in records.values():
        console.print(about(record), highlight=False, soft_wrap=True)
