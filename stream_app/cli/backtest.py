"""`tidecast backtest`: what each model would have published for a log, and how good that would have been.

Exit codes: 0 judged; 2 there was nothing to judge, or the configuration is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream_app.cli.options import (
    DEFAULT_FILE,
    AsJson,
    Config,
    FileOfReadings,
    Layout,
    Page,
    Stream,
    time_ms,
    with_layout,
)
from stream_app.cli.progress import progress_of_one
from stream_app.cli.train import require_torch

if TYPE_CHECKING:
    from rich.table import Table

LOSS_WIDTH = 8


@with_layout
def backtest(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    file: FileOfReadings = None,
    layout: Layout = Layout(),
    start: Annotated[
        str | None, typer.Option("--from", help="Judge forecasts from this time on; default: the middle of the log.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A version to compare as well, beside champion, candidate and previous; may be repeated."),
    ] = None,
    train: Annotated[
        Literal["all", "ridge", "patch_mixer"], typer.Option(help="Which models to train; for demand there is one.")
    ] = "all",
    html: Page = None,
    as_json: AsJson = False,
) -> None:
    """Replay a log as a worker would have served it, with each model in turn: those trained on the part before, those
    of the registry, and the naive forecasts."""
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    start_ms = time_ms(start, "--from") if start else None
    require_torch()
    from stream_app.pages.backtest_page import backtest_page
    from stream_app.training import backtest_job

    with progress_of_one("reading") as tell:
        report = backtest_job.run(
            settings,
            name,
            file=layout.of(file) if file else None,
            start_ms=start_ms,
            versions=model or (),
            kinds=backtest_job.KINDS if train == "all" else (train,),
            on_progress=tell,
        )
    if html is not None:
        html.write_text(backtest_page(report), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(report)
        typer.echo(f"the page: {html}" if html else "with plots: --html FILE")


def show(report: dict[str, Any]) -> None:
    from rich.console import Console

    from stream_app.cli.tables import show_widest

    console, count = Console(), len(report["horizons"])
    show_widest(console, (_table(report, some) for some in range(count, min(count, 2) - 1, -1)))
    for sentence in _what_it_means(report):
        console.print(sentence, highlight=False)


def _table(report: dict[str, Any], count: int) -> Table:
    """With so many of the horizons, from the first to the last; the page has all."""
    from rich.table import Table

    horizons, title = report["horizons"], f"{report['stream']}: scaled pinball, as it would have been served"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    shown = [round(place * (len(horizons) - 1) / max(1, count - 1)) for place in range(count)]
    for column in ("all", *(f"{horizons[place]} ahead" for place in shown), "coverage", "learned from"):
        table.add_column(column, justify="right", min_width=LOSS_WIDTH)
    for name, row in report["models"].items():
        by_horizon = row["by_horizon"] or [None] * len(horizons)
        losses = [row["scaled_pinball"], *(by_horizon[place] for place in shown)]
        shares = ["–" if share is None else f"{share:.1%}" for share in (row["coverage"], row["seen"])]
        table.add_row(name, *("–" if loss is None else f"{loss:.4f}" for loss in losses), *shares)
    return table


def _what_it_means(report: dict[str, Any]) -> Iterator[str]:
    models = report["models"]
    start = datetime.fromtimestamp(report["start_ms"] / 1000, UTC)
    most = max(row["forecasts"] or 0 for row in models.values())
    yield f"{most:,} forecasts by each model, of origins from {start:%Y-%m-%d %H:%M} UTC on."
    if report["nominal_coverage"] is not None:
        yield f"coverage: of the {report['nominal_coverage']:.0%} interval."
    if any(row["seen"] for row in models.values()):
        yield "learned from: share of the judged time a model was trained on; above 0 % it knew answers beforehand."
    if report["not_trained"]:
        yield f"No model was trained: {report['not_trained']}"
