"""One JSON message → readings and faults, in plain steps. This defines what format `json` means.

json_batch.py decodes whole polls to exactly the same result, faster; what it does not handle comes here, one by one,
and gets its reason. `NaN` and `Infinity` are not valid JSON, yet producers write them: as a value they are
`not_finite`, anywhere else the text is malformed.
"""

import math
from collections.abc import Callable
from typing import Any

from model_core.spec import StreamSpec
from stream_app.wire.decoded import DeadLetterReason
from stream_app.wire.json_text import Constant, Malformed, kind, number, parsed
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.series_ids import fault_of, from_key, includes
from stream_app.wire.timestamps import from_one

_MISSING: Any = object()


def read_message(spec: StreamSpec, value: bytes, key: bytes | None) -> OneMessage:
    """Read one message. Never raises, whatever a producer sent."""
    reader = DocumentReader(spec, key)
    try:
        reader.read(value)
    except Malformed as error:
        return OneMessage(faults=[Fault("malformed", str(error))])
    return reader.out


class DocumentReader:
    """Reads one message into `out`. Malformed: the message as a whole cannot be used."""

    def __init__(self, spec: StreamSpec, key: bytes | None) -> None:
        self._fields = spec.fields
        self._unit = spec.timestamp_unit
        self._separator = spec.entity_separator
        self._key = key
        self._includes: Callable[[str], bool] = includes(spec) or (lambda _: True)
        self._constants = 0  # found in the text
        self._constants_as_values = 0
        self.out = OneMessage()

    def read(self, value: bytes) -> None:
        document, self._constants = parsed(value)
        self.read_document(document)
        if self._constants != self._constants_as_values:
            raise Malformed("the text is no JSON: NaN or Infinity outside a value")

    # --- shapes ---

    def read_document(self, document: Any) -> None:
        if isinstance(document, dict):
            self._object(document)
        elif isinstance(document, list):
            for position, element in enumerate(document):
                self._element(position, element)
        else:
            raise Malformed(f"expected an object or an array, found {kind(document)}")

    def _object(self, document: dict[str, Any]) -> None:
        value = _at(document, self._fields.value)
        if value is not _MISSING:
            self._reading(0, document, value, whole=True)
            return
        values = _at(document, self._fields.values)
        if values is _MISSING:
            raise Malformed(f"expected {self._fields.value} or {self._fields.values}, found neither")
        if not isinstance(values, dict):
            raise Malformed(f"expected {self._fields.values} to be an object, found {kind(values)}")
        entity = _at(document, self._fields.entity)
        if entity is not _MISSING and (not isinstance(entity, str) or not entity):
            raise Malformed(f"expected {self._fields.entity} to be a text, found {kind(entity)}")
        timestamp = self._timestamp(document)
        for position, (name, amount) in enumerate(values.items()):
            series_id = name if entity is _MISSING else series_of(entity, self._separator, name)
            self._add(position, series_id, timestamp, amount, name)

    def _element(self, position: int, element: Any) -> None:
        if not isinstance(element, dict):
            self._fault("malformed", f"expected a reading, found {kind(element)}", f"#{position}")
            return
        value = _at(element, self._fields.value)
        if value is _MISSING:
            self._fault("malformed", f"expected {self._fields.value}, found none", f"#{position}")
            return
        self._reading(position, element, value, whole=False)

    def _reading(self, position: int, document: dict[str, Any], value: Any, *, whole: bool) -> None:
        name = None if whole else f"#{position}"
        series_id = _at(document, self._fields.series_id)
        if series_id is _MISSING:
            series_id = from_key(self._key)
            if series_id is None:
                self._count_constant(value)
                found = "no message key" if self._key is None else "a message key that is no UTF-8"
                self._fault("malformed", f"expected {self._fields.series_id}, found none, and {found}", name)
                return
        elif not isinstance(series_id, str):
            self._count_constant(value)
            self._fault("malformed", f"expected {self._fields.series_id} to be a text, found {kind(series_id)}", name)
            return
        if not self._includes(series_id):
            self._count_constant(value)
            self.out.excluded += 1
            return
        try:
            timestamp = self._timestamp(document)
        except Malformed as error:
            self._count_constant(value)
            self._fault("malformed", str(error), name)
            return
        self._add(position, series_id, timestamp, value, None if whole else series_id)

    # --- parts ---

    def _timestamp(self, document: dict[str, Any]) -> int | None:
        found = _at(document, self._fields.timestamp)
        if found is _MISSING:
            return None
        timestamp = self.timestamp_of(found)
        if timestamp is None:
            raise Malformed(
                f"expected {self._fields.timestamp} to be a number or RFC 3339 with an offset, found {kind(found)}"
            )
        return timestamp

    def timestamp_of(self, found: Any) -> int | None:
        """A timestamp in ms; None if it is not one, as NaN or Infinity. 1e999 is valid JSON, and out of range."""
        return None if isinstance(found, Constant) else from_one(found, self._unit)

    def _add(self, position: int, series_id: str, timestamp: int | None, value: Any, name: str | None) -> None:
        self._count_constant(value)
        if not self._includes(series_id):
            self.out.excluded += 1
            return
        fault = fault_of(series_id)
        if fault is not None:
            self._fault("malformed", fault, None if name is None else f"#{position}")
            return
        amount = number(value)
        if amount is None:
            self._fault("malformed", f"expected the value to be a number, found {kind(value)}", name)
        elif not math.isfinite(amount):
            self._fault("not_finite", f"the value is {value if abs(amount) != math.inf else amount}", name)
        else:
            out = self.out
            out.series_ids.append(series_id)
            out.timestamps_ms.append(timestamp)
            out.values.append(amount)
            out.positions.append(position)

    def _count_constant(self, value: Any) -> None:
        self._constants_as_values += isinstance(value, Constant)

    def _fault(self, reason: DeadLetterReason, detail: str, reading: str | None) -> None:
        self.out.faults.append(Fault(reason, detail, reading))


def series_of(entity: str, separator: str, variable: str) -> str:
    """entity + separator + variable, or the entity alone."""
    return f"{entity}{separator}{variable}" if variable else entity


def _at(document: dict[str, Any], path: str) -> Any:
    found: Any = document
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found
