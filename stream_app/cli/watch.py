"""`tidecast watch`: forecasts and their quality, live in the terminal."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from stream_app.errors import TidecastError
from stream_app.kafka_address import client_properties
from stream_app.settings import Settings
from stream_app.topic_follower import TopicFollower
from stream_app.watch import WatchModel
from stream_app.watch_view import Frame, render

NEWEST_MESSAGES = 5_000  # a partition, read first so that the first frame is not empty
FRAME_INTERVAL_S = 0.5
LOOK_INTERVAL_S = 5.0  # for topics that are not there yet
FIRST_FRAME_TIMEOUT_S = 20.0
OUTPUTS = ("forecasts", "accuracy", "drift")


def watch(
    config: Annotated[Path | None, typer.Option(help="A tidecast.toml: its broker and its stream.")] = None,
    stream: Annotated[str | None, typer.Option(help="Which stream of the configuration.")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="Address of a broker, host:port.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Prefix of the output topics.")] = None,
    sort: Annotated[Literal["name", "skill", "coverage", "drift"], typer.Option(help="Order of the lines.")] = "name",
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
) -> None:
    """Show each series' last value, newest forecast, model, coverage, skill and drift."""
    name, topics = _outputs(config, stream, prefix)
    model = WatchModel()
    console = Console()
    with TopicFollower(list(topics), client_properties(bootstrap, config), newest=NEWEST_MESSAGES) as follower:
        missing = follower.refresh()
        if once and len(missing) == len(topics):
            raise TidecastError(f"None of the topics {', '.join(topics)} is there. Is the prefix right?")
        _read_newest(follower, topics, model)
        if once:
            height = max(console.height, len(model.lines()) + 8) if not console.is_terminal else console.height
            console.print(_frame(model, name, missing, sort, console.width, height))
            return
        _follow(follower, topics, model, console, name, sort)


def _outputs(config: Path | None, stream: str | None, prefix: str | None) -> tuple[str, dict[str, str]]:
    """The stream's name, and topic → output."""
    if prefix is not None:
        return prefix, {f"{prefix}.{output}": output for output in OUTPUTS}
    if config is None:
        raise TidecastError("Name what to watch: --config tidecast.toml, or --bootstrap HOST:PORT --prefix PREFIX.")
    name, spec = Settings.load(config).stream(stream)
    return name, {spec.outputs.topic(output, name): output for output in OUTPUTS}


def _read_newest(follower: TopicFollower, topics: dict[str, str], model: WatchModel) -> None:
    deadline = time.monotonic() + FIRST_FRAME_TIMEOUT_S
    while not follower.caught_up() and time.monotonic() < deadline:
        _feed(follower, topics, model, 0.1)


def _feed(follower: TopicFollower, topics: dict[str, str], model: WatchModel, timeout_s: float) -> None:
    for topic, messages in follower.poll(timeout_s).items():
        model.feed(topics[topic], [(message.key(), message.value()) for message in messages])


def _follow(
    follower: TopicFollower, topics: dict[str, str], model: WatchModel, console: Console, name: str, sort: str
) -> None:
    missing, looked = follower.refresh(), time.monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the terminal is given back as it was
        try:
            while True:
                live.update(_frame(model, name, missing, sort, console.width, console.height), refresh=True)
                until = time.monotonic() + FRAME_INTERVAL_S
                while (left := until - time.monotonic()) > 0:
                    _feed(follower, topics, model, min(left, 0.1))
                if missing and time.monotonic() - looked > LOOK_INTERVAL_S:
                    missing, looked = follower.refresh(), time.monotonic()
        except KeyboardInterrupt:
            return


def _frame(model: WatchModel, name: str, missing: list[str], sort: str, width: int, height: int) -> RenderableType:
    lines = model.lines(sort)
    newest = max((line.forecast.origin for line in lines if line.forecast), default=None)
    status = f"{model.forecasts_seen:,} forecasts"
    if newest:
        status += f" · at {newest:%Y-%m-%d %H:%M} UTC"
    if missing:
        status += f" · waiting for {', '.join(missing)}"
    if model.unreadable:
        status += f" · {model.unreadable:,} unreadable"
    return render(lines, Frame(name, status, sort), width=width, height=height)
