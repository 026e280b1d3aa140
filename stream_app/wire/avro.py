"""Format `avro`: Avro behind Confluent framing → columns by partition, dead letters, verdicts of the clock.

The shapes are those of format `json`, found by the same `fields`: a record with a value, a record with values (a map or
a record), an array of records. A null field counts as absent. Timestamps with a logical type are taken as such; plain
numbers are in `timestamp_unit`. With a reader's schema, values are resolved to it first, so that its aliases and
defaults make older and newer writers alike.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np

from model_core.arrays import IntArray
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.wire.columns import PollColumns
from stream_app.wire.decoded import Message
from stream_app.wire.framing import HEADER_BYTES, FramedPoll, Schemas, WriterSchema
from stream_app.wire.json_message import DocumentReader
from stream_app.wire.json_text import Malformed
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.poll import Decoder
from stream_app.wire.series_ids import fault_of
from stream_app.wire.timestamps import MAX_MS, from_datetimes, scale_floats, scale_integers

_SIMPLE = {"series_id", "timestamp", "value"}


class _Unreadable(Exception):
    """The bytes are not a value of their schema."""


def parsed_file(path: Path) -> Any:
    """A schema from a file, parsed for fastavro. TidecastError if it is not one."""
    try:
        return fastavro.parse_schema(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, fastavro.schema.SchemaParseException) as error:
        raise TidecastError(f"reader_schema: expected a file with an Avro schema, found {path} ({error}).") from None


def decoder(schemas: Schemas, reader_schema: Any = None) -> Decoder:
    """`reader_schema`: parsed by fastavro; None: values as their writers have them."""
    return Decoder(partial(_AvroPoll, schemas=schemas, reader_schema=reader_schema))


class _AvroPoll(FramedPoll):
    kind = "AVRO"

    def __init__(
        self, spec: StreamSpec, messages: Sequence[Message], partition_count: int, schemas: Schemas, reader_schema: Any
    ) -> None:
        super().__init__(spec, messages, partition_count, schemas)
        self._reader_schema = reader_schema
        self._documents: dict[int, Any] = {}  # a poll that is halved decodes each message once

    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        """Flat records of one reading each, all with a name and a number; None for anything else."""
        fields = self._spec.fields
        if any("." in getattr(fields, name) for name in _SIMPLE):
            return None
        try:
            documents = [self._document(*each) for each in zip(indices.tolist(), self.values(indices), strict=True)]
            if any(type(document) is not dict for document in documents):
                return None
            series_ids = [document[fields.series_id] for document in documents]
            numbers = [document[fields.value] for document in documents]
        except (_Unreadable, KeyError):
            return None
        if set(map(type, series_ids)) != {str} or not set(map(type, numbers)) <= {float, int}:
            return None
        different = set(series_ids)
        columns = np.array(numbers, np.float64)
        if any(map(fault_of, different)) or not np.isfinite(columns).all():
            return None
        times = self._times([document.get(fields.timestamp) for document in documents], indices)
        if times is None:
            return None
        count = len(documents)
        return PollColumns(np.array(series_ids, object), times, columns, np.arange(count), np.zeros(count, np.int64))

    def _times(self, times: list[Any], indices: IntArray) -> IntArray | None:
        """int64 [n] ms; None if they are not all of one kind."""
        kinds = set(map(type, times))
        if kinds == {int}:
            try:
                return scale_integers(np.array(times, np.int64), self._spec.timestamp_unit)
            except OverflowError:
                return None
        if kinds == {datetime} and all(time.tzinfo is not None for time in times):
            return from_datetimes(times)
        if kinds == {type(None)}:
            return self._messages.record_ms[indices]
        if kinds == {float} and all(map(math.isfinite, times)):
            return scale_floats(np.array(times, np.float64), self._spec.timestamp_unit)
        return None

    def one(self, index: int, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
        try:
            document = self._document(index, value)
        except _Unreadable as error:
            fault = error.args[0]
            return OneMessage(faults=[fault])
        reader = _RecordReader(self._spec, key)
        try:
            reader.read_document(_without_nulls(document))
        except Malformed as error:
            return OneMessage(faults=[Fault("schema", str(error))])
        reader.out.faults = [
            Fault("schema", each.detail, each.reading) if each.reason == "malformed" else each
            for each in reader.out.faults
        ]
        return reader.out

    def _document(self, index: int, value: bytes) -> Any:
        if index not in self._documents:
            schema = self.schema_of(index, value)
            if isinstance(schema, Fault):
                raise _Unreadable(schema)
            self._documents[index] = read_value(schema, value, self._reader_schema)
        return self._documents[index]


def read_value(schema: WriterSchema, value: bytes, reader_schema: Any) -> Any:
    """The framed value as Python objects. Raises _Unreadable with the fault."""
    stream = BytesIO(value)
    stream.seek(HEADER_BYTES)
    try:
        document = fastavro.schemaless_reader(stream, schema.parsed, reader_schema)
    except Exception as error:  # noqa: BLE001 - bytes of a stranger: struct, index, key, value, overflow, memory errors
        detail = f"the bytes are no value of their schema: {type(error).__name__} {str(error)[:200]}"
        raise _Unreadable(Fault("schema", detail)) from None
    if stream.tell() != len(value):
        detail = f"{len(value) - stream.tell()} bytes are left after the value"
        raise _Unreadable(Fault("schema", detail))
    return document


def _without_nulls(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _without_nulls(value) for name, value in document.items() if value is not None}
    if isinstance(document, list):
        return [_without_nulls(value) for value in document]
    return float(document) if isinstance(document, Decimal) else document


class _RecordReader(DocumentReader):
    """Reads a record, in which logical types are times already."""

    def timestamp_of(self, found: Any) -> int | None:
        if isinstance(found, datetime):
            return None if found.tzinfo is None else int(from_datetimes([found])[0])
        if isinstance(found, float) and math.isinf(found):
            return MAX_MS + 1 if found > 0 else -MAX_MS
        return super().timestamp_of(found)
