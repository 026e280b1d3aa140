"""What is saved, and what is not: a state never goes to the store before its offset is committed."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from stream_app.checkpoints import CheckpointStore
from stream_app.delivery import CommitRequest, Committed
from stream_app.delivery.parcel import TransactionCut
from stream_app.delivery.saver import CommittedCut, Saver
from stream_app.partitions.owned import Receipt
from stream_app.recovery.rewinds import Rewinds
from stream_app.settings import Limits
from tests.app.test_cuts import AT, taken


class Deployment:
    """A saver, its store, and one partition that it may save."""

    def __init__(self, client: redis.Redis, application_id: str) -> None:
        self.client, self.application_id = client, application_id
        self.store = CheckpointStore(client, application_id)
        self.owned = taken(self.store)
        self.rewinds = Rewinds()
        self.failures: list[BaseException] = []
        anything: Any = SimpleNamespace(inc=lambda *_: None, observe=lambda *_: None)
        metrics: Any = SimpleNamespace(
            checkpoint_seconds=anything,
            checkpoint_bytes=anything,
            checkpoint_failures=anything,
            publish_failures=anything,
        )
        settings: Any = SimpleNamespace(limits=Limits())
        owned = {AT: self.owned}
        health: Any = SimpleNamespace(store_away=lambda _: None, store_there=lambda: None)
        self.saver = Saver(settings, self.store, lambda: owned, health, metrics, self.rewinds, self.failures.append)
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
