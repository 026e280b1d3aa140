"""An AsyncAPI 3 document of a configuration: its topics, who sends and receives, and what the messages hold.

It is made from the same models as the JSON Schemas (message_schemas.py), so the two cannot differ.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from model_core.spec import StreamSpec
from stream_app.schemas.avro_schemas import SCHEMAS
from stream_app.schemas.message_schemas import MESSAGES

if TYPE_CHECKING:
    from stream_app.settings import Settings

ASYNCAPI = "3.0.0"
_REF = "#/components/schemas/{model}"
_AVRO = "application/vnd.apache.avro;version=1.9.0"
_WHAT = {
    "forecasts": "Forecasts with their quantiles. Key: series_id. A null value: the series was deleted.",
    "accuracy": "How good the forecasts turned out to be. Key: series_id.",
    "drift": "What no longer is as it was. Key: series_id, or the group.",
    "journal": "Decisions that a replay follows; for the workers themselves.",
    "control": "What workers tell the trainer.",
}
_INPUT = {
    "json": "Readings in JSON: one, a pack, or an array of readings.",
    "senml": "SenML packs in JSON (RFC 8428).",
    "avro": "Readings in Avro behind Confluent framing; the schema is in the registry.",
    "json_schema": "Readings in JSON behind Confluent framing; the schema is in the registry.",
}


def document(settings: Settings) -> dict[str, Any]:
    """As `tidecast schema --asyncapi` prints it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for stream, spec in settings.streams.items():
        _add(channels, operations, f"{stream}.readings", spec.topic, "receive", _INPUT[spec.format], "readings")
        messages[f"{stream}.readings"] = _input_message(spec)
        for output in MESSAGES:
            topic = spec.outputs.topic(output, stream)
            _add(channels, operations, f"{stream}.{output}", topic, "send", _WHAT[output], output)
            is_avro = spec.outputs.format == "avro" and output in SCHEMAS
            messages[f"{stream}.{output}"] = _avro_message(output) if is_avro else _json_message(output, schemas)
        letters = "Input that could not be used, as it was; the headers tidecast.error.* say why."
        topic = spec.outputs.topic("dead_letters", stream)
        _add(channels, operations, f"{stream}.dead_letters", topic, "send", letters, "dead_letters")
        messages[f"{stream}.dead_letters"] = {"summary": letters, "headers": _letter_headers()}
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": settings.application_id,
            "version": version("tidecast"),
            "description": "Readings become calibrated forecasts. Read outputs with isolation.level = read_committed.",
        },
        "servers": {
            f"kafka-{number}": {"host": host, "protocol": "kafka"}
            for number, host in enumerate(settings.kafka.properties("admin")["bootstrap.servers"].split(","))  # type: ignore[union-attr]
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _add(
    channels: dict[str, Any], operations: dict[str, Any], name: str, topic: str, action: str, what: str, message: str
) -> None:
    channels[name] = {
        "address": topic,
        "description": what,
        "messages": {message: {"$ref": f"#/components/messages/{name}"}},
    }
    operations[name] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
    }


def _json_message(output: str, schemas: dict[str, Any]) -> dict[str, Any]:
    body = TypeAdapter(MESSAGES[output]).json_schema(mode="serialization", ref_template=_REF)
    schemas |= body.pop("$defs", {})
    body.pop("discriminator", None)  # there it is a text, and oneOf says the same
    schemas[output] = body
    return {"summary": _WHAT[output], "payload": {"$ref": f"#/components/schemas/{output}"}}


def _avro_message(output: str) -> dict[str, Any]:
    return {
        "summary": _WHAT[output],
        "contentType": "application/vnd.confluent.avro",
        "payload": {"schemaFormat": _AVRO, "schema": SCHEMAS[output]},
    }


def _input_message(spec: StreamSpec) -> dict[str, Any]:
    """With the shapes of the payload where their fields lie flat."""
    message: dict[str, Any] = {"summary": _INPUT[spec.format]}
    fields = spec.fields
    names = (fields.series_id, fields.entity, fields.timestamp, fields.value, fields.values)
    if spec.format != "json" or any("." in name for name in names):
        return message
    timestamp = {fields.timestamp: {"type": ["string", "number"], "description": f"RFC 3339, or {spec.timestamp_unit}"}}
    reading = {
        "type": "object",
        "required": [fields.value],
        "properties": {fields.series_id: {"type": "string"}, fields.value: {"type": "number"}, **timestamp},
    }
    pack = {
        "type": "object",
        "required": [fields.values],
        "properties": {
            fields.entity: {"type": "string"},
            fields.values: {"type": "object", "additionalProperties": {"type": "number"}},
            **timestamp,
        },
    }
    return message | {"payload": {"anyOf": [reading, pack, {"type": "array", "items": reading}]}}


def _letter_headers() -> dict[str, Any]:
    named = ("reason", "detail", "topic", "partition", "offset")
    return {"type": "object", "properties": {f"tidecast.error.{name}": {"type": "string"} for name in named}}
