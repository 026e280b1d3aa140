"""One SenML pack (RFC 8428) → readings and faults, in plain steps. This defines what format `senml` means.

senml_batch.py decodes whole polls to exactly the same result, faster. A series is bn + n, a value bv + v, a time bt + t
in seconds; base fields apply to the records that follow, in the same pack. Times below 2^28 are relative to "now":
Kafka's timestamp of the record, the same in each replay. Units, sums and unknown fields are ignored. Text, boolean and
data values are not numbers, so they are faults.
"""

import math
from typing import Any

from model_core.spec import StreamSpec
from stream_app.wire.decoded import DeadLetterReason
from stream_app.wire.json_text import Constant, Malformed, kind, number, parsed
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.series_ids import fault_of, from_key, includes
from stream_app.wire.timestamps import seconds_to_ms

VERSION_MAX = 10
RELATIVE_BELOW_S = 2**28
OTHER_VALUES = {"vs": "a text (vs)", "vb": "a boolean (vb)", "vd": "data (vd)"}


def read_pack(spec: StreamSpec, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
    """`record_ms` is Kafka's timestamp of the message. Never raises for what a producer sent."""
    reader = _Reader(spec, key, record_ms)
    try:
        reader.read(value)
    except Malformed as error:
        return OneMessage(faults=[Fault("malformed", str(error))])
    return reader.out


class _Reader:
    """Reads one pack into `out`."""

    def __init__(self, spec: StreamSpec, key: bytes | None, record_ms: int) -> None:
        self._key = key
        self._record_ms = record_ms
        self._includes = includes(spec) or (lambda _: True)
        self._constants_as_values = 0
        self._name, self._time_s, self._value = "", 0.0, 0.0  # bases
        self.out = OneMessage()

    def read(self, value: bytes) -> None:
        document, constants = parsed(value)
        if not isinstance(document, list):
            raise Malformed(f"expected an array of SenML records, found {kind(document)}")
        for position, record in enumerate(document):
            if isinstance(record, dict):
                self._bases(position, record)
                self._record(position, record)
            else:
                self._fault("malformed", f"expected a SenML record, found {kind(record)}", position)
        if constants != self._constants_as_values:
            raise Malformed("the text is no JSON: NaN or Infinity outside a value")

    def _bases(self, position: int, record: dict[str, Any]) -> None:
        """Read base fields. A fault in them is one of the whole pack: the records after them depend on them."""
        must = next((field for field in record if field.endswith("_")), None)
        if must is not None:
            raise Malformed(f"record #{position} has {must[:60]!r}, which must be understood and is not")
        version = record.get("bver", VERSION_MAX)
        if number(version) is None or not version <= VERSION_MAX:
            raise Malformed(f"record #{position}: expected bver up to {VERSION_MAX}, found {kind(version)}")
        if "bn" in record:
            if not isinstance(record["bn"], str):
                raise Malformed(f"record #{position}: expected bn to be a text, found {kind(record['bn'])}")
            self._name = record["bn"]
        self._time_s = self._base(position, record, "bt", self._time_s)
        self._value = self._base(position, record, "bv", self._value)

    def _base(self, position: int, record: dict[str, Any], field: str, before: float) -> float:
        if field not in record:
            return before
        amount = number(record[field])
        if amount is None or isinstance(record[field], Constant):
            raise Malformed(f"record #{position}: expected {field} to be a number, found {kind(record[field])}")
        return amount

    def _record(self, position: int, record: dict[str, Any]) -> None:
        if "v" not in record and record.keys().isdisjoint(("n", "t", "s", *OTHER_VALUES)):
            return  # only bases
        self._constants_as_values += isinstance(record.get("v"), Constant)
        name = record.get("n", "")
        if not isinstance(name, str):
            self._fault("malformed", f"expected n to be a text, found {kind(name)}", position)
            return
        series_id = self._name + name or from_key(self._key)
        if series_id is None:
            self._fault("malformed", "expected n or bn, found neither, and no message key that is a text", position)
            return
        if not self._includes(series_id):
            self.out.excluded += 1
            return
        fault = fault_of(series_id)
        if fault is not None:
            self._fault("malformed", fault, position)
            return
        timestamp = self._time_ms(record.get("t", 0))
        if timestamp is None:
            self._fault("malformed", f"expected t to be a number, found {kind(record['t'])}", series_id)
        else:
            self._add(position, series_id, timestamp, record)

    def _time_ms(self, time: Any) -> int | None:
        offset_s = number(time)
        if offset_s is None or isinstance(time, Constant):
            return None
        seconds = self._time_s + offset_s
        if math.isnan(seconds):  # infinite both ways
            return None
        return seconds_to_ms(seconds) + (self._record_ms if seconds < RELATIVE_BELOW_S else 0)

    def _add(self, position: int, series_id: str, timestamp: int, record: dict[str, Any]) -> None:
        others = [what for field, what in OTHER_VALUES.items() if field in record]
        if others:
            detail = f"the value is {others[0]}, and only numbers (v) can be forecast"
            self._fault("malformed", detail, series_id)
            return
        if "v" not in record:
            self._fault("malformed", "expected a value (v), found " + ("a sum" if "s" in record else "none"), series_id)
            return
        amount = number(record["v"])
        if amount is None:
            self._fault("malformed", f"expected v to be a number, found {kind(record['v'])}", series_id)
            return
        amount += self._value
        if not math.isfinite(amount):
            self._fault("not_finite", f"the value is {amount}", series_id)
            return
        out = self.out
        out.series_ids.append(series_id)
        out.timestamps_ms.append(timestamp)
        out.values.append(amount)
        out.positions.append(position)

    def _fault(self, reason: DeadLetterReason, detail: str, reading: str | int) -> None:
        name = reading if isinstance(reading, str) else f"#{reading}"
        self.out.faults.append(Fault(reason, detail, name))
