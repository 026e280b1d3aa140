"""`tidecast watch`: forecasts and their quality, live in the terminal."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from model_core.spec import StreamSpec
from stream_app.cli.options import DEFAULT_FILE, Bootstrap, ConfigIfThere, Stream
from stream_app.errors import TidecastError
from stream_app.kafka.address import client_properties, settings_at
from stream_app.kafka.input_tail import InputTail
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.kafka.topics import TopicAdmin
from stream_app.schema_registry.client import schemas_of
from stream_app.settings import Settings
from stream_app.watch import WatchModel
from stream_app.watch.view import FRAME_ROWS, Frame, render
from stream_app.wire.published import as_json

NEWEST_MESSAGES = 5_000  # a partition, read first so that the first frame is not empty
FRAME_INTERVAL_S = 0.5
LOOK_INTERVAL_S = 5.0  # for topics that are not there yet
FIRST_FRAME_TIMEOUT_S = 20.0
OUTPUTS = ("forecasts", "accuracy", "drift")


def watch(
    config: ConfigIfThere = None,
    stream: Stream = None,
    bootstrap: Bootstrap = None,
    prefix: Annotated[str | None, typer.Option(help="Prefix of the output topics, without a configuration.")] = None,
    sort: Annotated[Literal["name", "skill", "coverage", "drift"], typer.Option(help="Order of the lines.")] = "name",
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
) -> None:
    """Show each series' last value, newest forecast, model, coverage, skill and drift."""
    if config is None and prefix is None and DEFAULT_FILE.is_file():
        config = DEFAULT_FILE
    name, topics, spec = _outputs(config, stream, prefix)
    settings = settings_at(bootstrap, config)
    client = client_properties(settings)
    TopicAdmin(settings).partitions()  # if nobody answers it says why, and at once; a consumer knows only that
    with ExitStack() as ends:
        follower = ends.enter_context(TopicFollower(list(topics), client, newest=NEWEST_MESSAGES))
        readings = None
        if spec is not None:
            readings = ends.enter_context(InputTail(spec, client, schemas_of(settings)))
        view = View(name, topics, follower, readings, sort)
        if once and not topics.keys() - view.missing:
            raise TidecastError(
                f"None of the topics {', '.join(topics)} is there. Is the prefix right? "
                "`tidecast topics create` makes them."
            )
        view.read_newest()
        if once:
            view.print_once()
        else:
            view.follow()


def _outputs(
    config: Path | None, stream: str | None, prefix: str | None
) -> tuple[str, dict[str, str], StreamSpec | None]:
    """The stream's name, topic → output, and what is known of its input."""
    if prefix is not None:
        return prefix, {f"{prefix}.{output}": output for output in OUTPUTS}, None
    if config is None:
        raise TidecastError("Name what to watch: --config tidecast.toml, or --bootstrap HOST:PORT --prefix PREFIX.")
    name, spec = Settings.load(config).stream(stream)
    return name, {spec.outputs.topic(output, name): output for output in OUTPUTS}, spec


class View:
    """Topics → model → frames."""

    def __init__(
        self, name: str, topics: dict[str, str], follower: TopicFollower, readings: InputTail | None, sort: str
    ) -> None:
        self._name = name
        self._topics = topics
        self._follower = follower
        self._readings = readings
        self._sort = sort
        self._model = WatchModel()
        self._console = Console()
        self.missing = self._look()

    def _look(self) -> list[str]:
        """For what is new; the topics that are not there."""
        return [*(self._readings.refresh() if self._readings else ()), *self._follower.refresh()]

    def read_newest(self) -> None:
        """So that the first frame is not empty."""
        deadline = time.monotonic() + FIRST_FRAME_TIMEOUT_S
        while not self._follower.caught_up() and time.monotonic() < deadline:
            self._feed(0.1)
        while self._readings is not None:
            self._feed_readings()
            if self._readings.caught_up() or time.monotonic() > deadline:
                break

    def print_once(self) -> None:
        """To a file or a pipe: all series, however many rows that takes."""
        rows = len(self._model.lines()) + FRAME_ROWS
        self._console.print(self._frame(self._console.height if self._console.is_terminal else rows))

    def follow(self) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the terminal is given back as it was
        looked = time.monotonic()
        with suppress(KeyboardInterrupt), Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(self._frame(self._console.height), refresh=True)
                until = time.monotonic() + FRAME_INTERVAL_S
                while (left := until - time.monotonic()) > 0:
                    self._feed(min(left, 0.1))
                if self._readings is not None:
                    self._feed_readings()
                if self.missing and time.monotonic() - looked > LOOK_INTERVAL_S:
                    self.missing, looked = self._look(), time.monotonic()

    def _feed(self, timeout_s: float) -> None:
        for topic, messages in self._follower.poll(timeout_s).items():
            output = self._topics[topic]
            self._model.feed(output, [(message.key(), as_json(output, message.value())) for message in messages])

    def _feed_readings(self) -> None:
        for series_id, tick_ms, value in self._readings.read() if self._readings else ():
            self._model.feed_reading(series_id, tick_ms, value)

    def _frame(self, height: int) -> RenderableType:
        lines = self._model.lines(self._sort)
        newest = max((line.forecast.origin for line in lines if line.forecast), default=None)
        status = f"{self._model.forecasts_seen:,} forecasts"
        if newest:
            status += f" · at {newest:%Y-%m-%d %H:%M} UTC"
        if self.missing:
            status += f" · waiting for {', '.join(self.missing)}"
        if self._model.unreadable:
            status += f" · {self._model.unreadable:,} unreadable"
        return render(lines, Frame(self._name, status, self._sort), width=self._console.width, height=height)
