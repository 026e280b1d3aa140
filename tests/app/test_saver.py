"""What is saved, and what is not: a state never goes to the store before its offset is committed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from stream_app.checkpoints import CheckpointStore, StoreUnavailable
from stream_app.delivery import CommitRequest, Committed
from stream_app.delivery.parcel import TransactionCut
from stream_app.delivery.saver import ASK_AGAIN_S, CommittedCut, Saver
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Receipt
from stream_app.recovery.rewinds import Rewinds
from stream_app.settings import Limits
from tests.app.running_worker import wait_until
from tests.app.test_cuts import AT, taken

OTHER = StreamPartition("tides", 1)


class Deployment:
    """A saver, its store, and one partition that it may save; more where a test says so."""

    def __init__(self, client: redis.Redis, application_id: str, limits: Limits | None = None) -> None:
        self.client, self.application_id = client, application_id
        self.store = CheckpointStore(client, application_id)
        self.owned = taken(self.store)
        self.ours = {AT: self.owned}  # replaced, never changed in place
        self.rewinds = Rewinds()
        self.failures: list[BaseException] = []
        anything: Any = SimpleNamespace(inc=lambda *_: None, observe=lambda *_: None)
        metrics: Any = SimpleNamespace(
            checkpoint_seconds=anything,
            checkpoint_bytes=anything,
            checkpoint_failures=anything,
            publish_failures=anything,
        )
        settings: Any = SimpleNamespace(limits=limits or Limits())
        health: Any = SimpleNamespace(store_away=lambda _: None, store_there=lambda: None)
        self.saver = Saver(settings, self.store, lambda: self.ours, health, metrics, self.rewinds, self.failures.append)
        self.saver.start()

    def cut(self, next_offset: int, *, offsets: bool = True) -> TransactionCut:
        """With a copy of the state; without `offsets` as when nothing new was read since the last cut."""
        state = self.owned.state
        state.next_offset = next_offset
        copy = self.store.copy(self.owned.token, state, model_version=None, journal_position=0)
        return TransactionCut({AT: (self.owned, next_offset)} if offsets else {}, ((self.owned, copy),))

    def save(self, cut: TransactionCut, committed: Committed | CommitRequest, *, began: float | None = None) -> None:
        """Returns when the saver is done with it."""
        receipt = Receipt()
        whole = TransactionCut(cut.offsets, cut.checkpoints, receipt=receipt)
        self.owned.copy_arrived.clear()
        self.saver.submit(CommittedCut(whole, committed, time.monotonic() if began is None else began))
        assert receipt.wait(20), self.failures

    @property
    def saved(self) -> int | None:
        """next_offset of the state in the store."""
        body = self.client.hget(f"{{{self.application_id}:tides:0}}:header", "body")
        return None if body is None else int(json.loads(body)["next_offset"])


@pytest.fixture
def deployment(redis_client: redis.Redis, application_id: str):
    made = Deployment(redis_client, application_id)
    yield made
    assert made.saver.stop(20)
    assert not made.failures


def known(*partitions: Any) -> Committed:
    return Committed(frozenset(partitions))


def refused(deployment: Deployment, offset: int) -> CommitRequest:
    request = CommitRequest({AT: (deployment.owned, offset)}, 1.0)
    request.fail("the coordinator said no")
    return request


def test_a_committed_state_is_saved_also_when_nothing_new_was_read_since(deployment: Deployment) -> None:
    deployment.save(deployment.cut(7), known(AT))
    assert deployment.saved == 7
    deployment.save(deployment.cut(7, offsets=False), known())
    assert deployment.saved == 7
    assert not deployment.rewinds.is_asked


def test_after_a_commit_that_failed_nothing_is_saved_before_one_that_did_not(deployment: Deployment) -> None:
    """The next cut may be on its way already, and need not hold an offset of the partition: its state is ahead."""
    deployment.save(deployment.cut(7), known(AT))
    deployment.save(deployment.cut(9), refused(deployment, 9))
    assert deployment.rewinds.is_asked
    deployment.save(deployment.cut(9, offsets=False), known())
    assert deployment.saved == 7
    assert deployment.owned.has_changed, "it is to be copied again"
    deployment.save(deployment.cut(11), known(AT))
    assert deployment.saved == 11


def test_a_partition_that_is_not_ours_any_more_is_not_saved(deployment: Deployment) -> None:
    deployment.save(deployment.cut(7), known())
    assert deployment.saved is None


def test_what_was_taken_again_is_saved_only_after_a_commit_that_began_later(deployment: Deployment) -> None:
    deployment.save(deployment.cut(7), known(AT))
    deployment.client.flushdb()
    before = time.monotonic()
    deployment.save(deployment.cut(8), known(AT))  # finds nobody's name in the store, and takes it again
    assert deployment.saved is None
    deployment.save(deployment.cut(9), known(AT), began=before)
    assert deployment.saved is None, "it was under way when somebody else may have been the owner"
    deployment.save(deployment.cut(10), known(AT))
    assert deployment.saved == 10


def test_what_was_lost_while_the_store_is_away_keeps_nobody_waiting(
    redis_client: redis.Redis, application_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readings beyond the last checkpoint are its owner's: the partition that stays is within the limit."""
    deployment = Deployment(redis_client, application_id, Limits(backlog_readings_max=10))
    stays = taken(deployment.store, OTHER)
    deployment.ours = {AT: deployment.owned, OTHER: stays}
    deployment.save(deployment.cut(7), known(AT))
    with store_away(deployment.store, monkeypatch):
        deployment.save(deployment.cut(100), known(AT))
        wait_until(lambda: deployment.saver.is_away, 20, "a checkpoint that cannot be written")
        deployment.ours = {OTHER: stays}  # as the poll thread does it, when they are lost or rewound
        for offset in (6, 7):
            receipt = Receipt()
            cut = TransactionCut({OTHER: (stays, offset)}, receipt=receipt)
            deployment.saver.submit(CommittedCut(cut, known(OTHER), time.monotonic()))
            assert receipt.wait(20), "it waits for the store because of what is another worker's"
    assert deployment.saver.stop(20)
    assert not deployment.failures


def test_while_the_store_is_away_too_many_readings_of_ours_wait(
    redis_client: redis.Redis, application_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(redis_client, application_id, Limits(backlog_readings_max=10))
    with store_away(deployment.store, monkeypatch):
        deployment.save(deployment.cut(100), known(AT))
        receipt = Receipt()
        cut = TransactionCut({AT: (deployment.owned, 101)}, receipt=receipt)
        deployment.saver.submit(CommittedCut(cut, known(AT), time.monotonic()))
        assert not receipt.wait(2 * ASK_AGAIN_S), "the backlog is longer than the limit"
    assert receipt.wait(20), "the store is back"
    assert deployment.saver.stop(20)
    assert not deployment.failures


def test_a_store_that_does_not_answer_is_waited_for_once(
    redis_client: redis.Redis, application_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each partition: who lets go of many would miss the deadline, and those that stay would rewind."""
    deployment = Deployment(redis_client, application_id)
    places = [StreamPartition("tides", number) for number in range(1, 9)]
    many = {at: taken(deployment.store, at) for at in places}
    copies = tuple((owned, deployment.store.copy(owned.token, owned.state)) for owned in many.values())
    asked: list[str] = []

    def away(name: str) -> Any:
        def refuse(*_: Any) -> None:
            asked.append(name)
            raise StoreUnavailable("it does not answer")

        return refuse

    for name in ("write", "release"):
        monkeypatch.setattr(deployment.store, name, away(name))
    for owned, _ in copies:
        owned.copy_arrived.clear()
    receipt = Receipt()
    cut = TransactionCut({at: (owned, 5) for at, owned in many.items()}, copies, tuple(many.values()), receipt)
    deployment.saver.submit(CommittedCut(cut, known(*many), time.monotonic()))
    assert receipt.wait(20), deployment.failures
    assert asked == ["write"]
    assert all(owned.copy_arrived.is_set() and owned.has_changed for owned in many.values()), "they are copied again"
    assert deployment.saver.stop(20)
    assert not deployment.failures


@contextmanager
def store_away(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise StoreUnavailable("it is away")

    with monkeypatch.context() as away:
        away.setattr(store, "write", refuse)
        away.setattr(store, "check_server", refuse)
        yield
