"""Examines the model registry: whether each stream has a champion that fits it, and how old it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_core.errors import CoreError
from stream_app.doctor.findings import Finding, Findings, error, ok, warning
from stream_app.errors import TidecastError
from stream_app.models.registry import ModelRegistry

if TYPE_CHECKING:
    from model_core.spec import StreamSpec
    from stream_app.settings import Settings

AGE_DAYS_MAX = 7  # as the alert TidecastModelTooOld


def look_at_models(settings: Settings, now: datetime | None = None) -> Findings:
    now = now or datetime.now(UTC)
    try:
        registry = ModelRegistry(settings.models.registry)
    except TidecastError as reason:
        yield error("model", "registry", str(reason), "mend models.registry")
        return
    for stream, spec in settings.streams.items():
        try:
            train = "tidecast train" if len(settings.streams) == 1 else f"tidecast train --stream {stream}"
            yield from _look(registry, stream, spec, now, train)
        except CoreError as reason:
            yield _cannot_be_read(stream, reason, "`tidecast models rollback`, or train anew")
        except (TidecastError, OSError) as reason:
            yield _cannot_be_read(stream, reason, "let this user read what is in models.registry")


def _cannot_be_read(stream: str, reason: Exception, remedy: str) -> Finding:
    found = f"the champion cannot be read: {reason}"
    return error("model", stream, found, f"{remedy}; running workers go on with the one they have")


def _look(registry: ModelRegistry, stream: str, spec: StreamSpec, now: datetime, train: str) -> Findings:
    version = registry.champion(stream)
    if version is None:
        yield warning("model", stream, "no champion: the naive forecasts answer", train)
        return
    manifest = registry.load(stream, version).manifest
    misfit = manifest.misfit(spec)
    if misfit:
        yield error(
            "model",
            stream,
            f"champion {version} is made for another stream: {misfit}",
            f"{train}; where another deployment learns in the same models.registry, give this one its own first",
        )
        return
    days = (now - datetime.fromisoformat(manifest.created_at)).total_seconds() / 86_400
    if days > AGE_DAYS_MAX:
        yield warning(
            "model", stream, f"champion {version} is {days:.0f} days old", "train again: is the CronJob running?"
        )
    else:
        yield ok("model", stream, f"champion {version} ({manifest.model}), {days:.0f} days old")
