"""What manifests tell containers to do, held against the product: command lines and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_app.cli.command_line import build_app
from stream_app.errors import TidecastError
from stream_app.settings import Settings
from stream_app.settings.sources import PREFIX


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The parameters of `tidecast WORDS`, as typer takes them. Raises its usage error for what does not exist."""
    command: Any = typer.main.get_command(build_app(words[0]))
    name, parent, rest = "tidecast", None, list(words)
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not hasattr(command, "resolve_command"):
            return dict(context.params)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parent = context


def settings_of(configuration: Path, environment: Mapping[str, str]) -> Settings:
    """As the container would load them. TidecastError for a name that does not exist, in the file or a variable."""
    ours = {name for name in environment if "TIDECAST" in name.upper()}
    if unread := {name for name in ours if not name.startswith(PREFIX)}:
        raise TidecastError(f"nobody reads {sorted(unread)}: expected {PREFIX}…, with two underscores")
    settings = Settings.load(configuration, {name: str(value) for name, value in environment.items()})
    for section in ("client", "consumer", "producer"):
        for name, value in getattr(settings.kafka, section).items():
            _is_of_librdkafka(section, name, value)
    return settings


def _is_of_librdkafka(section: str, name: str, value: object) -> None:
    """What passes through verbatim is judged by who reads it, one by one: files of the container are not here."""
    try:
        AdminClient({name: value, "log_level": 0})
    except KafkaException as refused:
        if any(words in str(refused) for words in ("No such configuration property", "Invalid value")):
            raise TidecastError(f"[kafka.{section}] {name}: {refused}") from None


def not_settings(text: str) -> set[str]:
    """What a text writes like a setting (limits.…, kafka.…) and is none."""
    tables = {name: field.annotation for name, field in Settings.model_fields.items()}
    known = {name: kind.model_fields for name, kind in tables.items() if hasattr(kind, "model_fields")}
    named = re.findall(rf"(?<![\w./-])({'|'.join(known)})\.([a-z_]+)\b(?![.(/])", text)
    return {f"{table}.{name}" for table, name in named if name not in known[table]}
