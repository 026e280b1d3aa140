"""The poll thread: the only owner of the Kafka consumer. Every call on the consumer is made here.

Turn by turn it serves the publisher's commits, listens to the client (rebalances, errors), takes what was fetched, and
hands it on as a PollBatch through the Faust channel. It knows nothing of what is in the messages.

Backpressure: a poll batch needs a credit, given back when the pipeline is done with one. Without a credit it is patient
for a moment, then pauses all partitions and keeps polling, so that the group does not take it for dead. It never waits
on the event loop without a deadline.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from stream_app.delivery.commits import OffsetCommits
from stream_app.kafka.consumer_errors import ClientMessage, raise_if_ending
from stream_app.partitions.names import InputTopics, StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.polling.assignment import Assignment
from stream_app.polling.batch_growth import BatchGrowth
from stream_app.polling.idleness import Idleness
from stream_app.polling.intake import GATHER_S, ByStream, Intake
from stream_app.polling.membership import Membership
from stream_app.polling.partition_gauges import PartitionGauges
from stream_app.polling.poll_batch import Change, PollBatch
from stream_app.polling.subscription import Subscription
from stream_app.recovery.rewinds import Rewinds
from stream_app.runtime.memory import IdleTrim

if TYPE_CHECKING:
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

LEAST_WAIT_S = 0.002
log = structlog.get_logger(__name__)


class Pace(Protocol):
    """The pipeline's timing (time.monotonic()): when it wants a poll batch even without messages, and until when its
    outputs wait in it anyway."""

    def wake_at(self) -> float: ...

    def leaves_at(self) -> float: ...


class PollThread:
    """`put` hands a PollBatch to the event loop and waits at most its own deadline; `on_fatal` ends the worker."""

    def __init__(
        self,
        settings: Settings,
        *,
        consumer_properties: Mapping[str, Any],
        assignment: Assignment,
        commits: OffsetCommits,
        rewinds: Rewinds,
        metrics: Metrics,
        put: Callable[[PollBatch], None],
        pace: Pace,
        prepare: Callable[[threading.Event], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._limits = settings.limits
        self._turn_s = settings.limits.poll_wait / 1000
        self._properties = dict(consumer_properties)
        self._inputs = inputs = InputTopics(settings.streams)
        self._assignment = assignment
        self._commits = commits
        self._rewinds = rewinds
        self._idleness = Idleness(settings.streams)
        self._gauges = PartitionGauges(inputs, metrics)
        self._trim = IdleTrim()
        self._put = put
        self._wake_at = pace.wake_at
        self._prepare = prepare
        self._on_fatal = on_fatal
        self._credits = threading.Semaphore(self._limits.poll_queue_max)
        self._growth = BatchGrowth(self._limits.transaction_interval, pace.leaves_at)
        self._stopping = threading.Event()
        self._discard = False
        self._held: queue.SimpleQueue[tuple[StreamPartition, str | None]] = queue.SimpleQueue()  # None: accepted
        self._intake = Intake(settings, inputs, assignment)
        self._membership = Membership()
        self._subscription = Subscription(
            settings,
            inputs=inputs,
            assignment=assignment,
            membership=self._membership,
            rewinds=rewinds,
            metrics=metrics,
            announce=self._announce,
            changed=self._changed_hands,
            serve=self._serve,
            divert=self._intake.divert,
            drop=self._intake.drop,
        )
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
        self._consumer: Consumer | None = None

    # --- called from other threads --------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def hold(self, at: StreamPartition, reason: str) -> None:
        """Read no more of a partition until a person has looked; from the pipeline's thread."""
        self._held.put((at, reason))

    def accept(self, at: StreamPartition) -> None:
        """A person has looked: read on."""
        self._held.put((at, None))

    def held(self) -> Mapping[StreamPartition, str]:
        """What is held now, and why."""
        return self._subscription.holding

    def handled(self, poll_batch: PollBatch) -> None:
        """The pipeline is done with it."""
        if poll_batch.change is None:
            self._growth.handled()
            self._credits.release()

    def stop(self, *, discard: bool, timeout_s: float) -> bool:
        """Stop polling, release all partitions (or, with `discard`, forget them), leave the group. False: too late."""
        self._discard = discard
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the poll thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._prepare(self._stopping)
            if self._stopping.is_set():
                return
            self._consumer = self._intake.open({**self._properties, "on_commit": self._commits.on_commit})
            ours = self._subscription
            self._consumer.subscribe(
                list(self._inputs.streams), on_assign=ours.on_assign, on_revoke=ours.on_revoke, on_lost=ours.on_lost
            )
            log.info("subscribed", topics=sorted(self._inputs.streams))
            while not self._stopping.is_set():
                self._turn(self._consumer)
            ours.leave(self._consumer, discard=self._discard)
            self._close()
            log.info("left the group")
        except Exception as error:  # noqa: BLE001 - a thread's last words: the worker must not go on without it
            self._on_fatal(error)
            if self._consumer is not None:  # so that others need not wait for the session timeout
                self._assignment.lose(list(self._assignment.owned))
                self._close()
        finally:
            self._commits.end()

    def _close(self) -> None:
        assert self._consumer is not None
        self._intake.close()
        self._consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        self._serve(wait=False)
        while not self._held.empty():
            at, reason = self._held.get()
            if reason is None:
                self._subscription.accept(consumer, at)
            else:
                self._subscription.hold(consumer, at, reason)
        if self._rewinds.is_asked:
            self._intake.forget()
            self._subscription.rewind(consumer)
            return
        # A rewind may have cut a hand-over short and left the consumer paused: then nothing would come any more.
        self._subscription.resume(consumer)
        self._subscription.unpark_when_due(consumer)
        self._intake.listen(consumer)
        # What waits for the pipeline leaves when that is free, with all that has come by then: no message delays it.
        has_waited = self._intake.has_kept and self._growth.await_end(min(self._wake_s(), GATHER_S))
        messages, full = self._intake.take(0.0 if has_waited else self._wake_s())
        if not full and self._growth.should_grow(sum(map(len, messages.values())), time.monotonic()):
            self._intake.keep(messages)
        else:
            self._hand_over_messages(consumer, messages)
        self._trim.turn(time.monotonic(), worked=bool(messages))
        self._gauges.update(consumer, self._assignment.owned, self.held)

    def _wake_s(self) -> float:
        """How long to wait for messages: until the pipeline wants to be woken, or what was kept back is due."""
        return max(LEAST_WAIT_S, min(self._wake_at(), self._growth.until) - time.monotonic())

    def _hand_over_messages(self, consumer: Consumer, messages: ByStream) -> None:
        owned = self._assignment.owned
        poll_batch = self._poll_batch_of(consumer, messages)
        if poll_batch.messages or poll_batch.ended or poll_batch.idle or time.monotonic() >= self._wake_at():
            self._hand_over(poll_batch, owned=owned)
        self._intake.handed_over(messages)

    def _poll_batch_of(self, consumer: Consumer, messages: ByStream) -> PollBatch:
        """The messages, with what the client reported meanwhile and where the partitions stand now."""
        ends = (self._end_of(message) for message in self._intake.take_said())
        ended = {at: offset for at, offset in ends if at is not None}
        next_offsets = self._positions(consumer, messages) if messages else {}
        now = time.monotonic()
        moved = self._idleness.note(next_offsets, ended, now)
        paused = self._subscription.is_paused
        idle = frozenset() if paused else self._idleness.idle(self._is_at_end, now) - self._subscription.holding.keys()
        return PollBatch(messages, moved, ended=frozenset(ended), idle=idle)

    def _positions(self, consumer: Consumer, messages: ByStream) -> dict[StreamPartition, int]:
        """Where the partitions stand: one call for all of them, instead of one look at each message."""
        places = consumer.position(consumer.assignment())
        offsets = {self._inputs.at(place): place.offset for place in places if place.offset >= 0}
        if len(offsets) < len(self._assignment.owned):
            # Nothing was read yet of some partitions. Or the client has let go of them without a word, because a
            # consumer with its name has fenced it.
            for stream, some in messages.items():
                for partition in np.flatnonzero(np.bincount(some.partitions)).tolist():
                    if (at := StreamPartition(stream, partition)) not in offsets:
                        offsets[at] = int(some.offsets[some.partitions == partition].max()) + 1
        return offsets

    def _end_of(self, message: ClientMessage) -> tuple[StreamPartition | None, int]:
        """The partition that ended, and where. Errors the client recovers from by itself are logged, others end the
        worker."""
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            return self._intake.place_of(message), message.offset()
        raise_if_ending(message)
        log.warning("consumer error", error=error.str())
        return None, -1

    def _is_at_end(self, at: StreamPartition, end: int) -> bool:
        """Asks the broker, because an idle partition and one whose broker is away look the same from here."""
        assert self._consumer is not None
        try:
            _, high = self._consumer.get_watermark_offsets(
                self._inputs.place(at), timeout=self._limits.kafka_timeout / 1000, cached=False
            )
        except KafkaException:
            return False
        return int(high) <= end

    # --- credits ------------------------------------------------------------------------------------------------------

    def _hand_over(self, poll_batch: PollBatch, *, owned: Mapping[StreamPartition, Owned]) -> None:
        """Put it into the channel once there is a credit; not at all if we are stopping or a rewind is asked for.

        `owned`: what was ours when it was polled. Partitions that changed hands while it waited will be read again.
        """
        patient_until = time.monotonic() + self._limits.pause_after / 1000
        while not self._credits.acquire(timeout=self._turn_s):
            if self._stopping.is_set() or self._rewinds.is_asked:
                return  # what is not handed over is not committed: it will be read again
            self._serve(wait=False)
            self._keep_polling(pause=time.monotonic() > patient_until)
        if self._consumer is not None:
            self._subscription.resume(self._consumer)
        if owned is not self._assignment.owned:
            now = self._assignment.owned
            poll_batch = poll_batch.only({at for at, each in owned.items() if now.get(at) is each})
        self._growth.handed_over()
        self._put(poll_batch)

    def _keep_polling(self, *, pause: bool) -> None:
        assert self._consumer is not None
        if pause:
            self._subscription.pause(self._consumer)
        self._intake.listen(self._consumer)

    def _serve(self, *, wait: bool) -> None:
        assert self._consumer is not None
        self._commits.permit(self._assignment.owned, self._membership.metadata)
        self._commits.serve(self._consumer, self._assignment.owned, self._inputs.topics, wait=wait)

    # --- when partitions change hands ---------------------------------------------------------------------------------

    def _announce(self, change: Change) -> None:
        """The change takes its place among the messages. It needs no credit: it must not be lost, and they are few."""
        self._put(PollBatch(change=change))

    def _changed_hands(self, taken: Sequence[StreamPartition]) -> None:
        self._intake.only_ours()
        self._idleness.forget(taken)
