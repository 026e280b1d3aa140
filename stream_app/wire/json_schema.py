"""Format `json_schema`: JSON behind Confluent framing → as format `json` without it.

The schema must be in the registry, and is not applied again: producers' serializers did. What a reading is, `fields`
say. What is no JSON is a fault of kind `schema` here, since the frame promised some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from model_core.arrays import IntArray
from model_core.spec import StreamSpec
from stream_app.wire.columns import PollColumns
from stream_app.wire.decoded import DecodedPoll, Message, ReplayVerdicts
from stream_app.wire.framing import HEADER_BYTES, FramedPoll, Schemas
from stream_app.wire.json_batch import decode_together
from stream_app.wire.json_message import read_message
from stream_app.wire.json_text import WHITE
from stream_app.wire.message_columns import of_lines
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.plain_json import plain_messages
from stream_app.wire.poll import chosen


def decoder(schemas: Schemas) -> "partial[DecodedPoll]":
    return partial(_decode, schemas)


def _decode(
    schemas: Schemas,
    spec: StreamSpec,
    messages: Sequence[Message],
    *,
    now_ms: int,
    partition_count: int,
    replay: Mapping[int, ReplayVerdicts] | None = None,
) -> DecodedPoll:
    return _JsonSchemaPoll(spec, messages, partition_count, schemas).decode(now_ms, replay or {})


class _JsonSchemaPoll(FramedPoll):
    kind = "JSON"

    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        values = self.values(indices)
        if any(isinstance(self.schema_of(*each), Fault) for each in zip(indices.tolist(), values, strict=True)):
            return None
        lines = b"\n".join(value[HEADER_BYTES:] for value in values)
        reader = plain_messages(self._spec.fields, self._spec.entity_separator)
        unit, bytes_max = self._spec.timestamp_unit, self._spec.reading_bytes_max
        plain = None if reader is None else reader.columns(of_lines(lines), len(values), unit, bytes_max)
        return plain or decode_together(
            self._spec,
            lines,
            self._messages.value_bytes[indices] - HEADER_BYTES,
            keys=lambda: chosen(self._messages.keys, indices),
            record_ms=lambda: self._messages.record_ms[indices],
        )

    def one(self, index: int, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
        schema = self.schema_of(index, value)
        if isinstance(schema, Fault):
            return OneMessage(faults=[schema])
        body = value[HEADER_BYTES:]
        found = read_message(self._spec, body, key)
        found.faults = [replace(each, reason="schema") if each.reason == "malformed" else each for each in found.faults]
        return found

    def deletes(self, value: bytes) -> bool:
        return value[HEADER_BYTES:].strip(WHITE) == b"null"
