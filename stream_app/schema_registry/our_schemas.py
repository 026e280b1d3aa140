"""Our own schemas in the registry. Workers look them up; only a person's command registers them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stream_app.errors import TidecastError
from stream_app.schema_registry.client import Registry, RegistryAway
from stream_app.schemas.avro_schemas import SCHEMAS, schema_text, subject
from stream_app.wire import WITH_REGISTRY

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.wire.avro_messages import AvroMessages


def avro_writers(settings: Settings) -> dict[str, AvroMessages]:
    """Writers of the streams that publish Avro. RegistryAway if the worker should wait."""
    with_schemas = {name: spec for name, spec in settings.streams.items() if spec.outputs.format == "avro"}
    readers = [spec for spec in settings.streams.values() if spec.format in WITH_REGISTRY]
    if not with_schemas and not readers:
        return {}
    registry = _registry(settings)
    for spec in readers:
        registry.check(subject(spec.topic))
    writers = {}
    for stream, spec in with_schemas.items():
        ids = {}
        for output in SCHEMAS:
            of = subject(spec.outputs.topic(output, stream))
            found = registry.id_of(of, schema_text(output))
            if found is None:
                raise RegistryAway(
                    f"Expected the schema of {output} under the subject {of} of {registry.url}, found none. Register "
                    "it: `tidecast schema --register`, or `tidecast topics create`."
                )
            ids[output] = found
        from stream_app.wire.avro_messages import AvroMessages  # few streams publish Avro: 0.1 s of each start

        writers[stream] = AvroMessages(ids)
    return writers


def register(settings: Settings, streams: Iterable[str]) -> dict[str, int]:
    """Register the schemas of the streams that publish Avro: subject → id. TidecastError if the registry refuses."""
    found: dict[str, int] = {}
    for stream in streams:
        spec = settings.streams[stream]
        if spec.outputs.format == "avro":
            registry = _registry(settings)
            for output in SCHEMAS:
                of = subject(spec.outputs.topic(output, stream))
                found[of] = registry.register(of, schema_text(output))
    return found


def _registry(settings: Settings) -> Registry:
    if settings.schema_registry.url is None:
        raise TidecastError("Avro needs a schema registry: set schema_registry.url, e.g. http://HOST:8081.")
    return Registry(settings)
