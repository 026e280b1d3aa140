"""Examines the schema registry, if a stream needs one: whether it answers, and has our own schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.doctor.findings import Findings, error, ok
from stream_app.errors import TidecastError
from stream_app.schema_registry.our_schemas import avro_writers
from stream_app.settings.secrets import redact
from stream_app.wire import WITH_REGISTRY

if TYPE_CHECKING:
    from stream_app.settings import Settings


def look_at_schemas(settings: Settings) -> Findings:
    """Ask as a worker does at its start. No findings if no stream reads or writes with schemas."""
    specs = settings.streams.values()
    if not any(spec.format in WITH_REGISTRY or spec.outputs.format == "avro" for spec in specs):
        return
    address = redact(settings.schema_registry.url or "schema registry")
    try:
        writers = avro_writers(settings)
    except TidecastError as reason:
        yield error("schemas", address, str(reason), "mend it first: workers wait for it when they begin")
    else:
        written = f", and has the schemas of what {', '.join(writers)} publishes" if writers else ""
        yield ok("schemas", address, f"it answers{written}")
