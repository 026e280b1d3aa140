"""SenML packs resolve as RFC 8428 says, and a whole poll gives exactly what its packs give one by one."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import stream_app.wire.senml as wire_senml
from stream_app.wire.decoded import DecodedPoll
from stream_app.wire.timestamps import scale_floats, seconds_to_ms
from tests.app.polls import NOW_MS, message, poll, spec

NOW_S = NOW_MS // 1000


def decoded(*messages: Any, partition_count: int = 1, **changes: Any) -> DecodedPoll:
    stream = spec(format="senml", **changes)
    return wire_senml.decode(stream, messages, now_ms=NOW_MS, partition_count=partition_count)


def rows(result: DecodedPoll) -> list[tuple[str, int, float]]:
    return [
        row
        for _, readings in sorted(result.readings.items())
        for row in zip(readings.series_ids, readings.timestamps_ms.tolist(), readings.values.tolist(), strict=True)
    ]


def faults(result: DecodedPoll) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(letter.reason, letter.detail, letter.readings) for letter in result.dead_letters]


def test_the_multiple_datapoints_of_the_rfc() -> None:
    pack = [
        {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1772359200.001, "bu": "A", "bver": 5, "n": "voltage", "u": "V"}
        | {"v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "t": 0, "v": 1.7},
    ]
    assert rows(decoded(message(pack))) == [
        ("urn:dev:ow:10e2073a0108006:voltage", NOW_MS + 1, 120.1),
        ("urn:dev:ow:10e2073a0108006:current", NOW_MS - 4999, 1.2),
        ("urn:dev:ow:10e2073a0108006:current", NOW_MS + 1, 1.7),
    ]


def test_times_below_two_to_the_28_are_relative_to_kafkas_time_of_the_record() -> None:
    pack = [{"n": "a", "v": 1}, {"n": "b", "t": -30, "v": 2}, {"bt": -60, "n": "c", "t": 10.5, "v": 3}]
    assert rows(decoded(message(pack, time_ms=NOW_MS - 7))) == [
        ("a", NOW_MS - 7, 1.0),
        ("b", NOW_MS - 30_007, 2.0),
        ("c", NOW_MS - 49_507, 3.0),
    ]


def test_bases_hold_until_they_are_replaced_and_never_beyond_their_pack() -> None:
    first = [{"bn": "p.", "bv": 10, "bt": NOW_S}, {"n": "a", "v": 1}, {"bv": -10, "bn": "q.", "n": "a", "v": 1}]
    second = [{"n": "a", "v": 1, "t": NOW_S}]
    assert rows(decoded(*poll([first, second]))) == [
        ("p.a", NOW_MS, 11.0),
        ("q.a", NOW_MS, -9.0),
        ("a", NOW_MS, 1.0),
    ]


def test_a_pack_without_names_is_about_the_message_key() -> None:
    assert rows(decoded(message([{"v": 1, "u": "Cel"}], key=b"pump-7"))) == [("pump-7", NOW_MS, 1.0)]
    assert faults(decoded(message([{"v": 1}], key=None)))[0][0] == "malformed"


def test_what_is_no_number_is_a_dead_letter_and_the_others_are_read() -> None:
    pack = [
        {"bn": "p.", "n": "temp", "v": 20},
        {"n": "label", "vs": "on"},
        {"n": "open", "vb": False},
        {"n": "blob", "vd": "aGk"},
        {"n": "energy", "s": 12.5},
        {"n": "nothing"},
    ]
    result = decoded(message(pack))
    assert rows(result) == [("p.temp", NOW_MS, 20.0)]
    ((reason, detail, readings),) = faults(result)
    assert reason == "malformed"
    assert "a text (vs)" in detail
    assert readings == ("p.label", "p.open", "p.blob", "p.energy", "p.nothing")
    assert result.malformed[0].tolist() == [False]


@pytest.mark.parametrize(
    ("pack", "reason", "detail"),
    [
        ({"n": "a", "v": 1}, "malformed", "expected an array of SenML records, found an object"),
        ([{"n": "a", "v": 1, "bver": 11}], "malformed", "expected bver up to 10"),
        ([{"n": "a", "v": 1, "x_": 1}], "malformed", "'x_', which must be understood"),
        ([{"n": "a", "v": 1}, {"bt": "now"}], "malformed", "record #1: expected bt to be a number"),
        ([{"bn": 7, "v": 1}], "malformed", "expected bn to be a text, found the number 7"),
        ([{"n": 7, "v": 1}], "malformed", "expected n to be a text"),
        ([{"n": "a", "v": "1"}], "malformed", "expected v to be a number, found the text '1'"),
        ([{"n": "a", "v": 1, "t": None}], "malformed", "expected t to be a number, found null"),
        ([{"n": "a\n", "v": 1}], "malformed", "control characters"),
        ([{"n": "a", "bv": 1.7e308, "v": 1.7e308}], "not_finite", "the value is inf"),
        ([{"n": "a", "v": float("nan")}], "not_finite", "the value is nan"),
        ([{"n": "a", "v": 1, "t": 1e300}], "timestamp_out_of_range", "after the year 9999"),
        ([7], "malformed", "expected a SenML record"),
        (b"[{", "malformed", "the text is no JSON"),
    ],
)
def test_what_cannot_be_used_says_why(pack: Any, reason: str, detail: str) -> None:
    result = decoded(message(pack))
    assert rows(result) == []
    ((found, said, _),) = faults(result)
    assert found == reason
    assert detail in said


def test_fields_nobody_knows_are_passed_over() -> None:
    assert rows(decoded(message([{"n": "a", "v": 1, "ut": 5, "color": "red", "bs": 3, "s": 4}]))) == [("a", NOW_MS, 1)]


def test_deletions_keys_and_include_are_as_in_json() -> None:
    pack = [{"n": "a.x", "v": 1}, {"n": "b.x", "v": 2}]
    messages = [message(None, key=b"a.x"), message(pack, offset=1), message(b" null ", key=b"a.y", offset=2)]
    result = decoded(*messages, include=["a.*"])
    assert result.readings[0].deletions == ((0, "a.x"), (2, "a.y"))
    assert rows(result) == [("a.x", NOW_MS, 1.0)]
    assert result.excluded == 1
    assert faults(decoded(message(pack, key=None), partition_count=2))[0][0] == "unkeyed"


# --- an oracle of its own ---------------------------------------------------------------------------------------------

milliseconds = st.integers(-(10**7), 10**7)
names = st.sampled_from(["", "a", "b", "temp", "p:q"])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Times are whole milliseconds, as decimals of seconds."""
    record: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        record["bn"] = draw(st.sampled_from(["urn:x:", "y/", ""]))
    if draw(st.integers(0, 3)) == 0:
        record["bt"] = Decimal(draw(st.sampled_from([0, NOW_MS])) + draw(milliseconds)) / 1000
    if draw(st.integers(0, 3)) == 0:
        record["bv"] = Decimal(draw(st.integers(-100, 100)))
    record["n"] = draw(names)
    record["v"] = Decimal(draw(st.integers(-1000, 1000))) / 8
    if draw(st.booleans()):
        record["t"] = Decimal(draw(milliseconds)) / 1000
    return record


def resolved(pack: Sequence[dict[str, Any]], record_ms: int, key: str) -> list[tuple[str, int, float]]:
    """RFC 8428, section 4.6, in exact decimals."""
    held: dict[str, Any] = {"bn": "", "bt": Decimal(0), "bv": Decimal(0)}
    found = []
    for record in pack:
        held = {field: record.get(field, before) for field, before in held.items()}
        ms = int((held["bt"] + record.get("t", Decimal(0))) * 1000)
        name = held["bn"] + record["n"] or key
        found.append((name, ms + (record_ms if ms < 2**28 * 1000 else 0), float(held["bv"] + record["v"])))
    return found


@given(st.lists(st.lists(records(), max_size=5), min_size=1, max_size=6))
@settings(max_examples=120, deadline=None)
def test_packs_resolve_as_the_rfc_says(packs: list[list[dict[str, Any]]]) -> None:
    messages = poll([json.dumps(pack, default=float).encode() for pack in packs])
    found = decoded(*messages, min_timestamp=0, max_future="1d")
    assert rows(found) == [row for pack in packs for row in resolved(pack, NOW_MS, "pump-7")]


@given(st.one_of(st.floats(allow_nan=False), st.integers(-(10**13), 10**13).map(lambda ms: ms / 1000)))
@example(1767225600.123)
@example(-0.0004999)
@example(1.7e308)
def test_one_time_scales_as_many_do(seconds: float) -> None:
    assert seconds_to_ms(seconds) == scale_floats(np.array([seconds]), "s")[0]


# --- together as alone ------------------------------------------------------------------------------------------------

anything = st.sampled_from([None, True, "x", 1, -2.5, 1e999, 10**400, [], {}, NOW_S, float("nan"), "a\n", ""])
odd = st.dictionaries(
    st.sampled_from(["bn", "bt", "bv", "bu", "bver", "n", "t", "v", "vs", "vb", "s", "u", "x", "x_"]), anything
)
odd_packs = st.lists(st.one_of(records(), odd, st.just(7)), max_size=4)
texts = st.one_of(
    odd_packs.map(lambda pack: json.dumps(pack, default=float).encode()),
    st.lists(records(), max_size=4).map(lambda pack: json.dumps(pack, default=float).encode()),
    st.sampled_from([b"", b"null", b"{}", b"[", b"]", b'[{"n":"a","v":1}],[', b'[{"v":1}', b"\xff"]),
)


@given(st.lists(texts, max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_poll_gives_what_its_packs_give_one_by_one(values: list[bytes]) -> None:
    messages = poll(values, partitions=2)
    together = decoded(*messages, partition_count=2)
    with mock.patch.object(wire_senml, "decode_packs", return_value=None):
        alone = decoded(*messages, partition_count=2)
    assert rows(together) == rows(alone)
    assert together.dead_letters == alone.dead_letters
    assert {p: r.offsets.tolist() for p, r in together.readings.items()} == {
        p: r.offsets.tolist() for p, r in alone.readings.items()
    }


def test_the_usual_pack_is_not_read_one_by_one() -> None:
    pack = [
        {"bn": "p.", "bt": NOW_S, "bu": "Cel", "bver": 10},
        {"n": "a", "v": 1, "u": "V"},
        {"n": "b", "v": 2, "t": -1},
    ]
    with mock.patch.object(wire_senml, "read_pack", side_effect=AssertionError("one by one")):
        assert len(rows(decoded(*poll([pack] * 50)))) == 100
