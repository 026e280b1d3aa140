"""The pipeline is always behind the poll thread: what it copies may have changed hands meanwhile."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from model_core.partition import PartitionState
from model_core.spec import StreamSpec
from stream_app.checkpoints import CheckpointStore, Identity
from stream_app.partitions.journaled import Journaled
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned, Receipt
from stream_app.pipeline.cuts import COPY_WAIT_S, Cuts
from stream_app.settings.model import Limits

SPEC = StreamSpec(topic="in", freq="10min")
IDENTITY = Identity("cluster", "topic", 1, "group")
AT = StreamPartition("tides", 0)


def taken(store: CheckpointStore, at: StreamPartition = AT) -> Owned:
    """As the poll thread takes a partition, each time anew."""
    token = store.acquire(at.stream, at.partition, SPEC, IDENTITY)
    state = PartitionState(SPEC, at.partition)
    state.next_offset = 5
    return Owned(at, SPEC, state, token, start_offset=0, emit_from=0, journaled=Journaled.after([], 0, 5))


@pytest.mark.parametrize("then", ["taken anew", "let go of"])
def test_a_partition_that_changed_hands_while_it_was_processed_is_not_copied(
    redis_client: redis.Redis, application_id: str, then: str
) -> None:
    """It ended the worker: a rewind takes partitions anew while the pipeline is in the midst of a poll batch."""
    store = CheckpointStore(redis_client, application_id)
    saver: Any = SimpleNamespace(is_away=False)
    cuts = Cuts(Limits(), store, saver)
    stale = taken(store)
    if then == "taken anew":
        newer = taken(store)
    else:
        store.release(stale.token)
    assert cuts.take({AT: stale}, now=1.0).checkpoints == ()
    assert cuts.take_last({AT: stale}, frozenset([AT]), Receipt()).checkpoints == ()
    if then == "taken anew":
        ((owned, copy),) = cuts.take({AT: newer}, now=10.0).checkpoints
        assert owned is newer
        store.write(owned.token, copy)


@pytest.mark.parametrize("interval_s", [0.125, 5.0])
def test_states_take_turns_and_each_is_copied_as_often_as_asked(
    redis_client: redis.Redis, application_id: str, interval_s: float
) -> None:
    store = CheckpointStore(redis_client, application_id)
    cuts = Cuts(Limits(checkpoint_interval=1000), store, SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    partitions = {at: taken(store, at) for at in (StreamPartition("tides", each) for each in range(4))}
    copied: dict[StreamPartition, list[float]] = {at: [] for at in partitions}
    together = []
    for number in range(80):
        now = 100 + number * interval_s
        for owned in partitions.values():
            owned.state.next_offset += 1
        checkpoints = cuts.take(partitions, now=now).checkpoints
        together.append(len(checkpoints))
        for owned, _ in checkpoints:
            copied[owned.at].append(now)
            owned.copy_arrived.set()
    assert max(together) == (1 if interval_s < 1 else 4)
    for times in copied.values():
        assert {after - before for before, after in itertools.pairwise(times)} == {max(1.0, interval_s)}


def test_states_that_were_late_together_take_turns_again(redis_client: redis.Redis, application_id: str) -> None:
    """In a backlog no copy is on time. All at once, each second, they kept a transaction waiting (seen)."""
    store = CheckpointStore(redis_client, application_id)
    cuts = Cuts(Limits(checkpoint_interval=1000), store, SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    partitions = {at: taken(store, at) for at in (StreamPartition("tides", each) for each in range(4))}
    together = []
    for now in (100.0, 103.7, *np.arange(103.75, 110, 0.125)):
        for owned in partitions.values():
            owned.state.next_offset += 1
        checkpoints = cuts.take(partitions, now=now).checkpoints
        together.append(len(checkpoints))
        for owned, _ in checkpoints:
            owned.copy_arrived.set()
    assert together[1] == 4
    assert max(together[2:]) == 1


def test_a_state_whose_turn_has_come_is_copied_though_nothing_new_comes(
    redis_client: redis.Redis, application_id: str
) -> None:
    store = CheckpointStore(redis_client, application_id)
    cuts = Cuts(Limits(checkpoint_interval=1000), store, SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    partitions = {at: taken(store, at) for at in (StreamPartition("tides", each) for each in range(2))}
    (first,) = cuts.take(partitions, now=100.0).checkpoints
    assert cuts.copy_due_at(partitions.values()) == 100.5
    (second,) = cuts.take(partitions, now=100.5).checkpoints
    assert {first[0].at, second[0].at} == set(partitions)
    assert cuts.copy_due_at(partitions.values()) == float("inf"), "nothing has changed since"


def test_copies_wait_until_there_is_room_for_them(redis_client: redis.Redis, application_id: str) -> None:
    """Each state is larger than what may be held, so there is one copy at a time; nobody is passed over."""
    store = CheckpointStore(redis_client, application_id)
    limits = Limits(checkpoint_interval=1000, checkpoint_copies_bytes_max=1 << 20)
    cuts = Cuts(limits, store, SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    partitions = {at: taken(store, at) for at in (StreamPartition("tides", each) for each in range(3))}
    for owned in partitions.values():
        owned.state.columns.add([f"s{number}" for number in range(2048)])
    order = []
    for turn in range(6):
        for owned in partitions.values():
            owned.state.next_offset += 1
        ((owned, copy),) = cuts.take(partitions, now=100.0 + 2 * turn).checkpoints
        assert copy.bytes > limits.checkpoint_copies_bytes_max
        assert cuts.take(partitions, now=101.0 + 2 * turn).checkpoints == ()
        assert cuts.copy_due_at(partitions.values()) == float("inf")
        owned.copy_arrived.set()
        order.append(owned.at.partition)
    assert order == [0, 1, 2, 0, 1, 2]


def test_cuts_keep_their_clock_and_come_earlier_by_what_a_transaction_takes() -> None:
    cuts = Cuts(Limits(transaction_interval=100), SimpleNamespace(), SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    cuts.take({}, now=50.0)
    assert cuts.next_cut == pytest.approx(50.1)
    cuts.take({}, now=50.109)  # the poll before it took its time: the next one does not come later for it
    assert cuts.next_cut == pytest.approx(50.2)
    cuts.take({}, now=50.2, lead_s=0.03)
    assert cuts.next_cut == pytest.approx(50.27)
    cuts.take({}, now=51.0)  # nothing had come for long: no cut is made up for
    assert cuts.next_cut == pytest.approx(51.1)
    assert not cuts.is_due(51.09, records=0)
    assert cuts.is_due(51.1, records=0)


def test_a_cut_says_since_when_it_was_due() -> None:
    cuts = Cuts(Limits(transaction_interval=100), SimpleNamespace(), SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    cuts.take({}, now=50.0)
    late = cuts.take({}, now=50.13, changed_at=50.02)
    assert late.due_at == pytest.approx(50.1)  # the pipeline had its hands full
    prompt = cuts.take({}, now=60.003, changed_at=60.0)
    assert prompt.due_at == 60.0  # nothing had come before
    full = cuts.take({}, now=60.05, changed_at=60.01)
    assert full.due_at == 60.05  # it came before its time, with many records


def test_who_lets_go_of_many_partitions_waits_for_their_copies_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is slow: a wait for each of them would take longer than a revocation may."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("stream_app.pipeline.cuts.time", SimpleNamespace(monotonic=lambda: clock.now))

    def wait(timeout_s: float) -> None:
        clock.now += timeout_s

    on_its_way: Any = SimpleNamespace(wait=wait, is_set=lambda: False, set=lambda: None)
    token: Any = None
    leaving = {}
    for at in (StreamPartition("tides", each) for each in range(30)):
        state = PartitionState(SPEC, at.partition)
        leaving[at] = Owned(at, SPEC, state, token, 0, 0, Journaled(), copy_arrived=on_its_way)
    cuts = Cuts(Limits(), SimpleNamespace(), SimpleNamespace(is_away=False))  # type: ignore[arg-type]
    cuts.take_last(leaving, frozenset(leaving), Receipt())
    assert clock.now == pytest.approx(100.0 + COPY_WAIT_S)
