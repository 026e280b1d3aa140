"""Ranges read from the socket: the bytes that are there, in their places, and a connection that nothing is left on."""

from __future__ import annotations

import pytest
import redis

from stream_app.checkpoints.bulk_read import AHEAD_BYTES, Range, WrongLength, read_ranges
from stream_app.checkpoints.client import connect

MIB = 1 << 20


@pytest.fixture
def client(redis_url: str):
    made = connect(redis_url, timeout_s=2.0)
    yield made
    made.close()


def place(length: int) -> memoryview:
    return memoryview(bytearray(length))


def test_every_range_is_what_the_store_holds(client, application_id, rng):
    """Small and large, more of them than are asked for ahead, beginnings and middles of keys, and nothing at all."""
    held = {f"{{{application_id}}}:{i}": rng.bytes(int(size)) for i, size in enumerate([3, 900, MIB, 3 * MIB])}
    for key, data in held.items():
        client.set(key, data)
    ranges: list[Range] = []
    while sum(each.length for each in ranges) <= 2 * AHEAD_BYTES:
        key = list(held)[int(rng.integers(len(held)))]
        start, end = sorted(rng.integers(0, len(held[key]) + 1, 2).tolist())
        ranges.append(Range(key, start, end - start))
    for each, answer in zip(ranges, read_ranges(client, ranges), strict=True):
        found = place(answer.length)
        answer.read(found)
        assert found == held[each.key][each.start : each.start + each.length]
    assert client.ping()


@pytest.mark.parametrize("there", [b"", b"12345"])
@pytest.mark.parametrize("expected", [9, 12_345])
def test_a_key_that_is_shorter_is_named(client, application_id, there, expected):
    key = f"{{{application_id}}}:short"
    if there:
        client.set(key, there)
    answers = read_ranges(client, [Range(key, 0, expected)])
    with pytest.raises(WrongLength, match=f"short: expected {expected} bytes, found {len(there)}"):
        next(answers).read(place(expected))
    answers.close()
    assert client.ping()


def test_what_the_server_says_instead_is_raised(client, application_id):
    key = f"{{{application_id}}}:other"
    client.rpush(key, b"1")
    answers = read_ranges(client, [Range(key, 0, 10)])
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        next(answers).read(place(10))
    answers.close()
    assert client.ping()


def test_who_stops_half_way_leaves_no_answers_behind(client, application_id):
    key = f"{{{application_id}}}:long"
    client.set(key, b"x" * MIB)
    answers = read_ranges(client, [Range(key, 0, MIB)] * 5)
    next(answers).read(place(MIB))
    answers.close()
    assert client.get(key) == b"x" * MIB


def test_a_server_that_does_not_answer_is_a_timeout(redis_url, redis_client, application_id):
    key = f"{{{application_id}}}:slow"
    redis_client.set(key, b"x" * MIB)
    with connect(redis_url, timeout_s=0.2) as client:
        client.ping()
        answers = read_ranges(client, [Range(key, 0, MIB)])
        redis_client.execute_command("CLIENT", "PAUSE", "900")
        with pytest.raises(redis.exceptions.TimeoutError):
            next(answers).read(place(MIB))
