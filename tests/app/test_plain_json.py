"""The loop in C over plain messages: what it takes, exactly; what it leaves to others; and how it remembers series."""

import json
import math
from typing import Any

import numpy as np
import pytest

from model_core.spec import FieldMapping
from stream_app.wire import plain_json
from stream_app.wire.columns import PollColumns
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.plain_json import PlainMessages, plain_messages
from tests.app.polls import poll

FIELDS = ("series_id", "entity", "timestamp", "value", "values")
ONE = b'{"series_id":"a","timestamp":1,"value":2}'


def read(*values: bytes | None, reader: PlainMessages | None = None, bytes_max: int = 1 << 20) -> PollColumns | None:
    joined = polled(*values).joined
    if joined is None:
        return None
    return (reader or PlainMessages(FIELDS, ".")).columns(joined, len(values), "ms", bytes_max)


def polled(*values: bytes | None) -> MessageColumns:
    return MessageColumns.of(poll(values))


def rows(columns: PollColumns | None) -> list[tuple[Any, ...]]:
    assert columns is not None, "expected a plain poll"
    parts = (columns.series_ids, columns.timestamps_ms, columns.values, columns.messages, columns.positions)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def test_readings_and_packs_in_any_order_of_their_members() -> None:
    pack = b'{ "entity" : "p" , "values":{"x": -1.5e-3, "y":0}, "timestamp": -7, "site":{"a":[1,{"b":null}],"c":"d"}}'
    bare = b'{"timestamp":5,"values":{"p.x":1}}'
    turned = b'{"value":12.50,"tags":[],"timestamp":3,"quality":true,"series_id":"b"}'
    found = rows(read(ONE, pack, bare, turned))
    assert found == [
        ("a", 1, 2.0, 0, 0),
        ("p.x", -7, -0.0015, 1, 0),
        ("p.y", -7, 0.0, 1, 1),
        ("p.x", 5, 1.0, 2, 0),
        ("b", 3, 12.5, 3, 0),
    ]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[" + ONE + b"]",
        ONE + b" ",
        b" " + ONE,
        ONE + b"\n" + ONE,
        ONE[:-1],
        ONE.replace(b",", b",\n"),
        ONE.replace(b"2}", b"02}"),
        ONE.replace(b"2}", b"-0}"),
        ONE.replace(b"2}", b".5}"),
        ONE.replace(b"2}", b"1e999}"),
        ONE.replace(b"2}", b"NaN}"),
        ONE.replace(b"2}", b'"2"}'),
        ONE.replace(b"1,", b"1.0,"),
        ONE.replace(b"1,", b"1234567890123456789,"),
        ONE.replace(b"1,", b'"2026-03-01T10:00:00Z",'),
        ONE.replace(b"a", b"\\u0061"),
        ONE.replace(b'"a"', '"é"'.encode()),
        ONE.replace(b'"a"', b'"\x7f"'),
        ONE.replace(b'"a"', b'""'),
        ONE.replace(b'"a"', b'"' + b"a" * 1025 + b'"'),
        ONE.replace(b'"a"', b'"a\0b"'),
        ONE.replace(b"}", b',"value":3}'),
        ONE.replace(b"}", b',"values":{"x":1}}'),
        ONE.replace(b"}", b',"t":tru}'),
        ONE.replace(b"}", b',"t":' + b"[" * 9 + b"]" * 9 + b"}"),
        b'{"timestamp":1,"values":{}}',
        b'{"timestamp":1,"values":{"a":1,"b":2,"a":3}}',
        b'{"timestamp":1,"values":{"":1}}',
        b'{"timestamp":1,"values":{"a":1},"entity":"late"}',
        b'{"timestamp":1,"entity":"","values":{"a":1}}',
        b'{"values":{"a":1}}',
        b'{"series_id":"a","value":1}',
    ],
)
def test_what_is_unusual_in_one_message_is_left_to_others(value: bytes | None) -> None:
    for values in ([value], [ONE, value], [value, ONE], [ONE] * 200 + [value] + [ONE]):
        assert read(*values) is None


def test_a_message_that_is_too_long_is_left_to_others() -> None:
    assert read(ONE, bytes_max=len(ONE)) is not None
    assert read(ONE, bytes_max=len(ONE) - 1) is None


def test_numbers_are_read_as_python_reads_them(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2**64, 30_000, np.uint64, endpoint=False).view(np.float64)
    values = [float(value) for value in bits if math.isfinite(value)]
    values += [0.1, 0.3, 2**53 + 1.0, 1e22, 1e23, 5e-324, 1.7976931348623157e308, -0.0]
    texts = [repr(value) for value in values]
    texts += [f"{value:.{digits}f}" for value in rng.normal(size=300) * 1000 for digits in range(25)]
    texts += ["9007199254740993", "9007199254740992.5", "123456789012345678901234567890", "0." + "0" * 30 + "1"]
    messages = [b'{"series_id":"a","timestamp":1,"value":%s}' % text.encode() for text in texts]
    expected = np.array([float(text) for text in texts])
    columns = read(*messages)
    assert columns is not None
    assert columns.values.tobytes() == expected.tobytes()


def test_more_series_than_there_was_room_for(rng: np.random.Generator) -> None:
    reader = PlainMessages(FIELDS, ".")
    for size in (10, 3000, 20_000):
        names = [f"{'x' * int(rng.integers(0, 60))}{number}" for number in rng.integers(0, size, size).tolist()]
        values = [json.dumps({"series_id": name, "timestamp": 1, "value": 1}).encode() for name in names]
        assert [row[0] for row in rows(read(*values, reader=reader))] == names


def test_it_begins_anew_when_it_has_seen_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_json, "NAMES_MAX", 1 << 10)
    reader = PlainMessages(FIELDS, ".")
    for start in range(0, 5000, 500):
        names = [f"s{number}" for number in range(start, start + 500)]
        values = [json.dumps({"timestamp": 1, "values": dict.fromkeys(names, 1)}).encode(), ONE]
        assert [row[0] for row in rows(read(*values, reader=reader))] == [*names, "a"]


def test_more_new_series_in_one_poll_than_it_may_remember_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_json, "NAMES_MAX", 1 << 10)
    reader = PlainMessages(FIELDS, ".")
    many = [b'{"series_id":"s%d","timestamp":1,"value":1}' % number for number in range(1500)]
    assert read(*many, reader=reader) is None
    assert rows(read(ONE, reader=reader)) == [("a", 1, 2.0, 0, 0)]


def test_nested_or_ambiguous_fields_have_no_reader() -> None:
    assert plain_messages(FieldMapping(), ".") is not None
    assert plain_messages(FieldMapping(value="data.v"), ".") is None
    assert plain_messages(FieldMapping(value="values"), ".") is None
    assert plain_messages(FieldMapping(value='a"b'), ".") is None
    assert plain_messages(FieldMapping(), "·") is None
