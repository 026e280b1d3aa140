"""`tidecast models try`: what a model would forecast if covariates had other values."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from model_core.errors import CoreError
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
from stream_app.errors import TidecastError


@with_layout
def try_values(
    version: Annotated[str, typer.Argument(help="A version, or champion, candidate or previous.")] = "champion",
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="VARIABLE=VALUE, a covariate and the value to try; may be repeated."),
    ] = None,
    series: Annotated[list[str] | None, typer.Option(help="A series to draw; may be repeated. Default: a few.")] = None,
    file: FileOfReadings = None,
    layout: Layout = Layout(),
    until: Annotated[
        str | None, typer.Option(help="Only readings before this time, e.g. 2026-03-01T00:00:00Z.")
    ] = None,
    html: Page = None,
    as_json: AsJson = False,
) -> None:
    """What the newest forecasts would be if covariates had other values: --set rain=20."""
    from stream_app.models.registry import ModelRegistry
    from stream_app.pages.try_page import try_page
    from stream_app.settings import Settings
    from stream_app.training.try_job import try_model

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    registry = ModelRegistry(settings.models.registry)
    try:
        bundle = registry.load(name, registry.resolve(name, version))
    except CoreError as error:
        raise TidecastError(str(error)) from error
    with progress_of_one("reading") as tell:
        report = try_model(
            settings,
            name,
            bundle,
            _parsed(values or []),
            series=series or (),
            file=layout.of(file) if file else None,
            until_ms=time_ms(until, "--until") if until else None,
            on_progress=tell,
        )
    if html is not None:
        html.write_text(try_page(report), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(report)
        typer.echo(f"the page: {html}" if html else "with plots: --html FILE")


def _parsed(values: list[str]) -> dict[str, float]:
    """TidecastError says which one is no VARIABLE=VALUE."""
    found = {}
    for text in values:
        variable, _, value = text.partition("=")
        try:
            found[variable.strip()] = float(value)
        except ValueError:
            raise TidecastError(f"--set: expected VARIABLE=VALUE, found {text!r}") from None
    if not found:
        raise TidecastError('--set: expected a covariate and its value, as in --set "rain=20"')
    return found


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from stream_app.cli.tables import show_table
    from stream_app.pages.try_page import asked_for, where_set

    levels, console = report["quantile_levels"], Console()
    title = f"{report['stream']}: forecasts of {report['version']} with {asked_for(report)}"
    table = Table(title=title, title_justify="left")
    table.add_column("series", no_wrap=True)
    for column in ("step", "median", "with it", "moves by", f"{levels[0]:g} … {levels[-1]:g}", "with it"):
        table.add_column(column, justify="right")
    middle = levels.index(0.5)
    for each in report["drawn"]:
        before, after = each["before"], each["after"]
        moved = [with_it - as_it_is for as_it_is, with_it in zip(before[middle], after[middle], strict=True)]
        steps = {0, len(moved) - 1, max(range(len(moved)), key=lambda step: abs(moved[step]))}
        for step in sorted(steps):
            medians = (f"{before[middle][step]:.4g}", f"{after[middle][step]:.4g}", f"{moved[step]:+.4g}")
            ranges = (f"{rows[0][step]:.4g} … {rows[-1][step]:.4g}" for rows in (before, after))
            table.add_row(each["series_id"], f"{step + 1}", *medians, *ranges)
    show_table(console, table)
    console.print(where_set(report), highlight=False)
    console.print(
        "Steps: the first, the last, and the one whose median moves most. Quantiles as trained.", highlight=False
    )
