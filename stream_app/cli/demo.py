"""`tidecast demo`: the whole story on real data, in about two minutes."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream_app.cli.interrupts import INTERRUPTED
from stream_app.cli.options import AsJson, Layout, with_layout
from stream_app.kafka.producing import parse_rate

if TYPE_CHECKING:
    from stream_app.demo.run import Demo
    from stream_app.demo.table import Report

STAY_LOOK_S = 0.2


@with_layout
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A file of your own: CSV (also .gz) or Parquet, wide or long.")
    ] = None,
    freq: Annotated[str | None, typer.Option(help="The grid step of your file, such as 1h.")] = None,
    layout: Layout = Layout(),
    once: Annotated[bool, typer.Option("--once", help="No live view: print the final table, then end.")] = False,
    as_json: AsJson = False,
    speed: Annotated[str, typer.Option(help="Readings a second at which the second half is played, or max.")] = "max",
    page: Annotated[
        Path | None, typer.Option(help="Where to write the HTML page; default: .tidecast/demo/NAME.html.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with the configuration, the logs and the model.")
    ] = False,
) -> None:
    """Start Kafka, Valkey, a worker and the trainer, forecast the second half of real data, and say how good it was."""
    from stream_app.demo.page import write_page
    from stream_app.demo.plan import make_plan
    from stream_app.demo.processes import StopSignals
    from stream_app.demo.run import running, tell
    from stream_app.demo.stage import Stage

    pace = parse_rate(speed, "--speed")
    plan = make_plan(layout.of(data) if data else None, freq)
    console, errors = Console(), Console(stderr=True)
    live = console.is_terminal and not once and not as_json
    finished = False
    try:
        with (
            StopSignals() as signals,
            Stage(plan, console if live else errors, live=live) as stage,
            running(plan, stage, signals, watch=live, keep=keep) as demo_run,
        ):
            report = write_page(demo_run.collector, tell(demo_run, pace), page)
            stage.close()
            finished = True
            _print(report, console, as_json=as_json)
            if keep and not as_json:
                console.print(f"Configuration, logs and model: {demo_run.folder}", soft_wrap=True, highlight=False)
            if live:
                _stay(demo_run, console)
    except KeyboardInterrupt:
        if not finished:
            errors.print("Stopped; Kafka, Valkey, worker and trainer have ended.")
            raise typer.Exit(INTERRUPTED) from None


def _print(report: Report, console: Console, *, as_json: bool) -> None:
    from stream_app.demo.table import closing_lines, render_table

    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    console.print(render_table(report, console.width))
    for line in closing_lines(report):
        console.print(line, highlight=False)
    console.print(f"Forecasts over what then happened: {report.page}", highlight=False, soft_wrap=True)


def _stay(demo_run: Demo, console: Console) -> None:
    """Until Ctrl-C: someone sits there, and may want to look around."""
    bootstrap = demo_run.client["bootstrap.servers"]
    tidecast = "tidecast" if shutil.which("tidecast") else sys.argv[0]  # .venv/bin/tidecast, as `make demo` calls it
    console.print(
        f"\nKafka ({bootstrap}), Valkey and the worker still run. In another terminal:\n"
        f"  {tidecast} api --config {demo_run.config}   # the live page\n"
        f"  {tidecast} watch --config {demo_run.config}\n"
        f"  {tidecast} produce FILE --topic {demo_run.plan.spec.topic} --bootstrap {bootstrap}\n"
        "Ctrl-C ends them.",
        highlight=False,
        soft_wrap=True,
    )
    while True:
        demo_run.signals.check()
        demo_run.worker.require_running()
        time.sleep(STAY_LOOK_S)
