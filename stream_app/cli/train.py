"""`tidecast train`: learn a model from the input topic or a file, and let it take charge if it is better.

Exit codes: 0 trained and published, whether it took charge or not; 2 there was nothing to learn from, or the
configuration is wrong; 130 interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.interrupts import INTERRUPTED
from stream_app.cli.options import (
    DEFAULT_FILE,
    AsJson,
    Config,
    FileOfReadings,
    Layout,
    Stream,
    time_ms,
    with_layout,
)
from stream_app.cli.progress import progress_of_one
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.training.train_job import Result

SERIES_SHOWN_MAX = 40


@with_layout
def train(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    file: FileOfReadings = None,
    layout: Layout = Layout(),
    until: Annotated[
        str | None, typer.Option(help="Only readings before this time, e.g. 2026-03-01T00:00:00Z.")
    ] = None,
    promote: Annotated[bool, typer.Option(help="Let the new model take charge if it is better.")] = True,
    false_alarms: Annotated[
        float,
        typer.Option(
            "--false-alarms-per-million",
            min=1.0,
            help="How often drift may be reported where there is none, per million readings.",
        ),
    ] = 100.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep running, and train whenever the workers ask for it.")
    ] = False,
    every: Annotated[str | None, typer.Option(help="With --follow: train at least this often, e.g. 1d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a model from history, and let it take charge if it is better than the model in charge."""
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    until_ms = time_ms(until, "--until") if until else None
    require_torch()
    from stream_app.training import train_job

    if follow or every:
        if not follow or file or until:
            raise TidecastError("--every goes with --follow, which learns from the topic: no --file, no --until.")
        _follow(settings, name, every)
        return
    try:
        with progress_of_one("reading") as tell:
            result = train_job.run(
                settings,
                name,
                file=layout.of(file) if file else None,
                until_ms=until_ms,
                promote=promote,
                false_alarms_per_million=false_alarms,
                on_progress=tell,
            )
    except KeyboardInterrupt:
        typer.echo("Stopped: nothing was published.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        from stream_app.models.registry import ModelRegistry

        report = ModelRegistry(settings.models.registry).report(name, result.version)
        typer.echo(json.dumps(report | {"promoted": result.promoted}, indent=2, ensure_ascii=False))
    else:
        _show(name, result)


def _follow(settings: Settings, stream: str, every: str | None) -> None:
    """Until SIGTERM or Ctrl-C: exit code 0. A training that is under way then leaves nothing."""
    import signal
    import threading

    from model_core.durations import parse_duration_ms
    from stream_app.observability.logs import configure_logs
    from stream_app.training.train_service import TrainService

    settings.require_properties()
    configure_logs(settings.log_level, json=settings.log_format == "json")
    try:
        every_s = parse_duration_ms(every) / 1000 if every else None
    except ValueError as error:
        raise TidecastError(f"--every: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        TrainService(settings, stream, every_s=every_s).run(threading.Event())
    except KeyboardInterrupt:
        return


def require_torch() -> None:
    """A forecast on the CPU needs none, so the smaller image has none."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as missing:
        raise TidecastError(
            f"Training expects torch, which is not installed here (no module {missing.name}). Use the `cuda` image, "
            "which trains on a CPU as well, or install the whole of requirements.lock."
        ) from None


def _show(stream: str, result: Result) -> None:
    """A table of the series, and what was decided in a sentence."""
    from rich.console import Console
    from rich.table import Table

    from stream_app.cli.tables import show_table

    console, verdict = Console(), result.trained.verdict
    manifest = result.trained.bundle.manifest
    table = Table(title=f"{stream}: scaled pinball, newest parts", title_justify="left")
    table.add_column("series")
    shown = 4 if verdict.champion_version else 3  # of candidate, both naive forecasts, champion
    for column in ("model", "seasonal naive", "last value", "champion")[:shown]:
        table.add_column(column, justify="right")
    ranked = sorted(verdict.series.items(), key=lambda item: -item[1][0] / max(min(item[1][1:3]), 1e-12))
    for series_id, losses in ranked[:SERIES_SHOWN_MAX]:
        table.add_row(series_id, *_losses(losses[:shown]))
    if len(ranked) > SERIES_SHOWN_MAX:
        table.add_row(f"… and {len(ranked) - SERIES_SHOWN_MAX} more that do better")
    table.add_section()
    means = (verdict.candidate, verdict.seasonal_naive, verdict.last_value, verdict.champion)
    table.add_row("mean", *_losses(means[:shown]))
    show_table(console, table)
    season = f"{manifest.season} steps" if manifest.season_found else "none found"
    console.print(
        f"read {result.read.readings:,} readings ({result.read.unusable:,} unusable) · "
        f"{manifest.training.windows:,} windows · season {season} · "
        f"the widest interval covers {verdict.coverage:.1%}"
    )
    if result.note:
        console.print(f"note: {result.note}")
    for check in verdict.checks:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        console.print(f"{mark} {check.name}: {check.said}", soft_wrap=True, highlight=False)
    if verdict.number > 1:
        console.print(f"attempt {verdict.number} on these readings: each one must be surer than the one before")
    decided = "takes charge" if result.promoted else "does not take charge"
    console.print(f"model {result.version} {decided}: {verdict.reason}", soft_wrap=True)
    console.print(f"the whole report: tidecast models report {result.version}", soft_wrap=True)


def _losses(losses: Sequence[float]) -> list[str]:
    """A cell each, the smallest in bold."""
    least = min(losses)
    return [f"[bold]{loss:.4f}[/]" if loss == least else f"{loss:.4f}" for loss in losses]
