"""Format json: the shapes, the mapping, deletions, and one case for each reason a message cannot be used."""

import json
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Message

from stream_app.errors import TidecastError
from stream_app.wire import FORMATS, ReplayVerdicts, decoder
from stream_app.wire.decoded import DecodedPoll
from stream_app.wire.json import decode
from tests.app.polls import LOG_APPEND_TIME, NOW_MS, message, poll, reading, spec

HOUR_MS = 3_600_000


def decoded(*messages: Message, partition_count: int = 2, now_ms: int = NOW_MS, **changes: Any) -> DecodedPoll:
    return decode(spec(**changes), messages, now_ms=now_ms, partition_count=partition_count)


def rows(result: DecodedPoll, partition: int = 0) -> list[tuple[str, int, float]]:
    readings = result.readings[partition]
    return list(zip(readings.series_ids, readings.timestamps_ms.tolist(), readings.values.tolist(), strict=True))


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (reading("a", 1.5), [("a", NOW_MS, 1.5)]),
        (reading("a", 2), [("a", NOW_MS, 2.0)]),
        (
            {"entity": "p", "timestamp": NOW_MS, "values": {"t": 1, "f": 2}},
            [("p.t", NOW_MS, 1.0), ("p.f", NOW_MS, 2.0)],
        ),
        ({"entity": "p", "timestamp": NOW_MS, "values": {"": 1}}, [("p", NOW_MS, 1.0)]),
        ({"timestamp": NOW_MS, "values": {"a.b": 1}}, [("a.b", NOW_MS, 1.0)]),
        ([reading("a", 1), reading("b", 2, NOW_MS - 5)], [("a", NOW_MS, 1.0), ("b", NOW_MS - 5, 2.0)]),
        ({"value": 1, "timestamp": NOW_MS}, [("pump-7", NOW_MS, 1.0)]),
        ({"series_id": "a", "value": 1}, [("a", NOW_MS - 7, 1.0)]),
        (reading("a", 1, values={"x": 1}, tags={"site": "north"}), [("a", NOW_MS, 1.0)]),
    ],
    ids=[
        "one reading",
        "a whole number",
        "pack with entity",
        "the entity alone",
        "pack of whole series ids",
        "array",
        "no series id: the message key",
        "no timestamp: Kafka's",
        "an object with a value is a reading",
    ],
)
def test_shapes(value: Any, expected: list[tuple[str, int, float]]) -> None:
    result = decoded(message(value, time_ms=NOW_MS - 7))
    assert rows(result) == expected
    assert result.dead_letters == []


@pytest.mark.parametrize(
    ("timestamp", "unit", "expected"),
    [
        ("2026-03-01T10:00:00Z", "ms", NOW_MS),
        ("2026-03-01t11:30:00.123999+01:30", "ms", NOW_MS + 123),
        (NOW_MS // 1000, "s", NOW_MS),
        (NOW_MS / 1000 + 0.123, "s", NOW_MS + 123),
        (NOW_MS * 1000 + 999, "us", NOW_MS),
        (NOW_MS * 1_000_000 + 999_999, "ns", NOW_MS),
        (float(NOW_MS), "ms", NOW_MS),
    ],
)
def test_timestamps_are_whole_milliseconds_rounded_to_the_past(timestamp: Any, unit: str, expected: int) -> None:
    assert rows(decoded(message(reading("a", 1, timestamp)), timestamp_unit=unit)) == [("a", expected, 1.0)]


def test_producers_keep_their_own_json() -> None:
    fields = {"series_id": "meta.id", "entity": "meta.device", "timestamp": "at", "value": "d.v", "values": "d.all"}
    result = decoded(
        message({"meta": {"id": "a"}, "at": NOW_MS, "d": {"v": 1}}, offset=0),
        message({"meta": {"device": "p"}, "at": NOW_MS, "d": {"all": {"t": 2}}}, offset=1),
        message({"at": NOW_MS, "d": {"v": 3}}, key=b"k", offset=2),
        fields=fields,
    )
    assert rows(result) == [("a", NOW_MS, 1.0), ("p.t", NOW_MS, 2.0), ("k", NOW_MS, 3.0)]


def test_readings_part_by_partition_in_log_order() -> None:
    result = decoded(*poll([reading(f"s{i}", i) for i in range(7)], partitions=3))
    assert {p: r.series_ids for p, r in result.readings.items()} == {
        0: ["s0", "s3", "s6"],
        1: ["s1", "s4"],
        2: ["s2", "s5"],
    }
    assert result.readings[1].offsets.tolist() == [1, 4]


def test_cloudevents_headers_are_tolerated() -> None:
    headers = [("ce_id", b"1"), ("ce_source", b"/pumps"), ("ce_specversion", b"1.0"), ("ce_type", b"reading")]
    assert rows(decoded(message(reading("a"), headers=headers))) == [("a", NOW_MS, 21.5)]


def test_included_series_are_taken_and_others_are_counted() -> None:
    result = decoded(
        message({"entity": "p", "values": {"temp": 1, "noise": "high"}}),
        message(reading("q.noise", None), offset=1),
        message(None, key=b"q.noise", offset=2),
        include=["*.temp"],
    )
    assert [row[0] for row in rows(result)] == ["p.temp"]
    assert result.excluded == 3
    assert result.dead_letters == []


# --- deletions --------------------------------------------------------------------------------------------------------


def test_a_null_value_deletes_the_series_of_its_key() -> None:
    result = decoded(
        message(b" null\n", key=b"a", offset=3),
        message(reading("c"), offset=4),
        message(None, key=b"b", offset=5),
    )
    assert result.readings[0].deletions == ((3, "a"), (5, "b"))
    assert result.readings[0].series_ids == ["c"]


def test_a_poll_of_deletions_has_readings_of_length_zero() -> None:
    result = decoded(message(None, key=b"b", partition=4))
    assert len(result.readings[4]) == 0
    assert result.readings[4].deletions == ((0, "b"),)


# --- what cannot be used ----------------------------------------------------------------------------------------------

FAR = NOW_MS + 2 * HOUR_MS
BAD: list[tuple[str, Any, str, str]] = [
    # (reason, value, words of the detail, case)
    ("malformed", b"21.5 degrees", "no JSON", "no JSON"),
    ("malformed", b"\xff{}", "no UTF-8", "no UTF-8"),
    ("malformed", b"21.5", "expected an object or an array", "a bare number"),
    ("malformed", b"", "no JSON", "empty"),
    ("malformed", b'"text"', "expected an object or an array", "a bare text"),
    ("malformed", {"series_id": "a"}, "expected value or values, found neither", "no value"),
    ("malformed", reading("a", None), "to be a number, found null", "null as a value"),
    ("malformed", reading("a", "21.5"), "found the text '21.5'", "a text as a value"),
    ("malformed", reading("a", True), "found true", "a truth as a value"),
    ("malformed", reading("a", 1, None), "expected timestamp", "null as a timestamp"),
    ("malformed", reading("a", 1, True), "expected timestamp", "a truth as a timestamp"),
    ("malformed", reading("a", 1, "yesterday"), "RFC 3339", "a text that is no time"),
    ("malformed", reading("a", 1, "2026-03-01T10:00:00"), "with an offset", "a time without an offset"),
    ("malformed", b'{"series_id":"a","value":1,"timestamp":NaN}', "outside a value", "NaN as a timestamp"),
    ("malformed", b'{"series_id":"a","value":1,"tags":NaN}', "NaN or Infinity outside a value", "NaN elsewhere"),
    ("malformed", reading(7), "expected series_id to be a text", "a number as a series id"),
    ("malformed", reading(""), "the series id is empty", "an empty series id"),
    ("malformed", reading("a\nb"), "control characters", "a control character in a series id"),
    ("malformed", reading("\x9b"), "control characters", "a C1 control character"),
    ("malformed", reading("é" * 513), "1026 bytes", "a series id that is too long"),
    ("malformed", b'{"series_id":"\\ud800","value":1}', "half a surrogate pair", "half a surrogate pair"),
    ("malformed", {"entity": "", "values": {"a": 1}}, "expected entity", "an empty entity"),
    ("malformed", {"values": [1, 2]}, "expected values to be an object", "values that are no object"),
    ("malformed", b"[" * 9000 + b"]" * 9000, "nested deeper", "nested too deep"),
    ("not_finite", b'{"series_id":"a","value":NaN}', "nan", "NaN"),
    ("not_finite", b'{"series_id":"a","value":-Infinity}', "-inf", "minus infinity"),
    ("not_finite", b'{"series_id":"a","value":1e999}', "inf", "a number that overflows float64"),
    ("not_finite", b'{"series_id":"a","value":1' + b"0" * 400 + b"}", "inf", "a whole number that overflows"),
    ("timestamp_out_of_range", reading("a", 1, FAR), "ahead of the worker's clock", "a clock that is ahead"),
    ("timestamp_out_of_range", reading("a", 1, -1), "before min_timestamp", "before min_timestamp"),
    ("timestamp_out_of_range", reading("a", 1, 10**30), "after the year 9999", "over int64"),
    ("timestamp_out_of_range", b'{"series_id":"a","value":1,"timestamp":1e999}', "after the year 9999", "over float64"),
    ("too_large", reading("a", 1, tags="x" * 2000), "reading_bytes_max is 1024", "too large"),
]


@pytest.mark.parametrize(("reason", "value", "words"), [case[:3] for case in BAD], ids=[case[3] for case in BAD])
def test_unusable_messages_become_dead_letters_with_their_reason(reason: str, value: Any, words: str) -> None:
    size = 1024 if reason == "too_large" else 1 << 20
    bad = message(value, offset=1, headers=[("trace", b"7")])
    good = message(reading("good", 1), offset=2)
    result = decoded(message(reading("good", 0)), bad, good, reading_bytes_max=size)

    assert [row[0] for row in rows(result)] == ["good", "good"]
    (letter,) = result.dead_letters
    assert letter.reason == reason
    assert words in letter.detail
    assert (letter.key, letter.value, letter.timestamp_ms) == (bad.key(), bad.value(), NOW_MS)
    assert (letter.topic, letter.partition, letter.offset) == ("pumps", 0, 1)
    assert letter.headers == (("trace", b"7"),)
    assert letter.readings == ()
    assert result.malformed[0].tolist() == [False, reason != "timestamp_out_of_range", False]


@pytest.mark.parametrize("value", [reading("a"), None, b"null", b"{"])
def test_without_a_key_a_message_of_several_partitions_is_unkeyed(value: Any) -> None:
    (letter,) = decoded(message(value, key=None)).dead_letters
    assert letter.reason == "unkeyed"


def test_with_one_partition_no_key_is_needed() -> None:
    result = decoded(message(reading("a"), key=None), partition_count=1)
    assert [row[0] for row in rows(result)] == ["a"]
    (letter,) = decoded(message({"value": 1}, key=None), partition_count=1).dead_letters
    assert letter.reason == "malformed"


@pytest.mark.parametrize("key", [b"", b"\xff", b"a\n"])
def test_a_key_that_is_no_series_id_names_no_series(key: bytes) -> None:
    letters = decoded(message({"value": 1}, key=key), message(None, key=key, offset=1)).dead_letters
    assert [letter.reason for letter in letters] == ["malformed", "malformed"]


def test_of_a_pack_only_the_bad_readings_are_bad() -> None:
    values = {"a": 1, "b": float("nan"), "c": "x", "d": 2, "e": float("inf")}
    result = decoded(message({"entity": "p", "timestamp": NOW_MS, "values": values}))
    assert [row[0] for row in rows(result)] == ["p.a", "p.d"]
    assert {letter.reason: letter.readings for letter in result.dead_letters} == {
        "malformed": ("c",),
        "not_finite": ("b", "e"),
    }
    assert not result.malformed[0].any()


def test_of_an_array_only_the_bad_readings_are_bad() -> None:
    result = decoded(message([reading("a"), 7, {"values": {}}, reading("b", None), reading("c", 1, FAR)]))
    assert [row[0] for row in rows(result)] == ["a"]
    assert {letter.reason: letter.readings for letter in result.dead_letters} == {
        "malformed": ("#1", "#2", "b"),
        "timestamp_out_of_range": ("c",),
    }
    assert result.clock_rejections == {0: [(0, 4)]}


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_verdicts_of_the_workers_clock_are_returned_and_replayed() -> None:
    messages = [
        message({"entity": "p", "timestamp": FAR, "values": {"a": 1, "b": 2}}, offset=5),
        message(reading("c", 1, FAR), offset=6),
    ]
    first = decoded(*messages)
    assert first.clock_rejections == {0: [(5, 0), (5, 1), (6, 0)]}

    # Later the clock would say otherwise; the journal decides up to its offset, the clock from there.
    replay = {0: ReplayVerdicts(6, frozenset({(5, 1)}))}
    again = decode(spec(), messages, now_ms=NOW_MS, partition_count=2, replay=replay)
    assert [row[0] for row in rows(again)] == ["p.a"]
    assert again.clock_rejections == {0: [(6, 0)]}
    later = decode(
        spec(), messages, now_ms=FAR, partition_count=2, replay={0: ReplayVerdicts(9, first_verdicts(first))}
    )
    assert later.readings == {}
    assert later.clock_rejections == {}


def first_verdicts(result: DecodedPoll) -> frozenset[tuple[int, int]]:
    return frozenset(result.clock_rejections[0])


def test_where_the_broker_stamps_records_the_log_decides_not_the_clock() -> None:
    stamped = [
        message(reading("a", 1, NOW_MS), time_ms=NOW_MS - 2 * HOUR_MS, time_type=LOG_APPEND_TIME),
        message(reading("b", 1, FAR), time_ms=FAR, time_type=LOG_APPEND_TIME, offset=1),
    ]
    result = decoded(*stamped)
    assert [row[0] for row in rows(result)] == ["b"]
    assert "its record's timestamp" in result.dead_letters[0].detail
    assert result.clock_rejections == {}


def test_future_covariates_may_be_far_ahead() -> None:
    pack = message({"entity": "p", "timestamp": NOW_MS + 90 * HOUR_MS, "values": {"price": 1, "temp": 2}})
    result = decoded(pack, future_covariates=["price"])
    assert [row[0] for row in rows(result)] == ["p.price"]
    assert result.clock_rejections == {0: [(0, 1)]}


# --- formats ----------------------------------------------------------------------------------------------------------


def test_an_empty_poll_is_nothing() -> None:
    assert decoded() == DecodedPoll({})


@pytest.mark.parametrize("name", ["avro", "json_schema"])
def test_formats_with_a_registry_are_refused_without_one(name: str) -> None:
    assert name in FORMATS
    with pytest.raises(TidecastError, match=f'format = "{name}" needs a schema registry'):
        decoder(spec(format=name), None)


def test_values_are_float64_and_exact() -> None:
    value = 0.1 + 0.2
    result = decoded(message(json.dumps(reading("a", value)).encode()))
    assert result.readings[0].values.dtype == np.float64
    assert result.readings[0].values[0] == value
