"""`tidecast backtest`: what each model would have published from a log, and how good that was.

Exit codes: 0 judged; 2 there was nothing to judge, or the configuration is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_app.cli.options import DEFAULT_FILE, Config
from stream_app.cli.train import progress_bar, require_torch, time_ms


def backtest(
    config: Config = DEFAULT_FILE,
    stream: Annotated[str | None, typer.Option(help="The stream; needless when there is only one.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="CSV (also .gz) or Parquet instead of the input topic, wide or long.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Judge origins from this time on; default the middle of the log.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A version beside champion, candidate and previous; may be repeated.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False,
) -> None:
    """Play a log as a worker would, with every model in turn: one trained on what had arrived before, those of the
    registry, and the naive forecasts."""
    require_torch()
    from stream_app.pages.backtest_page import backtest_page
    from stream_app.settings import Settings
    from stream_app.training import backtest_job

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    with progress_bar() as bar:
        task = bar.add_task("reading", total=1.0)
        report = backtest_job.run(
            settings,
            name,
            file=file,
            start_ms=time_ms(start, "--from") if start else None,
            versions=model or (),
            on_progress=lambda what, share: bar.update(task, description=what, completed=share),
        )
    if html is not None:
        html.write_text(backtest_page(report), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(report)
        typer.echo(f"the page: {html}" if html else "with plots: --html FILE")


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report['stream']}: scaled pinball, as it would have been served", title_justify="left")
    table.add_column("model", no_wrap=True)
    for column in ("all", *(f"{horizon} ahead" for horizon in report["horizons"]), "coverage", "learned from"):
        table.add_column(column, justify="right")
    for name, row in report["models"].items():
        losses = [row["scaled_pinball"], *(row["by_horizon"] or [None] * len(report["horizons"]))]
        shares = ["–" if share is None else f"{share:.1%}" for share in (row["coverage"], row["seen"])]
        table.add_row(name, *("–" if loss is None else f"{loss:.4f}" for loss in losses), *shares)
    Console().print(table)
