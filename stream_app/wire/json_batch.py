"""Many JSON messages decoded at once, with exactly the result of json_message.py; None where it must be used instead.

The messages are joined by newlines and decoded as lines. That alone proves nothing: two mutilated messages could join
into one whole document, and a third message could hide a second one. So each message must begin with an opening bracket
and end with a closing one. `}`, newline, `{` is not valid JSON inside an object or array (a comma is missing) nor
inside a text (a raw newline is not allowed), so in a text that decodes, each of these places lies between two complete
documents. With n documents in n messages, every message is exactly one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.spec import FieldMapping, StreamSpec
from stream_app.wire.columns import PollColumns
from stream_app.wire.json_message import series_of
from stream_app.wire.json_text import NESTING_MAX, WHITE, nested_too_deep
from stream_app.wire.series_ids import SERIES_ID_BYTES_MAX, fault_of, from_key
from stream_app.wire.timestamps import Rfc3339, from_datetimes, from_one, scale_floats, scale_integers

UNSET, UnsetType = msgspec.UNSET, msgspec.UnsetType
# Packs whose series ids are remembered by (entity, names), and how many names such a pack may have.
_PACKS_MAX, _PACK_NAMES_MAX = 4096, 256
_TYPES: dict[str, Any] = {
    "series_id": str | UnsetType,
    "entity": str | UnsetType,
    "timestamp": int | float | Rfc3339 | UnsetType,
    "value": float | UnsetType,
    "values": dict[str, float] | UnsetType,
}


@dataclass(frozen=True)
class _Typed:
    """A decoder of lines for one mapping of fields, and the place of each field in its results."""

    decode_lines: Callable[[bytes], list[Any]]
    message: type
    paths: dict[str, str]  # field → dotted attribute path

    def all(self, field: str, documents: list[Any]) -> list[Any]:
        """A field of each document, UNSET where it has none."""
        get = attrgetter(self.paths[field])
        try:
            return list(map(get, documents))
        except AttributeError:  # in some, the object around it is not there
            return [_get_or_unset(get, document) for document in documents]


def _get_or_unset(get: Callable[[Any], Any], document: Any) -> Any:
    try:
        return get(document)
    except AttributeError:
        return UNSET


def decode_together(
    spec: StreamSpec,
    lines: bytes,
    lengths: IntArray,
    *,
    keys: Callable[[], Sequence[bytes | None]],
    record_ms: Callable[[], IntArray],
) -> PollColumns | None:
    """Readings of m messages with a newline between each two, or None when any of them needs a closer look.

    `lengths` of the messages, int64 [m]. `keys` and `record_ms` (Kafka's timestamps, int64 [m]) are asked for where
    messages carry none of their own.
    """
    typed = _typed(spec.fields)
    if typed is None:
        return None
    try:
        proven, lengths = proven_lines(lines, lengths)
        longest = int(lengths.max())
        plain = longest <= SERIES_ID_BYTES_MAX and _plain(proven)
        documents = typed.decode_lines(proven)
        if len(documents) != len(lengths):
            return None
        return _Batch(spec, typed, keys, record_ms, plain).columns(documents)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError, Unusual):
        return None


class Unusual(Exception):
    """Something in these messages needs the plain steps of json_message.py."""


def proven_lines(lines: bytes, lengths: IntArray) -> tuple[bytes, IntArray]:
    """The messages as lines, each of which is proven to be one document or to fail, and the length of each.

    Raises Unusual when that cannot be proven, or one is nested too deep.
    """
    proven, lengths = _bracketed_lines(lines, lengths)
    if int(lengths.max()) > NESTING_MAX and any(map(nested_too_deep, _with_many_brackets(proven, lengths))):
        raise Unusual
    return proven, lengths


def _bracketed_lines(lines: bytes, lengths: IntArray) -> tuple[bytes, IntArray]:
    if _bracketed(np.frombuffer(lines, np.uint8), lengths):
        if not lines.isascii():
            lines.decode()  # msgspec does not look into texts it skips; what is no UTF-8 is no JSON
        return lines, lengths
    stripped = [value.strip(WHITE) for value in _cut(lines, lengths, np.arange(len(lengths)))]
    shorter = np.fromiter(map(len, stripped), np.int64, len(stripped))
    if (shorter == lengths).all():
        raise Unusual
    return _bracketed_lines(b"\n".join(stripped), shorter)


def _cut(lines: bytes, lengths: IntArray, indices: IntArray) -> list[bytes]:
    """The messages at these indices, cut out of the joined text."""
    ends = np.cumsum(lengths + 1) - 1
    borders = zip((ends - lengths)[indices].tolist(), ends[indices].tolist(), strict=True)
    return [lines[start:end] for start, end in borders]


def _with_many_brackets(lines: bytes, lengths: IntArray) -> list[bytes]:
    """Messages with more opening brackets than may be nested: only those can be nested too deep."""
    opening = np.flatnonzero((np.frombuffer(lines, np.uint8) | 32) == ord("{"))  # `[` and `{` differ in that bit
    counts = np.diff(np.searchsorted(opening, np.cumsum(lengths + 1)), prepend=0)
    return _cut(lines, lengths, np.flatnonzero(counts > NESTING_MAX))


def _bracketed(text: AnyArray, lengths: IntArray) -> bool:
    """Whether each of the joined messages begins with an opening and ends with a closing bracket."""
    if not lengths.all():
        return False
    ends = np.cumsum(lengths + 1) - 1
    first, last = text[ends - lengths], text[ends - 1]
    opening = (first == ord("{")) | (first == ord("["))
    closing = (last == ord("}")) | (last == ord("]"))
    return bool((opening & closing).all())


def _plain(lines: bytes) -> bool:
    """Whether no text in it can hold a control character: they come escaped, as DEL, or beyond ASCII."""
    return lines.isascii() and b"\\" not in lines and b"\x7f" not in lines


class _Batch:
    """Turns typed documents into columns."""

    def __init__(
        self,
        spec: StreamSpec,
        typed: _Typed,
        keys: Callable[[], Sequence[bytes | None]],
        record_ms: Callable[[], IntArray],
        plain: bool,
    ) -> None:
        self._unit = spec.timestamp_unit
        self._separator = spec.entity_separator
        self._typed = typed
        self._keys = keys
        self._record_ms = record_ms
        self._plain = plain  # short ASCII without control characters

    def columns(self, documents: list[Any]) -> PollColumns:
        """Columns of one document for each message, of any shape. Raises Unusual if the plain steps must look."""
        count = len(documents)
        messages = np.arange(count)
        if set(map(type, documents)) == {self._typed.message}:
            try:
                return self._readings(documents, messages, np.zeros(count, np.int64))
            except TypeError:  # a value that is not there: packs, at least some
                return self._objects(documents)
        lists = [document if type(document) is list else [document] for document in documents]
        lengths = np.fromiter(map(len, lists), np.int64, count)
        flat = list(chain.from_iterable(lists))
        positions = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        try:
            return self._readings(flat, np.repeat(messages, lengths), positions)
        except TypeError:
            raise Unusual from None

    def _objects(self, documents: list[Any]) -> PollColumns:
        values = self._typed.all("value", documents)
        single = [index for index, value in enumerate(values) if value is not UNSET]
        packs = [index for index, value in enumerate(values) if value is UNSET]
        parts = [self._packs([documents[index] for index in packs], np.array(packs))]
        if single:
            zeros = np.zeros(len(single), np.int64)
            parts.append(self._readings([documents[index] for index in single], np.array(single), zeros))
        both = PollColumns.concatenate(parts)
        return both.take(np.argsort(both.messages, kind="stable")) if single else both

    def _readings(self, documents: list[Any], messages: IntArray, positions: IntArray) -> PollColumns:
        """The readings of documents. TypeError if one has no value."""
        values = np.fromiter(self._typed.all("value", documents), np.float64, len(documents))
        series_ids = self._typed.all("series_id", documents)
        different = set(series_ids)
        if UNSET in different:
            series_ids = self._with_keys(series_ids, messages)
            different = set(series_ids)
        elif self._plain:  # only emptiness can be wrong
            different &= {""}
        if any(map(fault_of, different)):
            raise Unusual
        names = np.array(series_ids, object)
        return PollColumns(names, self._times(documents, messages), values, messages, positions)

    def _packs(self, documents: list[Any], messages: IntArray) -> PollColumns:
        packs = self._typed.all("values", documents)
        if any(pack is UNSET for pack in packs):
            raise Unusual
        series_ids: list[str] = []
        for entity, pack in zip(self._typed.all("entity", documents), packs, strict=True):
            series_of_pack = _remembered_series if len(pack) <= _PACK_NAMES_MAX else _series_of_pack
            series_ids += series_of_pack(self._separator, None if entity is UNSET else entity, tuple(pack))
        lengths = np.fromiter(map(len, packs), np.int64, len(packs))
        count = len(series_ids)
        values = np.fromiter(chain.from_iterable(pack.values() for pack in packs), np.float64, count)
        return PollColumns(
            np.array(series_ids, object),
            np.repeat(self._times(documents, messages), lengths),
            values,
            np.repeat(messages, lengths),
            np.arange(count) - np.repeat(np.cumsum(lengths) - lengths, lengths),
        )

    def _with_keys(self, series_ids: list[Any], messages: IntArray) -> list[str]:
        keys, named = self._keys(), []
        for series_id, message in zip(series_ids, messages.tolist(), strict=True):
            name = from_key(keys[message]) if series_id is UNSET else series_id
            if name is None:
                raise Unusual
            named.append(name)
        return named

    def _times(self, documents: list[Any], messages: IntArray) -> IntArray:
        """int64 [n] ms of each document; Kafka's where it has none."""
        times = self._typed.all("timestamp", documents)
        kinds = set(map(type, times))
        if kinds <= {int}:
            return scale_integers(np.fromiter(times, np.int64, len(times)), self._unit)
        if kinds == {float}:
            floats: FloatArray = np.fromiter(times, np.float64, len(times))
            return scale_floats(floats, self._unit)
        if kinds == {UnsetType}:
            return self._record_ms()[messages]
        if UnsetType not in kinds and kinds.isdisjoint((int, float)):
            return from_datetimes(times)
        record_ms = self._record_ms()[messages].tolist()
        return np.array([self._time(*pair) for pair in zip(times, record_ms, strict=True)], np.int64)

    def _time(self, time: Any, record_ms: int) -> int:
        if time is UNSET:
            return record_ms
        if isinstance(time, int | float):
            scaled = from_one(time, self._unit)
            assert scaled is not None, "JSON has no NaN"
            return scaled
        return int(from_datetimes([time])[0])


@lru_cache(maxsize=_PACKS_MAX)
def _remembered_series(separator: str, entity: str | None, names: tuple[str, ...]) -> list[str]:
    return _series_of_pack(separator, entity, names)


def _series_of_pack(separator: str, entity: str | None, names: tuple[str, ...]) -> list[str]:
    series_ids = list(names) if entity is None else [series_of(entity, separator, name) for name in names]
    if entity == "" or any(map(fault_of, series_ids)):
        raise Unusual
    return series_ids


@lru_cache(maxsize=64)
def _typed(fields: FieldMapping) -> _Typed | None:
    """The decoder of a mapping; None if one path goes through the end of another: then there are no fixed types."""
    paths = {name: tuple(getattr(fields, name).split(".")) for name in _TYPES}
    tree: dict[str, Any] = {}
    for name, path in paths.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                return None
        if path[-1] in node:
            return None
        node[path[-1]] = name
    attributes: dict[str, str] = {}
    message = _struct(tree, "", attributes)
    decoder = msgspec.json.Decoder(message | list[message])  # type: ignore[valid-type]
    return _Typed(decoder.decode_lines, message, attributes)


def _struct(tree: dict[str, Any], prefix: str, attributes: dict[str, str]) -> Any:
    """A msgspec type for a table of keys; `attributes` gets field name → dotted attribute path."""
    definitions: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for number, (key, node) in enumerate(tree.items()):
        attribute = f"f{number}"
        rename[attribute] = key
        if isinstance(node, dict):
            nested = _struct(node, f"{prefix}{attribute}.", attributes)
            definitions.append((attribute, nested | UnsetType, UNSET))
        else:
            definitions.append((attribute, _TYPES[node], UNSET))
            attributes[node] = prefix + attribute
    # gc=False: the structs hold only atoms and one dict of floats, never a cycle, and the collector would visit each
    return msgspec.defstruct("Message", definitions, rename=rename, gc=False)
