"""A worker whose place in the group is gone commits nothing, also before the client has told it so.

What Kafka says to it is in tests/chaos/servers/test_lost_membership.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from stream_app.delivery.commits import CommitFailed, CommitRequest, OffsetCommits
from stream_app.delivery.failures import Aborted
from stream_app.partitions.names import StreamPartition
from stream_app.polling.membership import Membership
from stream_app.polling.poll_batch import Assigned, Lost, PollBatch, Released
from stream_app.recovery.rewinds import Rewinds
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message
from tests.app.test_backpressure import PLACES, Owners, PausedConsumer, poll_thread

AT = StreamPartition("tides", 0)


def test_a_permit_names_the_generation_of_the_last_callback_and_not_what_the_client_knows_since() -> None:
    consumer, membership, commits, mine = PausedConsumer(), Membership(), OffsetCommits(), SimpleNamespace()
    membership.note(consumer)  # type: ignore[arg-type]
    consumer.generation = 2
    permit = commits.ask_permit({AT: (mine, 5)}, 1)  # type: ignore[dict-item]
    commits.permit({AT: mine}, membership.metadata)  # type: ignore[dict-item]
    assert permit.wait() == b"generation 1 of one"


@pytest.mark.parametrize("offsets", [1, 0])
@pytest.mark.parametrize("member", [None, ""])
def test_there_is_no_permit_for_who_is_no_member(member: str | None, offsets: int) -> None:
    consumer, membership, commits, mine = PausedConsumer(), Membership(), OffsetCommits(), SimpleNamespace()
    consumer.member = member
    membership.note(consumer)  # type: ignore[arg-type]
    permit = commits.ask_permit({AT: (mine, 5)} if offsets else {}, 1)  # type: ignore[dict-item]
    commits.permit({AT: mine}, membership.metadata)  # type: ignore[dict-item]
    with pytest.raises(Aborted):
        permit.wait()


@pytest.mark.parametrize("when", ["before", "after"])
def test_nobody_waits_for_a_permit_of_a_poll_thread_that_has_ended(when: str) -> None:
    """A worker that is stopped in the midst of a rewind exits in time."""
    commits, mine = OffsetCommits(), SimpleNamespace()
    if when == "before":
        commits.end()
    permit = commits.ask_permit({AT: (mine, 5)}, 60)  # type: ignore[dict-item]
    request = CommitRequest({AT: (mine, 5)}, 60)  # type: ignore[dict-item]
    commits.ask_commit(request)
    if when == "after":
        commits.end()
    with pytest.raises(Aborted):
        permit.wait()
    with pytest.raises(CommitFailed):
        request.wait()


def test_readings_in_hand_have_their_place_though_the_client_has_let_go_of_their_partition() -> None:
    """As one does that is fenced by a consumer of its name, some time before it says so."""
    consumer, _, _, thread, _ = place()
    known = [TopicPartition("in", 0, 3), TopicPartition("in", 1, OFFSET_INVALID)]
    consumer.position = lambda places: known  # type: ignore[attr-defined]
    some = MessageColumns.of([message(b"{}", partition=1, offset=offset) for offset in (4, 6)])
    poll_batch = thread._poll_batch_of(consumer, {"tides": some})
    assert poll_batch.next_offsets == {StreamPartition("tides", 0): 3, StreamPartition("tides", 1): 7}


def test_a_place_that_changes_while_it_is_read_counts_as_none() -> None:
    consumer, membership = PausedConsumer(), Membership()

    def metadata_of_nobody() -> bytes:
        consumer.member = None
        return b"names nobody"

    consumer.consumer_group_metadata = metadata_of_nobody  # type: ignore[method-assign]
    membership.note(consumer)  # type: ignore[arg-type]
    assert membership.metadata is None


class OwnersOfAll(Owners):
    """As the real one, without states: what was taken is owned until it is let go of."""

    def take(self, consumer: Any, partitions: Any) -> Assigned:
        taken = super().take(consumer, partitions)
        self.owned = self.owned | {each.at: each for each in taken.partitions}
        return taken

    def give_back(self, partitions: Any) -> None:
        self.owned = {at: each for at, each in self.owned.items() if at not in partitions}

    def rewind(self, number: int, reason: str) -> Any:
        self.owned = {}
        return super().rewind(number, reason)

    def lose(self, partitions: Any) -> Lost:
        self.give_back(partitions)
        return super().lose(partitions)


def changes(put: list[PollBatch], kind: type) -> list[Any]:
    return [each.change for each in put if isinstance(each.change, kind)]


def place() -> tuple[PausedConsumer, Rewinds, list[PollBatch], Any, OwnersOfAll]:
    consumer, rewinds, put = PausedConsumer(), Rewinds(), list[PollBatch]()
    thread = poll_thread(consumer, rewinds, put)
    owners = OwnersOfAll()
    thread._subscription._assignment = thread._assignment = owners  # type: ignore[assignment]
    thread._subscription.on_assign(consumer, PLACES)  # type: ignore[arg-type]
    assert len(owners.owned) == 3
    return consumer, rewinds, put, thread, owners


def test_what_is_revoked_from_a_member_that_came_back_was_lost() -> None:
    consumer, rewinds, put, thread, owners = place()
    consumer.member, consumer.generation = "another", 7
    thread._subscription.on_revoke(consumer, PLACES)
    assert not changes(put, Released), "nothing is finished and committed for it"
    assert len(changes(put, Lost)) == 1
    assert not owners.owned
    assert rewinds.is_asked


def test_a_rewind_is_asked_for_before_the_pipeline_forgets_what_was_lost() -> None:
    """It commits no offsets of theirs from then on: what it had made of them would leave with nothing to fence it."""
    consumer, rewinds, _, thread, _ = place()
    asked = list[bool]()
    thread._subscription._announce = lambda change: asked.append(rewinds.is_asked)
    thread._subscription.on_lost(consumer, PLACES)
    assert asked == [True]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_rewind_takes_nothing_again_before_the_callback_that_waits(when: str) -> None:
    """The client would take it for the answer to a loss that it has not told yet, and join again with what we hold."""
    consumer, rewinds, put, thread, owners = place()
    rewinds.clear(rewinds.ask("the producer was fenced"))
    take = owners.take

    def slow(consumer_: Any, partitions: Any) -> Assigned:
        consumer.member = None  # by the client's own thread
        return take(consumer_, partitions)

    if when == "before":
        consumer.member = None
    else:
        owners.take = slow  # type: ignore[method-assign]
    assigned = len(changes(put, Assigned))
    for _ in range(3):
        thread._turn(consumer)
    assert consumer.unassigned == []
    assert len(changes(put, Assigned)) == assigned
    assert not owners.owned
    thread._subscription.on_lost(consumer, PLACES)
    assert not thread._subscription.parked
    owners.take = take  # type: ignore[method-assign]
    consumer.member, consumer.generation = "another", 7
    thread._subscription.on_assign(consumer, PLACES)
    assert len(owners.owned) == 3
