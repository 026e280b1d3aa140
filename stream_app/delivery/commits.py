"""What other threads need from the consumer: commits of offsets, and permits for transactions.

The poll thread answers both, because it alone may call the consumer. `commit()` from another thread starves while the
poll thread loops in `consume()`, so requests wait in a queue until its next turn. A commit is asynchronous, because a
synchronous one waits up to the session timeout when the coordinator is away; only inside a rebalance callback, where
nothing else may be called, it is synchronous.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_app.delivery.failures import Aborted
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from stream_app.partitions.owned import Owned

# Errors after which the same commit can never succeed; all others are tried again until the deadline.
NEVER_TAKEN = {
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
}


class CommitFailed(Exception):
    """Input offsets could not be committed: what was published since the last commit will be published again."""


class Committed:
    """The partitions whose offsets a transaction committed."""

    def __init__(self, partitions: frozenset[StreamPartition]) -> None:
        self._partitions = partitions

    def wait(self) -> frozenset[StreamPartition]:
        """They are known already."""
        return self._partitions


class CommitRequest:
    """Offsets to commit, each with the ownership it was computed under."""

    def __init__(self, offsets: Mapping[StreamPartition, tuple[Owned, int]], timeout_s: float) -> None:
        self.offsets = dict(offsets)
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self.committed: frozenset[StreamPartition] = frozenset()
        self.error: str | None = None
        self.last_refusal = "no answer from the coordinator of the group"
        self.done = threading.Event()

    def still_owned(self, owned: Mapping[StreamPartition, Owned]) -> dict[StreamPartition, int]:
        """Offsets of partitions that are still ours. Kafka does not check who owns a partition: a commit for one that
        has moved on would set its new owner's offset back."""
        return {at: offset for at, (owner, offset) in self.offsets.items() if owned.get(at) is owner}

    def wait(self) -> frozenset[StreamPartition]:
        """What was committed: partitions no longer owned are left out. Raises CommitFailed."""
        # The poll thread gives up at the deadline; the second beyond is for a poll thread that has ended.
        if not self.done.wait(max(0.0, self.deadline - time.monotonic()) + 1):
            self.fail("the poll thread did not answer")
        if self.error is not None:
            raise CommitFailed(
                f"offsets of {', '.join(map(str, self.offsets))} were not committed within "
                f"{self.timeout_s:g} s: {self.error}"
            )
        return self.committed

    def succeed(self, committed: frozenset[StreamPartition]) -> None:
        self.committed = committed
        self.done.set()

    def fail(self, error: str) -> None:
        self.error = error
        self.done.set()


class Permit:
    """Permission to commit these offsets in a transaction: the metadata that the broker checks, if all are ours.

    Kafka compares the generation of the group and not who owns a partition, so both are of one moment
    (polling/membership.py).
    """

    def __init__(self, offsets: Mapping[StreamPartition, tuple[Owned, int]], timeout_s: float) -> None:
        self.offsets = dict(offsets)
        self._timeout_s = timeout_s
        self._answered = threading.Event()
        self._metadata: bytes | None = None
        self._gone: list[StreamPartition] = []

    def wait(self) -> bytes:
        """The group's metadata. Raises Aborted if the transaction holds outputs of a partition that is not ours any
        more, or may not be: a transaction without offsets would be refused by nobody else."""
        if not self._answered.wait(self._timeout_s):
            raise Aborted(f"the poll thread did not answer within {self._timeout_s:g} s")
        if self._gone:
            raise Aborted(f"{', '.join(map(str, self._gone))} belong to another worker by now")
        if self._metadata is None:
            raise Aborted("this worker is no member of its group any more")
        return self._metadata

    def answer(self, owned: Mapping[StreamPartition, Owned], metadata: bytes | None) -> None:
        """Poll thread. `metadata` of the group, as of the callback that said last what is ours."""
        self._gone = [at for at, (owner, _) in self.offsets.items() if owned.get(at) is not owner or metadata is None]
        self._metadata = metadata
        self._answered.set()


class Sent(NamedTuple):
    """A commit on its way. Its answer is known by the offsets."""

    partitions: frozenset[StreamPartition]
    offsets: dict[tuple[str, int], int]  # (topic, partition) → offset


class OffsetCommits:
    """One commit at a time is on its way."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[CommitRequest] = queue.SimpleQueue()
        self._permits: queue.SimpleQueue[Permit] = queue.SimpleQueue()
        self._current: CommitRequest | None = None
        self._sent: Sent | None = None  # what the broker has been asked for and not answered
        self._has_ended = False

    def ask_permit(self, offsets: Mapping[StreamPartition, tuple[Owned, int]], timeout_s: float) -> Permit:
        """Publisher's thread: before the outputs are flushed, so that the answer is there afterwards."""
        permit = Permit(offsets, timeout_s)
        self._permits.put(permit)
        if self._has_ended:
            self.permit({}, None)
        return permit

    def ask_commit(self, request: CommitRequest) -> None:
        """Publisher's thread. `request.wait()` tells what became of it."""
        self._waiting.put(request)
        if self._has_ended:
            self.end()

    def permit(self, owned: Mapping[StreamPartition, Owned], metadata: bytes | None) -> None:
        """Poll thread, every turn: answers the requests for permits."""
        while not self._permits.empty():
            with contextlib.suppress(queue.Empty):  # in the end the other thread does so as well
                self._permits.get_nowait().answer(owned, metadata)

    def end(self) -> None:
        """Poll thread, at its end: nothing is ours any more, and all requests are answered."""
        self._has_ended = True
        self.permit({}, None)
        if self._current is not None:
            self._waiting.put(self._current)
        while not self._waiting.empty():
            with contextlib.suppress(queue.Empty):
                request = self._waiting.get_nowait()
                if not request.done.is_set():
                    request.fail("the worker has left the group")

    def serve(
        self, consumer: Consumer, owned: Mapping[StreamPartition, Owned], topics: Mapping[str, str], *, wait: bool
    ) -> None:
        """Poll thread, every turn. `wait`: inside a rebalance callback only a synchronous commit gets through."""
        if self._current is None:
            try:
                self._current = self._waiting.get_nowait()
            except queue.Empty:
                return
        request = self._current
        if time.monotonic() > request.deadline and not request.done.is_set():
            request.fail(request.last_refusal)
        if request.done.is_set():
            self._current = self._sent = None  # a late answer finds nothing that it could be about
            return
        if self._sent is not None and not wait:
            return  # the answer comes through on_commit
        offsets = request.still_owned(owned)
        self._sent = Sent(frozenset(offsets), {(topics[at.stream], at.partition): to for at, to in offsets.items()})
        if not offsets:
            self._answer(None)
            return
        asked = [TopicPartition(topics[at.stream], at.partition, offset) for at, offset in offsets.items()]
        try:
            consumer.commit(offsets=asked, asynchronous=not wait)
        except KafkaException as error:
            self._answer(error.args[0])
        else:
            if wait:
                self._answer(None)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The consumer's callback, in the poll thread inside `consume()`."""
        answered = {(partition.topic, partition.partition): partition.offset for partition in partitions}
        if self._sent is None or answered != self._sent.offsets:
            return  # about a commit that was given up, or made again, meanwhile
        failures = [partition.error for partition in partitions if partition.error is not None]
        self._answer(error or (failures[0] if failures else None))

    def _answer(self, error: KafkaError | None) -> None:
        request, sent = self._current, self._sent
        self._sent = None
        if request is None or sent is None:
            return
        if error is None:
            self._current = None
            request.succeed(sent.partitions)
        elif error.fatal() or error.code() in NEVER_TAKEN:
            self._current = None
            request.fail(error.str())
        else:
            # During a rebalance the broker refuses; the next turn asks again, under the new generation.
            request.last_refusal = error.str()
