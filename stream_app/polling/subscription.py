"""The consumer's subscription: partitions come and go in its callbacks, and not everything that is ours is being read.

Every change is announced at its place among the messages, so it takes effect exactly between those before and after it.
A partition may have to wait for its state (parked) or for a person (held); all of them wait, paused, while the pipeline
is behind. Knows nothing of messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from stream_app.checkpoints import StoreUnavailable
from stream_app.errors import KafkaAway
from stream_app.partitions.names import InputTopics, StreamPartition
from stream_app.polling.assignment import Assignment
from stream_app.polling.membership import Membership
from stream_app.polling.poll_batch import Accepted, Change
from stream_app.recovery.rewinds import Rewinds

if TYPE_CHECKING:
    from stream_app.observability.metrics import Metrics
    from stream_app.settings import Settings

UNPARK_S = 1.0  # between attempts to restore partitions whose store or broker is away
CALLBACK_S = 0.05  # until a callback that waits has been served
log = structlog.get_logger(__name__)


class Serve(Protocol):
    """Answer the publisher; `wait` inside a rebalance callback, where only a synchronous commit gets through."""

    def __call__(self, *, wait: bool) -> None: ...


class Subscription:
    """`announce` hands a change to the pipeline. `changed` is called after partitions came or went, with those that
    came; `divert` before partitions are assigned. `drop` serves the client and throws its messages away."""

    def __init__(
        self,
        settings: Settings,
        *,
        inputs: InputTopics,
        assignment: Assignment,
        membership: Membership,
        rewinds: Rewinds,
        metrics: Metrics,
        announce: Callable[[Change], None],
        changed: Callable[[Sequence[StreamPartition]], None],
        serve: Serve,
        divert: Callable[[Consumer, Sequence[TopicPartition]], None],
        drop: Callable[[Consumer, float], None],
    ) -> None:
        self._inputs = inputs
        self._turn_s = settings.limits.poll_wait / 1000
        self._is_transactional = settings.delivery == "exactly_once"
        self._assignment = assignment
        self._membership = membership
        self._rewinds = rewinds
        self._count_rewind = metrics.rewinds.inc
        self._announce = announce
        self._changed = changed
        self._serve = serve
        self._divert = divert
        self._drop = drop
        # Held until a person accepts, with the reason. Replaced, never changed in place: other threads read it.
        self.holding: dict[StreamPartition, str] = {}
        self.parked: set[StreamPartition] = set()  # assigned, paused, not restored yet
        self.is_paused = False
        self._unpark_at = 0.0  # time.monotonic()

    # --- callbacks of a rebalance -------------------------------------------------------------------------------------

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership.note(consumer)
        self._take(consumer, [self._inputs.at(partition) for partition in partitions])

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not self._membership.is_kept(consumer):
            # If anything is unassigned before the client could report them as lost, it never does.
            self.on_lost(consumer, partitions)
            return
        self._membership.note(consumer)
        self._release(consumer, self._going(partitions), in_callback=True)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership.lose()
        lost = self._assignment.lose(self._going(partitions))
        self._changed(())
        if lost.partitions:
            # In this order: once the pipeline has forgotten them it commits no offset of theirs, and only by such an
            # offset would Kafka refuse what was made of them.
            self._tear("partitions were lost")
            self._announce(lost)

    def _going(self, partitions: list[TopicPartition]) -> list[StreamPartition]:
        """These partitions go away: they are no longer parked or held."""
        going = [self._inputs.at(partition) for partition in partitions]
        self.parked.difference_update(going)
        self._hold_no_more(going)
        return going

    # --- taking -------------------------------------------------------------------------------------------------------

    def _take(self, consumer: Consumer, partitions: list[StreamPartition]) -> None:
        """Restore them and read on from where their states end. If a server needed for that is away, they wait."""
        inputs = self._inputs
        try:
            taken = self._assignment.take(consumer, partitions)
        except (StoreUnavailable, KafkaAway) as error:
            self._park(consumer, partitions, str(error))
            return
        starts = [inputs.place(owned.at, owned.start_offset) for owned in taken.partitions]
        again = [inputs.place(at) for at in partitions if at in self.parked]
        if again:
            if not self._membership.is_current(consumer):  # any more
                self._assignment.give_back(partitions)
                self._unpark_at = time.monotonic() + CALLBACK_S
                return
            consumer.incremental_unassign(again)
        self.parked.difference_update(partitions)
        self._changed(partitions)
        self._divert(consumer, starts)
        consumer.incremental_assign(starts)
        if self.is_paused:
            consumer.pause(starts)
        else:
            # A pause outlives an assignment, even a lost one. Held partitions stay held through a rewind.
            consumer.resume([start for start in starts if inputs.at(start) not in self.holding])
        self._announce(taken)

    def _park(self, consumer: Consumer, partitions: list[StreamPartition], reason: str) -> None:
        if not self.parked:
            log.warning("restoring waits", reason=reason)
        self._unpark_at = time.monotonic() + UNPARK_S
        new = [at for at in partitions if at not in self.parked]
        self.parked.update(partitions)
        places = [self._inputs.place(at, OFFSET_END) for at in new]
        self._divert(consumer, places)
        consumer.incremental_assign(places)
        consumer.pause(places)

    def unpark_when_due(self, consumer: Consumer) -> None:
        """Try again to restore what waits for it."""
        if self.parked and time.monotonic() >= self._unpark_at:
            self._unpark(consumer)

    def _unpark(self, consumer: Consumer) -> None:
        """Not while a rebalance callback is due: a parked partition may be another worker's by now, and unassigning it
        would answer that callback."""
        if self._membership.is_current(consumer):
            self._take(consumer, list(self.parked))
        else:
            self._unpark_at = time.monotonic() + CALLBACK_S

    def rewind(self, consumer: Consumer) -> None:
        """Once the publisher says that no earlier transaction can still be committed; until then nothing is read."""
        number = self._rewinds.take()
        if number is None:
            self._drop(consumer, self._turn_s)
            return
        self._count_rewind()
        places = list(self._assignment.owned)
        consumer.pause([self._inputs.place(at) for at in places])
        self._announce(self._assignment.rewind(number, self._rewinds.reason))
        self.parked.update(places)
        if places:
            self._unpark(consumer)

    # --- letting go ---------------------------------------------------------------------------------------------------

    def leave(self, consumer: Consumer, *, discard: bool) -> None:
        """All of it; `discard`: save nothing."""
        consumer.pause(consumer.assignment())
        if discard or self._rewinds.is_asked:
            self._assignment.lose(list(self._assignment.owned))
        else:
            self._release(consumer, list(self._assignment.owned), in_callback=False)

    def _release(self, consumer: Consumer, partitions: list[StreamPartition], *, in_callback: bool) -> None:
        """Finish, commit, checkpoint, let go; past the deadline, let go without."""
        released, deadline = self._assignment.release(partitions)
        if not released.partitions:
            return
        self._announce(released)
        while not released.receipt.is_complete() and time.monotonic() < deadline:
            self._serve(wait=in_callback)
            if in_callback:
                released.receipt.wait(self._turn_s)
            else:
                self._drop(consumer, self._turn_s)
        if not self._assignment.released(released):
            self._tear("a revocation missed its deadline")
        self._changed(())

    def _tear(self, reason: str) -> None:
        """Partitions went away with outputs in the open transaction: it must not be committed."""
        if self._is_transactional:
            self._rewinds.ask(reason)

    # --- what is read -------------------------------------------------------------------------------------------------

    def hold(self, consumer: Consumer, at: StreamPartition, reason: str) -> None:
        """Read no more of it."""
        if self._assignment.hold(at, reason):
            self.holding = self.holding | {at: reason}
            consumer.pause([self._inputs.place(at)])

    def accept(self, consumer: Consumer, at: StreamPartition) -> None:
        """A person has looked: it is read on."""
        if at in self.holding:
            self._hold_no_more([at])
            self._assignment.accepted(at)
            if not self.is_paused:
                consumer.resume([self._inputs.place(at)])
            self._announce(Accepted(frozenset({at})))

    def _hold_no_more(self, partitions: Collection[StreamPartition]) -> None:
        self.holding = {at: reason for at, reason in self.holding.items() if at not in partitions}

    def pause(self, consumer: Consumer) -> None:
        """Stop reading. This throws away what the client has fetched ahead, so it pays only for long waits."""
        if not self.is_paused:
            self.is_paused = True
            consumer.pause(consumer.assignment())
            log.info("paused", reason="the pipeline is behind")

    def resume(self, consumer: Consumer) -> None:
        if self.is_paused:
            self.is_paused = False
            waiting = [self._inputs.place(at) for at in self.holding.keys() | self.parked]
            consumer.resume([place for place in consumer.assignment() if place not in waiting])
            log.info("resumed")
