"""Format `json_schema`: JSON behind Confluent framing → the same as format `json` without the framing.

The schema must be in the registry, but is not applied again: the producers' serializers did that. `fields` say where a
reading is. Text that is not JSON is a fault of kind `schema` here, because the framing promised JSON.
"""

from dataclasses import replace
from functools import partial

from model_core.arrays import IntArray
from stream_app.wire.columns import PollColumns
from stream_app.wire.framing import HEADER_BYTES, FramedPoll, Schemas
from stream_app.wire.json import plain_columns
from stream_app.wire.json_batch import decode_together
from stream_app.wire.json_message import read_message
from stream_app.wire.json_text import WHITE
from stream_app.wire.message_columns import of_lines
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.poll import Decoder, chosen


def decoder(schemas: Schemas) -> Decoder:
    return Decoder(partial(_JsonSchemaPoll, schemas=schemas))


class _JsonSchemaPoll(FramedPoll):
    kind = "JSON"

    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        values = self.values(indices)
        if any(isinstance(self.schema_of(*each), Fault) for each in zip(indices.tolist(), values, strict=True)):
            return None
        lines = b"\n".join(value[HEADER_BYTES:] for value in values)
        plain = plain_columns(self._spec, of_lines(lines), len(values))
        if plain is not None:
            return plain
        return decode_together(
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
