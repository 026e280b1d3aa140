"""Published messages as JSON, whatever their format, for the commands and pages that read them.

Our own schemas are known here, so no registry is asked.
"""

from datetime import datetime
from io import BytesIO
from typing import Any

import orjson

from stream_app.wire.framing import HEADER_BYTES, MAGIC
from stream_app.wire.timestamps import from_datetimes, rfc3339


def as_json(output: str, value: bytes | None) -> bytes | None:
    """A value of forecasts, accuracy or drift, as messages.py would have written it; JSON stays as it is."""
    if value is None or value[:1] != bytes([MAGIC]):
        return value
    import fastavro

    from stream_app.wire.avro_messages import parsed_schema

    stream = BytesIO(value)
    stream.seek(HEADER_BYTES)
    body = fastavro.schemaless_reader(stream, parsed_schema(output), None)
    if output == "forecasts" and body["mean"] is None:
        del body["mean"]
    if output == "accuracy":
        foreign = ("at", "pinball", "scored") if body["kind"] == "record" else ("origin", "horizons")
        for name in foreign:
            del body[name]
    return orjson.dumps(_plain(body))


def _plain(body: Any) -> Any:
    if isinstance(body, datetime):
        return rfc3339(int(from_datetimes([body])[0]))
    if isinstance(body, dict):
        return {name: _plain(value) for name, value in body.items()}
    return [_plain(value) for value in body] if isinstance(body, list) else body
