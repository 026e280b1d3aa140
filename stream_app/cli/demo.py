"""`tidecast demo`: the whole story on real data, in about two minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_app.producing import parse_rate

INTERRUPTED = 130


def demo(
    data: Annotated[Path | None, typer.Option(help="Your own file: CSV (also .gz) or Parquet, wide or long.")] = None,
    freq: Annotated[str | None, typer.Option(help="Its grid step, such as 1h.")] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of times without an offset.")] = "UTC",
    once: Annotated[bool, typer.Option("--once", help="No live view: print the final table and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table for machines, and end.")] = False,
    speed: Annotated[str, typer.Option(help="Readings a second of the second half, or max.")] = "max",
    page: Annotated[
        Path | None, typer.Option(help="Where the HTML page goes; default .tidecast/demo/NAME.html.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with configuration, logs and model.")] = False,
) -> None:
    """Start Kafka, Valkey, a worker and the trainer, forecast the second half of real data, and say how good it was."""
    from stream_app.demo.page import write_page
    from stream_app.demo.plan import make_plan
    from stream_app.demo.processes import StopSignals
    from stream_app.demo.run import running, tell
    from stream_app.demo.stage import Stage
    from stream_app.demo.table import closing_lines, render_table

    pace = parse_rate(speed)
    plan = make_plan(data, freq, timezone)
    console, errors = Console(), Console(stderr=True)
    live = console.is_terminal and not once and not as_json
    try:
        with (
            StopSignals() as signals,
            Stage(plan, console if live else errors, live=live) as stage,
            running(plan, stage, signals, watch=live, keep=keep) as demo_run,
        ):
            report = tell(demo_run, pace)
            report = write_page(demo_run.collector, report, page)
            folder = demo_run.folder
    except KeyboardInterrupt:
        errors.print("Stopped; Kafka, Valkey, worker and trainer have ended.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    console.print(render_table(report, console.width))
    for line in closing_lines(report):
        console.print(line, highlight=False)
    console.print(f"Forecasts over what then happened: {report.page}", highlight=False, soft_wrap=True)
    if keep:
        console.print(f"Configuration, logs and model: {folder}", highlight=False, soft_wrap=True)
