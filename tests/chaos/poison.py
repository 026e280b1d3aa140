"""Messages that no producer should send, and what must be true of a poll of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from stream_app.dead_letters.record import encode_dead_letter
from stream_app.wire.decoded import REASONS
from stream_app.wire.json import decode
from tests.app.polls import NOW_MS, message, spec

DEEP = 100_000


def good(series_id: str, at_ms: int, value: Any) -> str:
    return json.dumps({"series_id": series_id, "timestamp": at_ms, "value": value})


def reading_text(series_id: str, at_ms: int, value: str) -> bytes:
    """`value` as it stands in the text."""
    return f'{{"series_id":"{series_id}","timestamp":{at_ms},"value":{value}}}'.encode()


def poisons(at_ms: int) -> list[tuple[bytes, str]]:
    """(value, reason) of messages with a usable key, of series s0 at a time that is as it should be."""
    return [
        *((reading_text("s0", at_ms, word), "not_finite") for word in ("NaN", "Infinity", "-Infinity", "1e999")),
        (reading_text("s0", at_ms, "9" * 5000), "not_finite"),
        (reading_text("s0", at_ms, "-" + "9" * 400), "not_finite"),
        (b'{"series_id":"s0","timestamp":' + b"9" * 5000 + b',"value":1}', "timestamp_out_of_range"),
        (b'{"series_id":"s0","timestamp":1e999,"value":1}', "timestamp_out_of_range"),
        (b'{"series_id":"s0","timestamp":NaN,"value":1}', "malformed"),
        (b"[" * DEEP, "malformed"),
        (b"[" * DEEP + b"]" * DEEP, "malformed"),
        (b'{"value":' * 50_000, "malformed"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "malformed"),
        (b'{"series_id":"s0","value":1,"tags":' + b"[" * 5000 + b"]" * 5000 + b"}", "malformed"),
        (b"", "malformed"),
        (b" ", "malformed"),
        (b"\x00" * 100, "malformed"),
        (b"\xff\xfe{}", "malformed"),
        (b'{"series_id":"\xff","value":1}', "malformed"),
        (b'{"series_id":"s0","value":1,"note":"\xed\xa0\x80"}', "malformed"),
        (b'{"series_id":"\\ud800","value":1}', "malformed"),
        (b'{"series_id":"s0","value":1,"value":"x"}', "malformed"),
        (b'{"series_id":"s0","value":true}', "malformed"),
        (b'{"series_id":"s0","value":1}{"series_id":"s0","value":2}', "malformed"),
        (b'{"series_id":"' + b"s" * 100_000 + b'","value":1}', "malformed"),
        (b"\x00\x00\x00\x00\x07avro", "malformed"),
        (reading_text("s0", at_ms, "1") + b" " * 8_000_000, "too_large"),
    ]


def assert_accounted(values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> None:
    """Each message is readings, a deletion, or dead letters that keep it as it was; a few say nothing at all."""
    stream = spec()
    polled = [
        message(value, key=key, offset=offset) for offset, (value, key) in enumerate(zip(values, keys, strict=True))
    ]
    whole = decode(stream, polled, now_ms=NOW_MS, partition_count=2)
    used: set[int] = set()
    if 0 in whole.readings:
        readings = whole.readings[0]
        assert all(map(math.isfinite, readings.values.tolist()))
        used = set(readings.offsets.tolist()) | {offset for offset, _ in readings.deletions}
    dead = {letter.offset for letter in whole.dead_letters}
    for each in polled:
        assert each.offset() in used or each.offset() in dead or says_nothing(each), each.value()
    for letter in whole.dead_letters:
        record = encode_dead_letter(stream, "pumps", letter)
        headers = {name: (value or b"").decode() for name, value in record.headers}
        assert headers["tidecast.error.reason"] in REASONS
        assert headers["tidecast.error.offset"] == str(letter.offset)
        assert record.key == keys[letter.offset]
        kept, original = record.value, values[letter.offset]
        assert kept == original or (original or b"").startswith(kept or b"x")
    _assert_same_alone(stream, polled, whole.dead_letters)


def _assert_same_alone(stream: Any, polled: list[Message], dead_letters: list[Any]) -> None:
    """A bad neighbour changes nothing: each message alone leads to the dead letters it leads to among others."""
    alone = []
    for each in polled:
        alone += decode(stream, [each], now_ms=NOW_MS, partition_count=2).dead_letters
    assert alone == dead_letters


def says_nothing(each: Message) -> bool:
    """An empty array, or a pack without values: fine, and no reading."""
    document = json.loads(each.value())
    return document == [] or (isinstance(document, dict) and document.get("values") == {})
