"""The wire: bytes of the input topics → columns, columns → bytes of the published messages.

`decoder(spec, schemas)` is the one place that knows which formats exist.
"""

from collections.abc import Callable
from pathlib import Path

from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.wire.decoded import DeadLetter, DecodedPoll, Message, ReplayVerdicts
from stream_app.wire.framing import Schemas
from stream_app.wire.json import decode as decode_json
from stream_app.wire.poll import Decoder
from stream_app.wire.senml import decode as decode_senml


def _avro(spec: StreamSpec, schemas: Schemas) -> Decoder:
    from stream_app.wire import avro

    reader = None if spec.reader_schema is None else avro.parsed_file(Path(spec.reader_schema))
    return avro.decoder(schemas, reader)


def _json_schema(spec: StreamSpec, schemas: Schemas) -> Decoder:
    from stream_app.wire import json_schema

    return json_schema.decoder(schemas)


# To add a format: its module beside json.py, and its line here.
FORMATS: dict[str, Callable[[StreamSpec, Schemas], Decoder]] = {
    "json": lambda spec, schemas: decode_json,
    "senml": lambda spec, schemas: decode_senml,
    "avro": _avro,
    "json_schema": _json_schema,
}
WITH_REGISTRY = ("avro", "json_schema")


def decoder(spec: StreamSpec, schemas: Schemas | None) -> Decoder:
    """The decoder of a stream. TidecastError when its format needs a registry and there is none."""
    if schemas is None:
        if spec.format in WITH_REGISTRY:
            raise TidecastError(
                f'format = "{spec.format}" needs a schema registry: set schema_registry.url, e.g. http://HOST:8081.'
            )
        schemas = _NoSchemas()
    return FORMATS[spec.format](spec, schemas)


class _NoSchemas:
    def get(self, schema_id: int) -> None:
        return None


__all__ = ["FORMATS", "WITH_REGISTRY", "DeadLetter", "DecodedPoll", "Decoder", "Message", "ReplayVerdicts", "decoder"]
