"""A write that is cut off, refused or taken back leaves the last acknowledged checkpoint whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from stream_app.checkpoints import (
    BaseMismatch,
    CheckpointStore,
    OwnershipLost,
    StoreUnavailable,
    connect,
)
from stream_app.checkpoints.reading import Unusable
from stream_app.errors import TidecastError
from tests.app.checkpoints.small_state import MortalClient, dump, random_step, take_back
from tests.app.checkpoints.worker import IDENTITY, SPEC, TINY, Worker, assert_equal, assert_reads, reread

# --- cut off ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("executes_last", [False, True])
def test_killed_at_any_command_a_write_leaves_the_last_checkpoint_or_the_new_one(
    redis_client, application_id, seed, full, executes_last
):
    """Growth, new ticks, a correction and a deleted series, killed at each command in turn."""
    commands, dies_at = 1_000, 1
    while dies_at <= commands:
        rng = np.random.default_rng(seed)
        mortal = MortalClient(redis_client)
        worker = Worker(mortal, f"{application_id}-{dies_at}", **TINY)
        worker.state.add(*(f"s{i}" for i in range(200)))
        for _ in range(3):
            worker.state.close_tick(rng)
            worker.checkpoint()
        before = worker.state.facts()
        worker.state.add(*(f"t{i}" for i in range(100)))
        worker.state.columns.remove(np.array([3]))
        worker.state.put(np.array([7, 9]), worker.state.tick - 2, [1.0, 2.0])
        worker.state.close_tick(rng)
        after = worker.state.facts()
        if full:
            worker.copy()
        copy = worker.copy()
        mortal.live_for(dies_at, executes_last=executes_last)
        try:
            worker.write(copy)
            commands = 0  # it lived: all commands were tried
        except StoreUnavailable:
            pass
        mortal.live_for(None)
        other = Worker(redis_client, f"{application_id}-{dies_at}")
        header = other.resume()
        assert header is not None
        stands = header.checkpoint == copy.header.checkpoint
        assert_equal(other.state.facts(), after if stands else before)
        redis_client.flushdb()
        dies_at += 1
    assert dies_at > 20


def test_any_life_with_any_cuts_reads_back_bit_equal(redis_client, application_id, rng):
    """Random lives, killed writes, retries, dropped copies and restarts; each read equals what was copied."""
    mortal = MortalClient(redis_client)
    worker = Worker(mortal, application_id, **TINY)
    copied_facts: dict[int, dict[str, Any]] = {}
    acknowledged, fulls = 0, 0
    for step in range(250):
        random_step(worker.state, rng, step)
        if rng.random() < 0.05:
            worker.copy()  # its transaction was aborted: dropped
        copy = worker.copy()
        fulls += copy.full
        copied_facts[copy.header.checkpoint] = worker.state.facts()
        dies = rng.random() < 0.3
        mortal.live_for(int(rng.integers(1, 60)) if dies else None, executes_last=rng.random() < 0.5)
        try:
            worker.write(copy)
            acknowledged = copy.header.checkpoint
        except StoreUnavailable:
            mortal.live_for(None)
            if rng.random() < 0.5:
                worker.write(copy)  # the same again
                acknowledged = copy.header.checkpoint
        mortal.live_for(None)
        if rng.random() < 0.3:
            worker = Worker(mortal, application_id, **TINY)
            header = worker.resume()
            if header is None:
                assert acknowledged == 0
                continue
            assert header.checkpoint >= acknowledged
            assert_equal(worker.state.facts(), copied_facts[header.checkpoint])
            acknowledged = header.checkpoint
    assert acknowledged > 150
    assert fulls < 150


# --- owners and failovers ---------------------------------------------------------------------------------------------


def test_a_stale_owner_changes_not_one_byte(start, worker, redis_client, rng):
    worker.state.close_tick(rng)
    copy = worker.copy()
    new_owner = start()
    new_owner.resume()
    new_owner.state.close_tick(rng)
    new_owner.checkpoint()
    before = dump(redis_client)
    with pytest.raises(OwnershipLost, match="found owner 2:"):
        worker.write(copy)
    worker.copy()
    with pytest.raises(OwnershipLost):
        worker.checkpoint()  # a full snapshot is refused as well
    worker.store.release(worker.token)
    assert dump(redis_client) == before


def test_a_released_owner_writes_no_more(start, worker):
    copy = worker.copy()
    worker.store.release(worker.token)
    with pytest.raises(OwnershipLost, match="newest token"):
        worker.write(copy)
    assert start().token.counter == worker.token.counter + 1


@pytest.mark.parametrize("back", [1, 2])
def test_a_delta_never_lands_on_a_base_that_a_failover_took_back(start, worker, redis_client, rng, back):
    past, facts = [dump(redis_client)], [worker.state.facts()]
    for _ in range(back):
        worker.state.close_tick(rng)
        worker.checkpoint()
        past.append(dump(redis_client))
        facts.append(worker.state.facts())
    worker.state.close_tick(rng)
    copy = worker.copy()
    take_back(redis_client, past[0])
    with pytest.raises(BaseMismatch, match="took the newest one back"):
        worker.write(copy)
    assert dump(redis_client) == past[0], "the base that came back is whole"
    assert_equal(reread(worker), facts[0])
    worker.state.close_tick(rng)
    assert worker.checkpoint().full
    assert_reads(start, worker.state.facts())


def test_a_failover_that_takes_the_owner_back_fences_the_newer_one_until_it_acquires_again(
    start, worker, redis_client, rng
):
    past = dump(redis_client)
    newer = start()
    newer.resume()
    newer.state.close_tick(rng)
    copy = newer.copy()
    take_back(redis_client, past)
    with pytest.raises(OwnershipLost, match="becomes the owner again"):
        newer.write(copy)
    other = start()  # the counter is the same again, the token is not
    assert (other.token.counter, other.token == newer.token) == (newer.token.counter, False)
    newer.token = newer.store.acquire("s", 0, SPEC, IDENTITY)
    assert newer.checkpoint().full
    assert_reads(start, newer.state.facts())


def test_a_piece_that_is_deleted_under_its_owner_is_never_read_back_as_zeros(redis_client, application_id, rng):
    """Later writes into the key must not make it as long as the header says, with nothing in between."""
    number = noticed = healed = 0
    while True:
        worker = Worker(redis_client, f"{application_id}-{number}")
        worker.state.add(*(f"s{each}" for each in range(300)))
        for _ in range(3):
            worker.state.close_tick(rng)
            worker.checkpoint()
        apart = (b":owner", b":header", b":keys")
        pieces = sorted(k for k in redis_client.scan_iter(f"{{{application_id}-{number}:*") if not k.endswith(apart))
        if number == len(pieces):
            break
        redis_client.delete(pieces[number])
        for _ in range(2 * 16 + 1):
            worker.state.close_tick(rng, share=0.2)
            with contextlib.suppress(BaseMismatch):
                worker.checkpoint()
                try:
                    assert_equal(reread(worker), worker.state.facts())
                    is_whole = True
                except Unusable:
                    noticed, is_whole = noticed + 1, False
        healed += is_whole
        number += 1
    assert number > 10
    assert noticed > 0
    assert healed > number / 2, "what is written into is written anew as a whole"


def test_an_emptied_server_gets_a_full_snapshot_from_an_owner_that_acquires_again(start, worker, redis_client):
    redis_client.flushall()
    with pytest.raises(OwnershipLost, match="found owner none"):
        worker.checkpoint()
    worker.token = worker.store.acquire("s", 0, SPEC, IDENTITY)
    assert worker.checkpoint().full
    assert_reads(start, worker.state.facts())


def test_who_takes_a_state_anew_while_it_is_taken_again_can_save_it(start, redis_client):
    """The saver's thread takes again what Redis forgot, and the poll thread takes the partition as for a rewind."""
    overtaken = OvertakenClient(redis_client)
    worker = start(overtaken)
    worker.state.add("a")
    before, newer = worker.token, []
    overtaken.by = lambda: newer.append(worker.store.acquire("s", 0, SPEC, IDENTITY))
    with pytest.raises(OwnershipLost, match="acquired it again"):
        worker.store.acquire_again(before)
    worker.token = newer[0]
    with pytest.raises(OwnershipLost, match="found owner"):
        worker.checkpoint()
    worker.token = worker.store.acquire_again(worker.token)
    worker.checkpoint()
    assert_reads(start, worker.state.facts())


class OvertakenClient:
    """Before its next command, somebody else is done with one of his own."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.by: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def execute_command(self, *command: Any) -> Any:
        by, self.by = self.by, None
        if by is not None:
            by()
        return self.client.execute_command(*command)


def test_an_answer_lost_after_the_flip_is_no_mismatch(start, redis_client, rng):
    mortal = MortalClient(redis_client)
    worker = start(mortal)
    worker.state.add("a")
    copy = worker.copy()
    mortal.live_for(4, executes_last=True)  # tag, names, pieces, header
    with pytest.raises(StoreUnavailable):
        worker.write(copy)
    mortal.live_for(None)
    worker.write(copy)
    worker.state.close_tick(rng)
    assert not worker.checkpoint().full
    assert_reads(start, worker.state.facts())


def test_forget_deletes_one_partition_whole_and_its_owner_writes_no_more(worker, redis_client, application_id):
    worker.store.acquire("s", 1, SPEC, IDENTITY)
    redis_client.set("somebody else's", 1)
    worker.store.forget("s", 0)
    assert set(redis_client.scan_iter()) == {f"{{{application_id}:s:1}}:owner".encode(), b"somebody else's"}
    with pytest.raises(OwnershipLost):
        worker.checkpoint()


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def configure(redis_client) -> Iterator[Callable[[str, Any], None]]:
    """Set an option of the server until the test ends."""
    before: dict[str, Any] = {}

    def set_option(name: str, value: Any) -> None:
        before.setdefault(name, redis_client.config_get(name)[name])
        redis_client.config_set(name, value)

    yield set_option
    for name, value in before.items():
        redis_client.config_set(name, value)


def test_a_server_that_evicts_is_refused_with_the_remedy(worker, configure):
    worker.store.check_server()
    configure("maxmemory-policy", "allkeys-lru")
    with pytest.raises(TidecastError, match=r"found allkeys-lru.*CONFIG SET maxmemory-policy noeviction"):
        worker.store.check_server()


def test_asking_a_server_that_takes_no_writes_whether_it_is_there_says_why_not_and_leaves_no_key(
    worker, configure, redis_client
):
    keys = set(redis_client.scan_iter())
    configure("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="give it more memory"):
        worker.store.check_server()
    configure("maxmemory", 0)
    redis_client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailable, match="at the primary"):
            worker.store.check_server()
    finally:
        redis_client.replicaof("NO", "ONE")
    worker.store.check_server()
    assert set(redis_client.scan_iter()) == keys


def test_a_user_without_a_right_that_a_script_needs_is_told_which_rights(
    worker, redis_client, redis_url, application_id
):
    lacking = ("+@read", "+@scripting", "+@connection", "+info")
    redis_client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "-@all", *lacking)
    try:
        store = CheckpointStore(connect(redis_url.replace("//", "//limited:secret@")), application_id)
        with pytest.raises(StoreUnavailable, match=r"needs .*\+@write \+@scripting \+@connection \+info"):
            store.acquire("s", 0, SPEC, IDENTITY)
    finally:
        redis_client.execute_command("ACL", "DELUSER", "limited")


def test_a_full_server_is_unavailable_and_takes_the_same_cut_later(start, worker, configure, rng):
    worker.state.close_tick(rng)
    copy = worker.copy()
    configure("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="give it more memory"):
        worker.write(copy)
    configure("maxmemory", 0)
    assert not worker.write(copy).full
    assert_reads(start, worker.state.facts())


def test_a_replica_is_unavailable_and_says_so(worker, redis_client):
    redis_client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailable, match="at the primary"):
            worker.checkpoint()
    finally:
        redis_client.replicaof("NO", "ONE")
    assert worker.checkpoint().full


def test_a_server_that_forgot_the_scripts_is_told_them_again(worker, redis_client, rng):
    redis_client.script_flush()
    worker.state.close_tick(rng)
    assert not worker.checkpoint().full


def test_no_server_is_unavailable(application_id):
    store = CheckpointStore(connect("redis://127.0.0.1:1/0", timeout_s=0.5), application_id)
    with pytest.raises(StoreUnavailable, match="check that Redis runs"):
        store.acquire("s", 0, SPEC, IDENTITY)
