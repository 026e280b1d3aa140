"""Format `senml`: packs of SenML records in JSON (RFC 8428) → columns by partition, dead letters, clock verdicts.

`fields`, `timestamp_unit` and `entity_separator`'s part in packs do not apply: the RFC says where things are. A null
value deletes the series its key names, as in format `json`.
"""

from model_core.arrays import IntArray
from stream_app.wire.columns import PollColumns
from stream_app.wire.one_message import OneMessage
from stream_app.wire.poll import Decoder, Poll
from stream_app.wire.senml_batch import decode_packs
from stream_app.wire.senml_pack import read_pack


class SenmlPoll(Poll):
    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        lengths = self._messages.value_bytes[indices]
        return decode_packs(self.lines(indices), lengths, lambda: self._messages.record_ms[indices])

    def one(self, index: int, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
        return read_pack(self._spec, value, key, record_ms)


decode = Decoder(SenmlPoll)
