"""Decoding a poll together gives exactly what decoding each message alone gives, whatever the bytes are."""

import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import stream_app.wire.json as wire_json
from stream_app.wire.decoded import DecodedPoll
from tests.app.polls import NOW_MS, message, poll, spec

MAPPED = {"series_id": "meta.id", "entity": "meta.device", "timestamp": "at", "value": "data.v", "values": "data.all"}
SPECS = {
    "default": spec(max_future="1h"),
    "seconds": spec(timestamp_unit="s"),
    "nanoseconds": spec(timestamp_unit="ns"),
    "mapped": spec(fields=MAPPED),
    "overlapping paths": spec(fields={"value": "values.main"}),
    "filtered": spec(include=["a*", "*.b"]),
    "future": spec(future_covariates=["b"], max_future="0s"),
}

names = st.one_of(
    st.sampled_from(["a", "b", "pump-7.temp", "a.b", "", "é", "a\n", "\x7f", "\u0085", "x" * 1025, "日本" * 300]),
    st.text(max_size=5),
)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.sampled_from([0, -0.0, 1.5, 10**400, None, True, "1", [], {}]),
)
times = st.one_of(
    st.integers(NOW_MS - 10**7, NOW_MS + 10**7),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.sampled_from(
        ["2026-03-01T10:00:00Z", "2026-03-01T11:30:00.999999+01:00", "0001-01-01T00:00:00+14:00", "2026-03-01"]
    ),
    st.sampled_from(["9999-12-31T23:59:59.999Z", "2026-03-01T10:00:00", "", None, True, [], 10**5000]),
)
single = st.fixed_dictionaries({"value": numbers}, optional={"series_id": names, "timestamp": times, "tags": names})
pack = st.fixed_dictionaries(
    {"values": st.dictionaries(names, numbers, max_size=4)}, optional={"entity": names, "timestamp": times}
)
mapped = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({}, optional={"v": numbers, "all": st.dictionaries(names, numbers, max_size=3)})},
    optional={"meta": st.fixed_dictionaries({}, optional={"id": names, "device": names}), "at": times},
)
documents = st.one_of(single, pack, mapped, st.lists(st.one_of(single, pack), max_size=3), numbers)


def write(document: Any, spaced: bool, ascii_only: bool) -> bytes:
    # 10**5000 is over Python's limit for turning numbers into text
    with mock.patch.object(json.encoder.JSONEncoder, "default", str):
        text = json.dumps(document, indent=1 if spaced else None, ensure_ascii=ascii_only)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def written(draw: st.DrawFn) -> bytes:
    document = draw(documents)
    try:
        return write(document, draw(st.booleans()), draw(st.booleans()))
    except ValueError:
        return b'{"value":1,"timestamp":' + b"1" * 5000 + b"}"


@st.composite
def mutilated(draw: st.DrawFn) -> list[bytes]:
    """Good messages cut in two, glued together, with a byte changed: what could join to something whole."""
    whole = draw(written())
    if not whole:
        return [whole]
    place = draw(st.integers(0, len(whole)))
    how = draw(st.sampled_from(["cut", "cut at comma", "glue", "line", "byte", "white", "twice"]))
    if how == "cut":
        return [whole[:place], whole[place:]]
    if how == "cut at comma":
        before, _, after = whole.partition(b",")
        return [before, after]
    if how in ("glue", "line", "twice"):
        return [whole + {"glue": b",", "line": b"\n", "twice": b""}[how] + draw(written())]
    if how == "white":
        return [draw(st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"\xef\xbb\xbf"])) + whole + b"\n"]
    return [whole[:place] + draw(st.binary(min_size=1, max_size=1)) + whole[place + 1 :]]


polls = st.lists(
    st.one_of(written().map(lambda one: [one]), mutilated(), st.binary(max_size=12).map(lambda one: [one])), max_size=12
).map(lambda parts: [one for part in parts for one in part])


def both_ways(chosen: str, messages: Sequence[Any], partition_count: int = 2) -> tuple[DecodedPoll, DecodedPoll]:
    def decode() -> DecodedPoll:
        return wire_json.decode(SPECS[chosen], messages, now_ms=NOW_MS, partition_count=partition_count)

    together = decode()
    with (
        mock.patch.object(wire_json, "decode_together", return_value=None),
        mock.patch.object(wire_json, "plain_messages", return_value=None),
    ):
        return together, decode()


def assert_same(left: DecodedPoll, right: DecodedPoll) -> None:
    assert left.readings.keys() == right.readings.keys()
    for partition, readings in left.readings.items():
        other = right.readings[partition]
        assert readings.series_ids == other.series_ids
        assert readings.timestamps_ms.tolist() == other.timestamps_ms.tolist()
        assert readings.values.tobytes() == other.values.tobytes()
        assert readings.offsets.tolist() == other.offsets.tolist()
        assert readings.deletions == other.deletions
    assert left.dead_letters == right.dead_letters
    assert left.clock_rejections == right.clock_rejections
    assert {p: flags.tolist() for p, flags in left.malformed.items()} == {
        p: flags.tolist() for p, flags in right.malformed.items()
    }
    assert left.excluded == right.excluded


A, B = b'{"series_id":"x","timestamp":1,"value":1}', b'{"series_id":"y","timestamp":1,"value":2}'


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(SPECS)), polls, st.sampled_from([b"key", b"a", b"\xff", b"a\n", None]))
@example("default", [A[:-1] + b"," + B[1:20], B[20:]], b"key")
@example("default", [A + b"," + B[:18], b'"timestamp":1,"value":2}'], b"key")
@example("default", [A + B, b" "], b"key")
@example("default", [A + B, A], b"key")
@example("default", [A + b"\n" + B[:18], B[18:]], b"key")
@example("default", [b'{"value":1,"tags":"}', b'{"}', A + B], b"key")
@example("default", [b'{"value":1,"tags":"\xc3', b'\xa9"}'], b"key")
@example("default", [b'{"value":1,"tags":"\xff"}'], b"key")
@example("default", [b"[" * 300 + b"]" * 300, b'{"value":1,"t":' + b"[" * 250 + b"]" * 250 + b"}"], b"key")
@example("default", [b'{"value":1,"t":' + b"[" * 300 + b"]" * 300 + b"}"], b"key")
@example("default", [b'{"value":1,"t":"' + b"[" * 300 + b'"}'], b"key")
@example("default", [b'{"value":1,"t":"\\"' + b"[" * 300 + b'"}'], b"key")
@example("default", [b'{"value":1e999}', b'{"values":{"a":-1e999,"b":1}}'], b"key")
@example("default", [b'{"value":1,"value":2}', b'{"values":{"a":1,"b":2,"a":3}}'], b"key")
@example("default", [b'{"\\u0076alue":1}', b'{"value":1,"tags":"\\ud800"}', b'{"value":1,"timestamp":1e999}'], b"key")
def test_together_is_as_one_by_one(chosen: str, values: list[bytes], key: bytes | None) -> None:
    messages = poll(values, keys=[key] * len(values), partitions=2)
    assert_same(*both_ways(chosen, messages, partition_count=1 if key is None else 2))


def test_a_large_poll_with_a_few_bad_messages_is_as_one_by_one(rng: Any) -> None:
    values = [
        json.dumps({"series_id": f"s{i % 50}", "timestamp": NOW_MS + i, "value": i / 7}).encode() for i in range(999)
    ]
    for place in rng.integers(0, 999, 20):
        values[place] = values[place][:-3]
    together, alone = both_ways("default", poll(values, keys=[b"k"] * 999, partitions=3))
    assert_same(together, alone)
    assert len(together.dead_letters) == sum(not value.endswith(b"}") for value in values)


runs = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 12)), min_size=1, max_size=20)
gaps = st.lists(st.sampled_from([1, 1, 1, 1, 1, 2, 5]), min_size=240, max_size=240)


@settings(max_examples=200, deadline=None)
@given(runs, gaps, st.sets(st.integers(0, 239), max_size=4), st.sets(st.integers(0, 239), max_size=4))
def test_each_reading_keeps_its_place_in_the_log_however_runs_and_gaps_fall(
    runs: list[tuple[int, int]], gaps: list[int], bad: set[int], deleted: set[int]
) -> None:
    """Markers of transactions and compaction leave gaps; a partition may come once in a poll or many times."""
    ends: dict[int, int] = {}
    messages = []
    expected: dict[int, list[tuple[str, int]]] = {}
    lost: list[tuple[int, int]] = []
    gone: dict[int, list[tuple[int, str]]] = {}
    for partition, length in runs:
        for _ in range(length):
            place = len(messages)
            offset = ends[partition] = ends.get(partition, 10**6) + gaps[place]
            name = f"{partition}@{offset}"
            value: Any = {"series_id": name, "timestamp": NOW_MS - place, "value": place}
            if place in bad:
                value = b"{" * 3
                lost.append((partition, offset))
            elif place in deleted:
                value = None
                gone.setdefault(partition, []).append((offset, name))
            else:
                expected.setdefault(partition, []).append((name, offset))
            messages.append(message(value, key=name.encode(), partition=partition, offset=offset))
    decoded = wire_json.decode(SPECS["default"], messages, now_ms=NOW_MS, partition_count=301)
    found = {p: list(zip(r.series_ids, r.offsets.tolist(), strict=True)) for p, r in decoded.readings.items() if len(r)}
    assert found == expected
    assert {p: list(r.deletions) for p, r in decoded.readings.items() if r.deletions} == gone
    assert [(letter.partition, letter.offset) for letter in decoded.dead_letters] == lost
    counts = {p: sum(length for at, length in runs if at == p) for p, _ in runs}
    assert {p: len(flags) for p, flags in decoded.malformed.items()} == counts
    assert sum(int(flags.sum()) for flags in decoded.malformed.values()) == len(lost)


plain = st.lists(
    st.one_of(
        st.fixed_dictionaries({"series_id": names, "timestamp": times, "value": numbers}, optional={"tags": names}),
        st.fixed_dictionaries({"entity": names, "timestamp": times, "values": st.dictionaries(names, numbers)}),
        st.fixed_dictionaries({"timestamp": times, "values": st.dictionaries(names, numbers)}),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(plain, st.sampled_from(sorted(SPECS)))
def test_what_the_loop_in_c_takes_the_typed_decoder_takes_alike(documents: list[Any], chosen: str) -> None:
    try:
        messages = poll([write(document, spaced=False, ascii_only=True) for document in documents])
    except ValueError:
        return
    with_loop = both_ways(chosen, messages)[0]
    with mock.patch.object(wire_json, "plain_messages", return_value=None):
        assert_same(with_loop, both_ways(chosen, messages)[0])


@pytest.mark.parametrize(
    "values",
    [
        [A, B],
        [b'{"value":1}', b'{"timestamp":"2026-03-01T10:00:00Z","value":2}'],
        [b'{"entity":"p","values":{"a":1,"b":2}}', b'{"values":{"c":3}}', A],
        [b"[" + A + b"," + B + b"]", b"[]", A],
        [A + b"\n", b" " + B],
        [json.dumps(json.loads(A), indent=2).encode(), B],
    ],
    ids=["readings", "parts missing", "packs and readings", "arrays", "white space", "pretty-printed"],
)
def test_good_polls_take_the_fast_way(values: list[bytes]) -> None:
    """Otherwise the property above would hold and the speed be gone."""
    messages = [message(value, offset=offset) for offset, value in enumerate(values)]
    with mock.patch.object(wire_json, "read_message", side_effect=AssertionError("one by one")):
        decoded = wire_json.decode(SPECS["default"], messages, now_ms=NOW_MS, partition_count=2)
    assert decoded.dead_letters == []
    assert len(decoded.readings[0]) >= len(values)
