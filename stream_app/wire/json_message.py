"""One JSON message → readings and faults, in plain steps. This is the meaning of format `json`.

json_batch.py decodes whole polls to exactly the same result, faster; what it cannot take comes here, one by one, and
gets its reason. `NaN` and `Infinity` are no JSON, yet producers write them: as a value they are `not_finite`, anywhere
else the text is malformed.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model_core.spec import StreamSpec
from stream_app.wire.decoded import Reason
from stream_app.wire.series_ids import fault_of, from_key, includes
from stream_app.wire.timestamps import from_one

NESTING_MAX = 256
_DIGITS_MAX = 400  # of a whole number; float64 ends at 309
_MISSING: Any = object()


@dataclass(frozen=True)
class Fault:
    reason: Reason
    detail: str
    reading: str | None = None  # the series meant, or "#position"; None: the whole message


@dataclass
class OneMessage:
    """What a message holds. The lists run side by side; `timestamps_ms` is None where Kafka's counts."""

    series_ids: list[str] = field(default_factory=list)
    timestamps_ms: list[int | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    excluded: int = 0


class _Constant(float):
    """NaN, Infinity or -Infinity, which stood in the text as a bare word."""


class _Malformed(Exception):
    """The message as a whole cannot be used."""


def read_message(spec: StreamSpec, value: bytes, key: bytes | None) -> OneMessage:
    """Never raises for what a producer sent."""
    reader = _Reader(spec, key)
    try:
        reader.read(value)
    except _Malformed as error:
        return OneMessage(faults=[Fault("malformed", str(error))])
    return reader.out


def nested_too_deep(value: bytes) -> bool:
    """Whether brackets are nested deeper than NESTING_MAX: parsers give up at depths that depend on the caller's."""
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return False
    brackets = np.frombuffer(_TEXTS.sub(b"", value).translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(np.cumsum(steps).max(initial=0)) > NESTING_MAX


# A JSON text, or the rest after one that does not end; possessive, so that no input makes it try twice.
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Reader:
    """Reads one message into `out`."""

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
        document = self._parse(value)
        if isinstance(document, dict):
            self._object(document)
        elif isinstance(document, list):
            for position, element in enumerate(document):
                self._element(position, element)
        else:
            raise _Malformed(f"expected an object or an array, found {_kind(document)}")
        if self._constants != self._constants_as_values:
            raise _Malformed("the text is no JSON: NaN or Infinity outside a value")

    def _parse(self, value: bytes) -> Any:
        if nested_too_deep(value):
            raise _Malformed(f"the text is nested deeper than {NESTING_MAX}")
        try:
            return json.loads(value.decode(), parse_constant=self._constant, parse_int=_integer)
        except UnicodeDecodeError as error:
            raise _Malformed(f"the text is no UTF-8: byte {error.start}") from None
        except json.JSONDecodeError as error:
            raise _Malformed(f"the text is no JSON: {error}") from None

    def _constant(self, word: str) -> _Constant:
        self._constants += 1
        return _Constant(word)

    # --- shapes ---

    def _object(self, document: dict[str, Any]) -> None:
        value = _at(document, self._fields.value)
        if value is not _MISSING:
            self._reading(0, document, value, whole=True)
            return
        values = _at(document, self._fields.values)
        if values is _MISSING:
            raise _Malformed(f"expected {self._fields.value} or {self._fields.values}, found neither")
        if not isinstance(values, dict):
            raise _Malformed(f"expected {self._fields.values} to be an object, found {_kind(values)}")
        entity = _at(document, self._fields.entity)
        if entity is not _MISSING and (not isinstance(entity, str) or not entity):
            raise _Malformed(f"expected {self._fields.entity} to be a text, found {_kind(entity)}")
        timestamp = self._timestamp(document)
        for position, (name, number) in enumerate(values.items()):
            series_id = name if entity is _MISSING else series_of(entity, self._separator, name)
            self._add(position, series_id, timestamp, number, name)

    def _element(self, position: int, element: Any) -> None:
        if not isinstance(element, dict):
            self._fault("malformed", f"expected a reading, found {_kind(element)}", f"#{position}")
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
            self._fault("malformed", f"expected {self._fields.series_id} to be a text, found {_kind(series_id)}", name)
            return
        if not self._includes(series_id):
            self._count_constant(value)
            self.out.excluded += 1
            return
        try:
            timestamp = self._timestamp(document)
        except _Malformed as error:
            self._count_constant(value)
            self._fault("malformed", str(error), name)
            return
        self._add(position, series_id, timestamp, value, None if whole else series_id)

    # --- parts ---

    def _timestamp(self, document: dict[str, Any]) -> int | None:
        found = _at(document, self._fields.timestamp)
        if found is _MISSING:
            return None
        # a bare NaN or Infinity is no JSON; 1e999 is, and lies out of range
        timestamp = None if isinstance(found, _Constant) else from_one(found, self._unit)
        if timestamp is None:
            raise _Malformed(
                f"expected {self._fields.timestamp} to be a number or RFC 3339 with an offset, found {_kind(found)}"
            )
        return timestamp

    def _add(self, position: int, series_id: str, timestamp: int | None, value: Any, name: str | None) -> None:
        self._count_constant(value)
        if not self._includes(series_id):
            self.out.excluded += 1
            return
        fault = fault_of(series_id)
        if fault is not None:
            self._fault("malformed", fault, None if name is None else f"#{position}")
            return
        number = _number(value)
        if number is None:
            self._fault("malformed", f"expected the value to be a number, found {_kind(value)}", name)
        elif not math.isfinite(number):
            self._fault("not_finite", f"the value is {value if abs(number) != math.inf else number}", name)
        else:
            out = self.out
            out.series_ids.append(series_id)
            out.timestamps_ms.append(timestamp)
            out.values.append(number)
            out.positions.append(position)

    def _count_constant(self, value: Any) -> None:
        self._constants_as_values += isinstance(value, _Constant)

    def _fault(self, reason: Reason, detail: str, reading: str | None) -> None:
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


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS_MAX else float(digits)


def _kind(value: Any) -> str:
    """A value of a stranger, short enough for an error."""
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    names = {dict: "an object", list: "an array", type(None): "null", bool: str(value).lower()}
    return names.get(type(value)) or f"the number {str(value)[:40]}"
