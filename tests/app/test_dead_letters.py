"""A dead letter keeps the message as it was; a partition with too many of them is noticed."""

import hashlib
import json

import numpy as np
import pytest

from stream_app.dead_letters.record import MalformedShare, encode_dead_letter
from stream_app.wire.decoded import DeadLetter
from tests.app.polls import NOW_MS, message, spec


def headers_of(letter: DeadLetter, **changes: object) -> dict[str, bytes | None]:
    return dict(encode_dead_letter(spec(**changes), "pumps", letter).headers)


def test_the_message_is_unchanged_and_the_headers_say_why() -> None:
    original = message(b"\xff", key=b"k", partition=3, offset=41, headers=[("trace", b"7")])
    record = encode_dead_letter(spec(), "pumps", DeadLetter.of(original, "malformed", "no UTF-8: °", ["a", "#2"]))
    assert (record.topic, record.key, record.value, record.timestamp_ms) == (
        "pumps.dead-letters",
        b"k",
        b"\xff",
        NOW_MS,
    )
    headers = dict(record.headers)
    assert headers.pop("trace") == b"7"
    assert {name.removeprefix("tidecast.error."): (text or b"").decode() for name, text in headers.items()} == {
        "reason": "malformed",
        "detail": "no UTF-8: °",
        "topic": "pumps",
        "partition": "3",
        "offset": "41",
        "readings": json.dumps(["a", "#2"]),
    }


def test_above_the_bound_the_beginning_is_kept_and_the_sum_names_the_whole() -> None:
    value = bytes(range(256)) * 1000
    letter = DeadLetter.of(message(value), "too_large", "…")
    record = encode_dead_letter(spec(dead_letter_bytes_max=100_000), "pumps", letter)
    assert record.value == value[:65_536]
    assert dict(record.headers)["tidecast.error.sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert "tidecast.error.sha256" not in headers_of(letter, dead_letter_bytes_max=len(value))


def test_a_dead_letter_of_a_message_as_large_as_the_broker_takes_is_not_larger() -> None:
    fat = [("first", b"1"), ("fat", b"x" * 500_000), ("last", b"2")]
    letter = DeadLetter.of(message(b"y" * 70_000, key=b"k" * 400_000, headers=fat), "malformed", "…")
    record = encode_dead_letter(spec(), "pumps", letter)
    headers = dict(record.headers)
    assert (record.key, record.value) == (b"k" * 65_536, b"y" * 65_536)
    assert headers["first"] == b"1"
    assert headers["tidecast.error.key_sha256"] == hashlib.sha256(b"k" * 400_000).hexdigest().encode()
    assert headers["tidecast.error.headers_left_out"] == b"2"
    assert "fat" not in headers


def test_a_requeued_message_gets_the_headers_of_its_newest_failure() -> None:
    original = message(b"{", headers=[("tidecast.error.reason", b"too_late"), ("tidecast.error.offset", b"9")])
    names = [name for name, _ in encode_dead_letter(spec(), "pumps", DeadLetter.of(original, "malformed", "")).headers]
    assert len(names) == len(set(names))
    assert headers_of(DeadLetter.of(original, "malformed", ""))["tidecast.error.reason"] == b"malformed"


def test_tombstones_and_unkeyed_messages_can_be_dead_letters() -> None:
    record = encode_dead_letter(spec(), "pumps", DeadLetter.of(message(None, key=None), "unkeyed", "no key"))
    assert (record.key, record.value) == (None, None)


def test_half_a_surrogate_pair_does_not_keep_a_dead_letter_from_being_written() -> None:
    letter = DeadLetter.of(message(b"[]"), "malformed", "name \ud800", ["\ud800"])
    assert headers_of(letter)["tidecast.error.detail"] == b"name ?"


def test_more_than_the_limit_of_the_last_messages_is_noticed() -> None:
    share = MalformedShare(limit=0.5, window=10)
    share = share.after(np.array([True, False] * 5))
    assert not share.exceeded
    assert share.after(np.array([True])).exceeded is False  # the oldest, a bad one, leaves the window
    assert share.after(np.array([True, True])).exceeded


def test_a_few_bad_first_messages_do_not_hold_a_partition() -> None:
    assert not MalformedShare(limit=0.5, window=10).after(np.ones(5, bool)).exceeded
    assert MalformedShare(limit=0.5, window=10).after(np.ones(6, bool)).exceeded


@pytest.mark.parametrize("cuts", [1, 3, 7, 50])
def test_the_verdict_does_not_depend_on_how_the_log_was_cut(cuts: int, rng: np.random.Generator) -> None:
    for _ in range(50):
        flags = rng.random(60) < rng.random()
        whole = MalformedShare(limit=0.5, window=8).after(flags)
        parts = MalformedShare(limit=0.5, window=8)
        for part in np.split(flags, np.sort(rng.integers(0, 60, cuts))):
            parts = parts.after(part)
        assert parts == whole


def test_it_stays_so_and_says_where_to_look() -> None:
    share = MalformedShare(limit=0.5, window=4).after(np.ones(3, bool)).after(np.zeros(100, bool))
    assert share.exceeded
    sentence = share.sentence("pumps[3]", "pumps.dead-letters")
    assert "pumps[3] is held: more than 50% of its last 4 messages" in sentence
    assert "kept in pumps.dead-letters" in sentence
