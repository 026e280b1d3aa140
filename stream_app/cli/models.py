"""`tidecast models …`: the model registry, for people."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_core.errors import CoreError
from stream_app.cli.models_try import try_values
from stream_app.cli.options import DEFAULT_FILE, AsJson, Config, Stream, writable, writable_in_a_new_folder
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.models.registry import ModelRegistry

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("try")(try_values)

Version = Annotated[str, typer.Argument(help="A version, or champion, candidate or previous.")]


@app.command("list")
def list_models(config: Config = DEFAULT_FILE, stream: Stream = None, as_json: AsJson = False) -> None:
    """All versions of a stream's model, oldest first, and which of them is in charge."""
    from rich.console import Console
    from rich.table import Table

    from stream_app.cli.tables import show_table

    registry, name = _open(config, stream)
    listed = registry.versions(name)
    if as_json:
        rows = [{"version": each.version, "aliases": each.aliases, "problem": each.problem} for each in listed]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not listed:
        typer.echo(f"Stream {name} has no model yet: tidecast train --stream {name}")
        return
    table = Table(title=f"models of {name}, with their scaled pinball", title_justify="left", box=None, pad_edge=False)
    table.add_column("version", no_wrap=True)
    for column in ("is", "model", "series", "pinball", "rival's", "gate"):
        table.add_column(column, overflow="fold")
    for each in listed:
        if each.manifest is None:
            table.add_row(each.version, ", ".join(each.aliases), each.problem)
            continue
        made, scores = each.manifest, each.report.get("scaled_pinball", {})
        passed, champion = each.report.get("passed"), each.report.get("champion")
        naive = min(
            (s for s in (scores.get("seasonal_naive"), scores.get("last_value")) if s is not None), default=None
        )
        table.add_row(
            each.version,
            ", ".join(each.aliases),
            made.model,
            f"{made.training.series:,}",
            _number(scores.get("candidate")),
            _number(scores.get("champion") if champion else naive),
            "" if passed is None else "passed" if passed else "refused",
        )
    console = Console()
    show_table(console, table)
    console.print("rival's: of the champion of that time, without one of the better naive forecast.")
    if len(listed) > 1:
        console.print("Compare a version with its rival alone: each pair was judged on its own newest weeks.")


@app.command()
def show(version: Version = "champion", config: Config = DEFAULT_FILE, stream: Stream = None) -> None:
    """The manifest and the training report of a version, as JSON."""
    registry, name = _open(config, stream)
    found = registry.resolve(name, version)
    manifest = _checked_load(registry, name, found)
    typer.echo(json.dumps({"manifest": manifest, "report": registry.report(name, found)}, indent=2, ensure_ascii=False))


@app.command()
def report(
    version: Version = "candidate",
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    out: Annotated[Path, typer.Option(callback=writable, help="Where the page goes.")] = Path("model-report.html"),
) -> None:
    """Why a version took charge, or did not, as a page with its plots."""
    from stream_app.pages.training_page import training_page

    registry, name = _open(config, stream)
    found = registry.resolve(name, version)
    told = registry.report(name, found)
    if "gate" not in told:
        _checked_load(registry, name, found)  # of one that is not there it says so
        raise TidecastError(f"Model {found} of stream {name} has no report of how it was judged; see `models show`")
    out.write_text(training_page(name, told), encoding="utf-8")
    typer.echo(f"{out}: how {found} was judged")


@app.command()
def promote(version: Version, config: Config = DEFAULT_FILE, stream: Stream = None) -> None:
    """Let a version take charge; the one before becomes `previous`."""
    registry, name = _open(config, stream)
    found = registry.resolve(name, version)
    _checked_load(registry, name, found)
    registry.promote(name, found)
    typer.echo(f"{found} is the champion of {name}; workers take it up within models.poll_interval.")


@app.command()
def rollback(config: Config = DEFAULT_FILE, stream: Stream = None) -> None:
    """Let the model before the champion take charge again."""
    registry, name = _open(config, stream)
    try:
        version = registry.rollback(name)
    except CoreError as error:
        raise TidecastError(str(error)) from error
    typer.echo(f"{version} is the champion of {name} again; workers take it up within models.poll_interval.")


@app.command()
def shadow(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    promote: Annotated[bool, typer.Option("--promote", help="Let the candidate take charge if it is proven.")] = False,
) -> None:
    """How the candidate in the shadow does against the champion, on values that came after both forecast them."""
    from stream_app.settings import Settings
    from stream_app.training.control import ControlTopic

    settings = Settings.load(config)
    registry, name = _open(config, stream)
    candidate, champion = registry.resolve(name, "candidate"), registry.champion(name)
    if candidate == champion:
        typer.echo(f"{candidate} is in charge: there is no newer candidate to hold against it.")
        return
    if not settings.models.shadow_series_max:
        typer.echo("models.shadow_series_max is 0: workers run no candidate in the shadow.")
    with ControlTopic(settings, name) as control:
        control.read_all()
        found = control.evidence(candidate, champion)
    typer.echo(f"candidate {candidate}: {_number(found.candidate)}   champion {champion}: {_number(found.champion)}")
    typer.echo(f"{'proven' if found.proven else 'not proven'} ({found.sentence})")
    if promote and not found.proven:
        raise TidecastError("The candidate is not proven in the shadow; `models promote` does not ask for that.")
    if promote:
        registry.promote(name, candidate)
        typer.echo(f"{candidate} is the champion of {name}; workers take it up within models.poll_interval.")


class Format(StrEnum):
    """Of an exported model."""

    onnx = "onnx"
    torch = "torch"


@app.command()
def export(
    out: Annotated[
        Path,
        typer.Option(
            "--out", callback=writable_in_a_new_folder, help="The file to write; two others are written beside it."
        ),
    ],
    form: Annotated[Format, typer.Option("--format", help="ONNX, or a torch.export archive.")] = Format.onnx,
    version: Version = "champion",
    with_state: Annotated[
        bool, typer.Option("--with-state", help="Also what the deployment has learned of each series since training.")
    ] = False,
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
) -> None:
    """Write a model as one file for another runtime, its published quantiles included.

    FILE.json says what goes in and comes out, FILE.golden.safetensors has forecasts to try it on, and with --with-state
    FILE.state.safetensors the inputs that a worker has learned.
    """
    from stream_app.models.export import trace, write
    from stream_app.models.learned import read_learned
    from stream_app.settings import Settings

    registry, name = _open(config, stream)
    found = registry.resolve(name, version)
    try:
        bundle = registry.load(name, found)
    except CoreError as error:
        raise TidecastError(str(error)) from error
    settings = Settings.load(config)
    learned = read_learned(settings, name, bundle) if with_state else None
    made = write(trace(settings.streams[name], bundle), out, form.value)
    files = list(made.files)
    if learned is not None:
        files.append(out.with_name(f"{out.name}.state.safetensors"))
        learned.save(files[-1])
    for path in files:
        typer.echo(f"{path}  {path.stat().st_size:,} bytes")
    typer.echo(f"It repeats {made.rows} forecasts of model {found}, the largest difference is {made.difference:.1g}.")


def _open(config: Path, stream: str | None) -> tuple[ModelRegistry, str]:
    from stream_app.models.registry import ModelRegistry
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    return ModelRegistry(settings.models.registry), name


def _checked_load(registry: ModelRegistry, stream: str, version: str) -> dict[str, object]:
    try:
        return registry.load(stream, version).manifest.model_dump(mode="json", exclude={"tensors"})
    except CoreError as error:
        raise TidecastError(str(error)) from error


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
