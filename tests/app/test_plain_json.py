"""The loop in C over plain messages: what it takes, exactly; what it leaves to others; and how it remembers series."""

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_core.spec import FieldMapping
from stream_app.wire import numbered_texts
from stream_app.wire.columns import PollColumns
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.plain_json import PlainMessages, plain_messages
from stream_app.wire.timestamps import MAX_MS, from_one
from tests.app.polls import poll

FIELDS = ("series_id", "entity", "timestamp", "value", "values")
ONE = b'{"series_id":"a","timestamp":1,"value":2}'


def read(
    *values: bytes | None, reader: PlainMessages | None = None, unit: str = "ms", bytes_max: int = 1 << 20
) -> PollColumns | None:
    joined = polled(*values).joined
    if joined is None:
        return None
    return (reader or PlainMessages(FIELDS, ".")).columns(joined, len(values), unit, bytes_max)


def polled(*values: bytes | None) -> MessageColumns:
    return MessageColumns.of(poll(values))


def offset_of_minutes(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


def written_time(pieces: tuple[Any, ...]) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format(*pieces)


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
        ONE.replace(b"1,", b'"2026-03-01T10:00:00",'),
        ONE.replace(b"1,", b'"2026-03-01T10:00:00z",'),
        ONE.replace(b"1,", b'"2026-03-01T10:00:00.Z",'),
        ONE.replace(b"1,", b'"2026-03-01T10:00:00+0100",'),
        ONE.replace(b"1,", b'"2026-03-01T10:00:00Z,'),
        ONE.replace(b"1,", b'"2026-03-01",'),
        ONE.replace(b"1,", b'"0001-01-01T00:00:00+14:00",'),
        ONE.replace(b"1,", b'"",'),
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
    texts = [text for text in texts if text != "-0"]  # a small negative number without decimals; left to others
    messages = [b'{"series_id":"a","timestamp":1,"value":%s}' % text.encode() for text in texts]
    expected = np.array([float(text) for text in texts])
    columns = read(*messages)
    assert columns is not None
    assert columns.values.tobytes() == expected.tobytes()


PLAIN_TIME = re.compile(rb"[1-9]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
moments = st.datetimes(
    datetime(1000, 1, 1), datetime(9998, 12, 31), timezones=st.integers(-1439, 1439).map(offset_of_minutes)
)
pieces = st.tuples(
    *(st.integers(0, most) for most in (9999, 13, 32, 25, 61, 61)),
    st.one_of(st.just(""), st.from_regex(r"\A\.[059]{0,11}\Z"), st.integers(0, 10**9).map(".{}".format)),
    st.sampled_from(["Z", "z", "", "+00:00", "-00:00", "+05:30", "-23:59", "+24:00", "+01:60", "+0100", "+1:00", "Z "]),
)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(moments.map(datetime.isoformat), moments.map(str), pieces.map(written_time)))
@example("2024-02-29T23:59:59.9999995-23:59")
@example("1900-02-29T00:00:00Z")
@example("2000-02-29 00:00:00.0004999Z")
@example("1969-12-31T23:59:59.9999Z")
@example("2024-12-31T23:59:60Z")
def test_rfc_3339_is_read_as_msgspec_reads_it(text: str) -> None:
    """And nothing that msgspec takes is left out that producers commonly write."""
    found = read(ONE.replace(b"1,", json.dumps(text).encode() + b","))
    try:
        moment = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        assert found is None
        return
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert from_one(text, "s") == expected
    if found is None:
        assert not PLAIN_TIME.fullmatch(text.encode()) or text[:4] == "9999"
    else:
        assert found.timestamps_ms.tolist() == [expected]


@pytest.mark.parametrize(("unit", "per_ms"), [("s", Fraction(1, 1000)), ("ms", 1), ("us", 1000), ("ns", 10**6)])
def test_numbers_and_texts_tell_the_same_times_in_one_poll(unit: str, per_ms: Fraction | int) -> None:
    """Numbers in the unit of the stream, rounded towards the past; a text says its own."""
    numbers = [0, 1, -1, 999_999, -999_999, 1_772_359_200, -(10**17) - 1, 10**15]
    written = ONE.replace(b"1,", b'"2026-03-01T10:00:00.0019Z",')
    messages = [written, *(ONE.replace(b"1,", b"%d," % number) for number in numbers)]
    found = read(*messages, unit=unit)
    assert found is not None
    told = [math.floor(Fraction(number) / per_ms) for number in numbers]
    times = found.timestamps_ms.tolist()
    assert times[0] == 1_772_359_200_001
    for time, ms in zip(times[1:], told, strict=True):
        assert time == ms or (abs(ms) > 2**61 and abs(time) > MAX_MS and time * ms > 0), (
            "beyond int64 it is out of range"
        )


def test_more_series_than_there_was_room_for(rng: np.random.Generator) -> None:
    reader = PlainMessages(FIELDS, ".")
    for size in (10, 3000, 20_000):
        names = [f"{'x' * int(rng.integers(0, 60))}{number}" for number in rng.integers(0, size, size).tolist()]
        values = [json.dumps({"series_id": name, "timestamp": 1, "value": 1}).encode() for name in names]
        assert [row[0] for row in rows(read(*values, reader=reader))] == names


def test_it_begins_anew_when_it_has_seen_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered_texts, "TEXTS_MAX", 1 << 10)
    reader = PlainMessages(FIELDS, ".")
    for start in range(0, 5000, 500):
        names = [f"s{number}" for number in range(start, start + 500)]
        values = [json.dumps({"timestamp": 1, "values": dict.fromkeys(names, 1)}).encode(), ONE]
        assert [row[0] for row in rows(read(*values, reader=reader))] == [*names, "a"]


def test_more_new_series_in_one_poll_than_it_may_remember_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered_texts, "TEXTS_MAX", 1 << 10)
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
