"""Format `json`: the messages of one stream's poll → columns by partition, dead letters and verdicts of the clock.

There are three shapes, told apart by what a message looks like: one reading (an object with a value), a pack (an object
with values), an array of readings. A null value deletes the series that its key names. The worker's clock comes in as
an argument.
"""

from model_core.arrays import IntArray
from model_core.spec import StreamSpec
from stream_app.wire.columns import PollColumns
from stream_app.wire.json_batch import decode_together
from stream_app.wire.json_message import read_message
from stream_app.wire.message_columns import Bytes, of_lines
from stream_app.wire.one_message import OneMessage
from stream_app.wire.plain_json import plain_messages
from stream_app.wire.poll import Decoder, Poll, chosen


def plain_columns(spec: StreamSpec, joined: Bytes, count: int) -> PollColumns | None:
    """Columns made by a loop in C, of messages with a newline between them; None if any is unusual in some way."""
    reader = plain_messages(spec.fields, spec.entity_separator)
    return None if reader is None else reader.columns(joined, count, spec.timestamp_unit, spec.reading_bytes_max)


class JsonPoll(Poll):
    """Reads plain messages by a loop in C, others by msgspec, and whatever both leave one by one."""

    def at_once(self, joined: Bytes, count: int) -> PollColumns | None:
        return plain_columns(self._spec, joined, count)

    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        lines = self.lines(indices)
        plain = None if begun else self.at_once(of_lines(lines), len(indices))
        if plain is not None:
            return plain
        return decode_together(
            self._spec,
            lines,
            self._messages.value_bytes[indices],
            keys=lambda: chosen(self._messages.keys, indices),
            record_ms=lambda: self._messages.record_ms[indices],
        )

    def one(self, index: int, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
        return read_message(self._spec, value, key)


decode = Decoder(JsonPoll)
