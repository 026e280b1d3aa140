"""The commands of `tidecast`: one file each, listed here by hand.

Only the module of the chosen command is imported, and the modules import what is heavy (torch, faust, confluent_kafka)
inside their functions, so that `tidecast --help` answers at once.
"""

import importlib
import importlib.metadata
import inspect
import shutil
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stream_app.cli.interrupts import INTERRUPTED, in_order
from stream_app.errors import TidecastError

USER_ERROR = 2
BOXES_FROM = 100  # columns of a terminal; in a narrower one boxes leave no room for the names of options


@dataclass(frozen=True)
class Command:
    """`target` is "module:attribute": a function with typer's annotations, or a typer.Typer with subcommands."""

    target: str
    help: str

    def load(self) -> Any:
        module, attribute = self.target.split(":")
        return getattr(importlib.import_module(module), attribute)


# To add a command: one line here, one file beside this one. The order is that of `tidecast --help`.
COMMANDS = {
    "worker": Command("stream_app.cli.worker:worker", "Turn readings into forecasts, until told to stop."),
    "services": Command("stream_app.cli.services:app", "Run a real Kafka and Valkey here: up, down, status."),
    "demo": Command("stream_app.cli.demo:demo", "Play the whole story on real data, in about two minutes."),
    "produce": Command("stream_app.cli.produce:produce", "Send a file of readings to an input topic."),
    "watch": Command("stream_app.cli.watch:watch", "Show forecasts and their quality, live in the terminal."),
    "api": Command("stream_app.cli.api:api", "Serve the live page, and forecasts over HTTP, read-only."),
    "train": Command("stream_app.cli.train:train", "Learn a model from history; it takes charge if it is better."),
    "backtest": Command("stream_app.cli.backtest:backtest", "Compare all models on a log, as they would serve."),
    "models": Command("stream_app.cli.models:app", "Manage the models of a stream: list, report, promote, …"),
    "config": Command("stream_app.cli.config:app", "Check a configuration, or show every setting in force."),
    "doctor": Command("stream_app.cli.doctor:doctor", "Examine a running set-up, and say what to mend and how."),
    "topics": Command("stream_app.cli.topics:app", "Create or check the topics of all streams."),
    "reset": Command("stream_app.cli.reset:reset", "Move a stopped deployment to another place in its input."),
    "dead-letters": Command("stream_app.cli.dead_letters:app", "Handle unusable input: list, show, requeue, accept."),
    "series": Command("stream_app.cli.series:app", "Delete series from the state."),
    "speed": Command("stream_app.cli.speed:speed", "Measure what a forecast costs, by device, horizon, batch, …"),
    "schema": Command("stream_app.cli.schema:schema", "Print the JSON Schemas of the published messages."),
}


class _Commands(TyperGroup):
    """Ctrl-C ends a command that does not handle it itself with a word, no traceback, and exit code 128 + SIGINT."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with in_order():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write("\nStopped.\n")
            raise typer.Exit(INTERRUPTED) from None


def build_app(chosen: str | None) -> typer.Typer:
    """The command line with the chosen command loaded, and a name and a help text for each of the others."""
    app = typer.Typer(
        name="tidecast",
        cls=_Commands,
        help="Turns a Kafka topic of readings into a Kafka topic of calibrated forecasts.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if shutil.get_terminal_size().columns >= BOXES_FROM else None,
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        target = command.load() if name == chosen else _not_loaded
        if isinstance(target, typer.Typer):
            for sub in target.registered_commands:
                sub.help = _paragraphs(sub.callback)
                sub.short_help = sub.help.partition("\n\n")[0]  # whole, where click would cut it to one line
            app.add_typer(target, name=name, help=command.help)
        elif name == chosen:
            app.command(name, help=_paragraphs(target))(target)  # which says more than the line in the list
        else:
            app.command(name, help=command.help)(target)
    return app


def _paragraphs(command: Any) -> str:
    """Its docstring, without the line breaks of the source: a terminal has its own."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(command) or "").split("\n\n"))


def run(arguments: Sequence[str] | None) -> None:
    """The process's arguments where there are none. A TidecastError is the user's to mend: its sentence, no traceback,
    exit code 2."""
    if arguments is None:
        sys.excepthook = _show_failure
        threading.excepthook = lambda ended: _show_failure(ended.exc_type, ended.exc_value, ended.exc_traceback)
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        build_app(chosen)(args=words, prog_name="tidecast")
    except TidecastError as error:
        if _shown.debug:
            raise
        _tell(f"tidecast: {error}\n")
        raise SystemExit(USER_ERROR) from None
    except Exception as error:
        sentence = _of_a_server(error) or _of_a_file(error)
        if sentence is None or _shown.debug:
            raise
        _tell(f"tidecast: {sentence}\n")
        raise SystemExit(USER_ERROR) from None


def _of_a_server(error: Exception) -> str | None:
    """The sentence for an error of a Kafka or Redis client that none of our own code has explained."""
    for package, name, settings in (
        ("confluent_kafka", "KafkaException", "[kafka]"),
        ("redis", "RedisError", "[redis]"),
    ):
        module = sys.modules.get(package)
        if module is not None and isinstance(error, getattr(module, name)):
            return f"{error}. `tidecast doctor` looks at what {settings} says, piece by piece."
    return None


def _of_a_file(error: Exception) -> str | None:
    """The sentence for an error of the file system that none of our own code has explained."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}. `tidecast --debug …` shows what was being done."


def _show_failure(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    """A traceback as Python writes it, without the secrets that a library may quote in it."""
    if not issubclass(kind, SystemExit):  # of a thread
        _tell("".join(traceback.format_exception(kind, error, at)))


def _tell(text: str) -> None:
    from stream_app.settings.secrets import hidden

    sys.stderr.write(hidden(text))


@dataclass
class _Shown:
    debug: bool = False


_shown = _Shown()


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tidecast {importlib.metadata.version('tidecast')}")
        raise typer.Exit


def _options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TIDECAST_DEBUG", help="Show where an error came from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    _shown.debug = debug


def _not_loaded() -> None:
    raise AssertionError("a command that was not asked for was run")


__all__ = ["COMMANDS", "Command", "build_app", "run"]
