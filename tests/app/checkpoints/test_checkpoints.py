"""What is read is the last acknowledged checkpoint, bit by bit, whatever happened to a later one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from model_core.columns import BLOCK, Field
from model_core.spec import StreamSpec
from stream_app.checkpoints import (
    StateMismatch,
)
from tests.app.checkpoints.small_state import FIELDS, SmallState
from tests.app.checkpoints.worker import IDENTITY, SPEC, assert_equal, assert_reads, reread

# --- what comes back --------------------------------------------------------------------------------------------------


def test_nothing_written_reads_as_nothing(start):
    assert start().resume() is None


def test_a_state_comes_back_as_it_was_cut(start, worker, rng):
    copy, expected = worker.copy(), worker.state.facts()
    worker.state.close_tick(rng)  # observed after the copy: not in it
    worker.write(copy)
    other = start()
    header = other.resume()
    assert_equal(other.state.facts(), expected)
    assert (header.next_offset, header.watermark_ms) == (copy.header.next_offset, 102_000)
    assert (header.model_version, header.journal_position, header.owner) == ("m1", 7, worker.token.counter)
    assert header.meta["share"] == 0.1 + 0.2
    assert np.isnan(header.meta["unknown"])
    assert header.meta["words"] == ["ü", "\x00"]


def test_an_empty_state_is_a_state(start):
    worker = start()
    worker.checkpoint()
    assert_reads(start, worker.state.facts())


def test_rows_that_are_not_live_come_back_at_their_fill_value(start, worker, rng):
    for _ in range(30):
        worker.state.close_tick(rng)
    worker.checkpoint()
    other = start()
    other.resume()
    first, last = worker.state.live_rows()
    free = np.setdiff1d(np.arange(16), np.arange(first, last + 1) % 16)
    assert len(free) == 7
    assert np.isnan(other.state.columns.arrays["ring"][:2, free]).all()


def test_a_worker_that_read_goes_on_with_deltas(start, worker, rng):
    other = start()
    other.resume()
    for _ in range(3):
        other.state.close_tick(rng)
        assert not other.checkpoint().full
        assert_equal(reread(other), other.state.facts())


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_a_closed_tick_of_256_aligned_series_is_one_ring_piece(start, rng):
    worker = start()
    worker.state = SmallState(tuple(field for field in FIELDS if field.name != "pending"))
    worker.state.add(*(f"s{i}" for i in range(BLOCK)))
    worker.state.close_tick(rng)
    worker.checkpoint()
    worker.checkpoint()
    worker.state.close_tick(rng)
    copy = worker.copy()
    assert [(p.row, len(p.data)) for p in copy.pieces if p.field == "ring"] == [(worker.state.tick % 16, BLOCK * 4)]
    assert copy.overlay == b""
    assert worker.write(copy).commands == 2  # the pieces, the header


def test_a_checkpoint_without_changes_writes_no_pieces(worker):
    worker.checkpoint()
    worker.checkpoint()
    written = worker.checkpoint()
    assert (written.bytes_written, written.pieces, written.commands, written.full) == (0, 0, 1, False)


def test_nothing_expires(worker, redis_client):
    assert {redis_client.ttl(key) for key in redis_client.scan_iter()} == {-1}


def test_a_full_snapshot_leaves_no_key_that_it_does_not_name(worker, redis_client, rng):
    for _ in range(3):
        worker.copy()  # dropped: the next one is a full snapshot
        worker.state.close_tick(rng)
        assert worker.checkpoint().full
        worker.state.close_tick(rng)
        worker.checkpoint()
    copy = worker.copy()
    worker.write(copy)
    labels = {key.decode().split(":")[3] for key in redis_client.scan_iter()} - {"owner", "header", "keys"}
    assert labels == set(copy.header.labels)


# --- late corrections -------------------------------------------------------------------------------------------------


def test_a_late_correction_goes_into_the_overlay_and_then_in_place(start, worker):
    tick = worker.state.tick - 3
    worker.state.put(np.array([5]), tick, [42.0])
    first = worker.copy()
    worker.write(first)
    assert first.overlay_rows["ring"].sum() == 1
    assert not [piece for piece in first.pieces if piece.field == "ring"]
    assert_equal(reread(worker), worker.state.facts())
    second = worker.copy()
    worker.write(second)
    assert not second.overlay_rows["ring"].any()
    assert [(p.block, p.row) for p in second.pieces if p.field == "ring"] == [(0, tick % 16)]
    assert_reads(start, worker.state.facts())


def test_more_ticks_than_free_rows_between_two_checkpoints_are_kept(start, worker, rng):
    for _ in range(40):
        worker.state.close_tick(rng)
    worker.checkpoint()
    assert_reads(start, worker.state.facts())


def test_more_corrections_than_an_overlay_carries_become_a_full_snapshot(start, worker, rng, monkeypatch):
    monkeypatch.setattr("stream_app.checkpoints.state_copy.OVERLAY_BYTES_MIN", 0)
    for tick in range(worker.state.tick - 5, worker.state.tick):
        worker.state.put(worker.state.series(), tick, rng.normal(size=300))
    assert worker.checkpoint().full
    assert_reads(start, worker.state.facts())


# --- what is refused, what is rebuilt ---------------------------------------------------------------------------------


def test_without_any_one_piece_the_state_is_rebuilt_never_zeros(start, worker, redis_client):
    worker.state.put(np.array([5]), worker.state.tick - 3, [42.0])
    copy = worker.copy()
    worker.write(copy)
    expected = worker.state.facts()
    prefix = worker.keys.prefix
    for key, length in copy.header.pieces():
        name = f"{prefix}:{key}"
        kept = redis_client.get(name)
        assert len(kept) == length
        for damaged in (None, kept[:-1], kept + b"x"):
            redis_client.delete(name) if damaged is None else redis_client.set(name, damaged)
            assert start().resume() is None, key
        redis_client.set(name, kept)
    assert_reads(start, expected)


def test_after_a_rebuild_the_next_checkpoint_is_a_full_one_with_a_higher_number(start, worker, redis_client, rng):
    number = worker.copy().header.checkpoint
    redis_client.delete(*redis_client.scan_iter(match="*:ids:*"))
    other = start()
    assert other.resume() is None
    other.state.add("rebuilt")
    copy = other.copy()
    assert other.write(copy).full
    assert copy.header.checkpoint >= number
    assert_reads(start, other.state.facts())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cluster_id": "cluster-2"}, "cluster id"),
        ({"topic_id": "topic-2"}, "topic was deleted and created again"),
        ({"partition_count": 5}, "Keys have moved"),
        ({"group": "other"}, "consumer group"),
    ],
)
def test_the_state_of_another_log_is_refused_with_what_differs(worker, changes, words):
    identity = msgspec.structs.replace(IDENTITY, **changes)
    token = worker.store.acquire("s", 0, SPEC, identity)
    (value,) = changes.values()
    with pytest.raises(StateMismatch, match=words) as raised:
        worker.store.read(token, SmallState.restore)
    assert repr(value) in str(raised.value)


def test_another_configuration_is_refused_and_a_setting_without_meaning_for_the_state_is_not(worker):
    token = worker.store.acquire("s", 0, StreamSpec(topic="readings", freq="5min"), IDENTITY)
    with pytest.raises(StateMismatch, match=r"fingerprint.*reset --to earliest"):
        worker.store.read(token, SmallState.restore)
    token = worker.store.acquire("s", 0, StreamSpec(topic="readings", freq="10min", max_future="2h"), IDENTITY)
    assert worker.store.read(token, SmallState.restore) is not None


@pytest.mark.parametrize(
    "fields",
    [FIELDS[:-1], (*FIELDS[:-1], Field("last_tick", np.float64)), (*FIELDS, Field("new", np.int8))],
    ids=["field gone", "other type of the same size", "new field"],
)
def test_another_layout_is_refused_never_misread(worker, fields):
    def build(meta: dict[str, Any], ids: list[bytes], pieces: Any) -> SmallState:
        state = SmallState(fields)
        state.columns.load(ids, pieces)
        return state

    with pytest.raises(StateMismatch, match=r"Expected (one of|state layout)"):
        worker.store.read(worker.token, build)


def test_a_header_of_another_format_is_refused_and_an_unreadable_one_is_rebuilt(worker, redis_client):
    name = f"{worker.keys.prefix}:header"
    redis_client.hset(name, "body", b'{"format": 2}')
    with pytest.raises(StateMismatch, match="another version of tidecast"):
        worker.resume()
    redis_client.hset(name, "body", b"no json")
    assert worker.resume() is None
