"""Confluent framing: a zero byte, the id of the value's schema (4 bytes, big endian), then the value.

`FramedPoll` is what the formats with a registry share: which schema a message was written with, and what happens to
messages whose schema nobody knows. Whether an id is known is not determined by the log: a message that was a dead
letter must stay one in a replay, even if its schema has been registered since. So this is journaled beside the verdicts
of the clock, with WHOLE in place of a position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from model_core.spec import StreamSpec
from stream_app.wire.decoded import DecodedPoll, Message, ReplayVerdicts
from stream_app.wire.one_message import Fault
from stream_app.wire.poll import Poll

MAGIC = 0
HEADER_BYTES = 5
WHOLE = -1  # the position of a rejected message, not of one of its readings
_NO_VERDICTS = ReplayVerdicts(until_offset=0)


@dataclass(frozen=True)
class WriterSchema:
    """A schema of the registry. `parsed` is for fastavro, None for other kinds of schemas."""

    kind: str  # AVRO | JSON | PROTOBUF
    parsed: Any = None


class Schemas(Protocol):
    """Schemas by id. `get` waits while the registry is away; None if it has none of this id."""

    def get(self, schema_id: int) -> WriterSchema | None: ...


class FramedPoll(Poll):
    """A poll whose messages must have schemas of `kind`."""

    kind: Literal["AVRO", "JSON"]

    def __init__(self, spec: StreamSpec, messages: Sequence[Message], partition_count: int, schemas: Schemas) -> None:
        super().__init__(spec, messages, partition_count)
        self._schemas = schemas
        self._replay: Mapping[int, ReplayVerdicts] = {}
        self._unknown: dict[int, set[int]] = {}  # partition → offsets, to be journaled

    def decode(self, now_ms: int, replay: Mapping[int, ReplayVerdicts]) -> DecodedPoll:
        self._replay = replay
        decoded = super().decode(now_ms, replay)
        for partition, offsets in self._unknown.items():
            decoded.clock_rejections.setdefault(partition, []).extend((offset, WHOLE) for offset in sorted(offsets))
        return decoded

    def deletes(self, value: bytes) -> bool:
        return False  # a frame without a value says nothing

    def schema_of(self, index: int, value: bytes) -> WriterSchema | Fault:
        """The schema that a message was written with, or why it cannot be read."""
        if len(value) < HEADER_BYTES or value[0] != MAGIC:
            return Fault("schema", "expected the magic byte 0 and a schema id of 4 bytes, found something else")
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        partition, offset = int(self._messages.partitions[index]), int(self._messages.offsets[index])
        journal = self._replay.get(partition, _NO_VERDICTS)
        schema = None if (offset, WHOLE) in journal.rejected else self._schemas.get(schema_id)
        if schema is None:
            if offset >= journal.until_offset:
                self._unknown.setdefault(partition, set()).add(offset)
            return Fault("unknown_schema", f"the registry has no schema with the id {schema_id}")
        if schema.kind != self.kind:
            return Fault("schema", f"expected a schema of kind {self.kind}, the id {schema_id} is one of {schema.kind}")
        return schema
