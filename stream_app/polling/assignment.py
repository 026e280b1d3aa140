"""Ownership of partitions: taking them on assignment, letting go of them at revocation, loss and stop.

Runs in the poll thread, inside the consumer's callbacks. What `take` returns goes to the pipeline in the order of the
messages; `owned` is what a commit is checked against.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import Consumer

from model_core.spec import StreamSpec
from stream_app.checkpoints import StoreUnavailable
from stream_app.errors import KafkaAway
from stream_app.polling.poll_batch import Assigned, Lost, Receipt, Released, Rewound, StreamPartition
from stream_app.recovery.journal import Journaled

if TYPE_CHECKING:
    from model_core.partition import PartitionState
    from model_core.shadow import Shadow
    from stream_app.checkpoints import OwnerToken
    from stream_app.observability.health import Health
    from stream_app.recovery.restore import Restorer
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
REVOCATION_SHARE = 0.2  # of max.poll.interval.ms
MAX_POLL_INTERVAL_MS = 300_000  # librdkafka's default


@dataclass(eq=False)
class Owned:
    """One partition while it is ours; a new one for each assignment, so that identity tells two ownerships apart.

    `state`, `shadow`, `emit_from` and `journaled` belong to the pipeline's thread; `token`, `taken_again_at`,
    `is_ahead` to the saver's.
    """

    at: StreamPartition
    spec: StreamSpec
    state: PartitionState
    token: OwnerToken
    start_offset: int  # where reading begins: the state's next_offset, or the start of the log
    emit_from: int  # outputs caused by earlier readings were published before: they are computed, not sent again
    journaled: Journaled
    never_committed: bool = False  # in a new deployment
    reached_end: bool = False
    offered_to: int = 0  # newest offset given to the publisher to commit
    copied: tuple[int, int] | None = None  # `version` of the newest copy of the state
    taken_again_at: float | None = None  # in Redis (time.monotonic()), and Kafka has taken no offset of it since
    is_ahead: bool = False  # its state is: the newest offset that was to be committed was not
    shadow: Shadow | None = None  # the candidate that runs beside its model
    copy_arrived: threading.Event = field(default_factory=threading.Event)  # none is on its way to the store

    def __post_init__(self) -> None:
        # Where a new deployment begins is committed before there is any reading: a checkpoint never stands without it,
        # and `auto_offset_reset` is asked once.
        self.offered_to = self.emit_from - self.never_committed
        self.copy_arrived.set()

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever the state does."""
        return self.state.next_offset, self.journaled.count

    @property
    def has_changed(self) -> bool:
        return self.copied != self.version

    def take_uncommitted(self) -> bool:
        """Whether there is a newer offset to commit. Never one below what is committed: a replay takes nothing back."""
        newer = self.state.next_offset > self.offered_to
        self.offered_to = max(self.offered_to, self.state.next_offset)
        return newer

    def commit_again(self) -> None:
        """What leaves without a new reading must be fenced as well: its offset is committed once more."""
        self.offered_to = min(self.offered_to, self.state.next_offset - 1)

    @property
    def is_live(self) -> bool:
        """Replay is over: all that was published is in the state, and every journaled decision is."""
        caught_up = self.state.next_offset >= self.emit_from or self.reached_end
        return caught_up and not self.journaled.pending


class Assignment:
    """What is ours. `owned` is replaced, never changed in place: other threads may look."""

    def __init__(self, settings: Settings, *, restorer: Restorer, health: Health) -> None:
        self._restorer = restorer
        self._health = health
        interval_ms = int(settings.kafka.consumer.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS))
        self._deadline_s = min(REVOCATION_SHARE * interval_ms, settings.limits.revocation_deadline) / 1000
        self.owned: dict[StreamPartition, Owned] = {}

    def take(self, consumer: Consumer, partitions: Sequence[StreamPartition]) -> Assigned:
        """Become the owner in Redis, read the states, find where to begin. StoreUnavailable, KafkaAway: not yet."""
        started = time.monotonic()
        try:
            taken = tuple(self._restorer.restore(consumer, partitions)) if partitions else ()
        except (StoreUnavailable, KafkaAway) as error:
            self._health.restore_waits(str(error), "store" if isinstance(error, StoreUnavailable) else "kafka")
            raise
        self._health.restored()
        self.owned = self.owned | {owned.at: owned for owned in taken}
        self._health.assigned(len(self.owned))
        if taken:  # the first round of a cooperative rebalance may give nothing
            log.info(
                "assigned",
                partitions=[str(owned.at) for owned in taken],
                to_replay={str(owned.at): max(0, owned.emit_from - owned.start_offset) for owned in taken},
                series=sum(len(owned.state.columns) for owned in taken),
                seconds=round(time.monotonic() - started, 3),
            )
        return Assigned(taken)

    def hold(self, at: StreamPartition, reason: str) -> bool:
        """Nothing more is read of it until a person accepts. False: it is not ours any more."""
        if at not in self.owned:
            return False
        log.error("partition held", partition=str(at), reason=reason)
        self._health.held(str(at), reason)
        return True

    def accepted(self, at: StreamPartition) -> None:
        log.info("partition accepted", partition=str(at))
        self._health.released(str(at))

    def release(self, partitions: Sequence[StreamPartition]) -> tuple[Released, float]:
        """The request to finish these, and its deadline (time.monotonic())."""
        mine = frozenset(partitions) & self.owned.keys()
        if mine:
            log.info("releasing", partitions=sorted(map(str, mine)))
        return Released(mine, Receipt()), time.monotonic() + self._deadline_s

    def released(self, released: Released) -> bool:
        """Done (True), or too late (False): from here on nothing of these partitions may be committed."""
        self._let_go(released.partitions)
        in_time = released.receipt.is_complete()
        if not in_time:
            released.receipt.give_up()
            log.warning(
                "released too late: uncommitted work is discarded, its owner does it again",
                partitions=sorted(map(str, released.partitions)),
                deadline_s=self._deadline_s,
            )
        return in_time

    def lose(self, partitions: Sequence[StreamPartition]) -> Lost:
        """They belong to somebody else already."""
        mine = frozenset(partitions) & self.owned.keys()
        self._let_go(mine)
        if mine:
            log.warning("lost", partitions=sorted(map(str, mine)))
        return Lost(mine)

    def rewind(self, number: int, reason: str) -> Rewound:
        """All are given up as they are in memory; the caller takes them again."""
        log.warning("rewound", reason=reason, partitions=sorted(map(str, self.owned)))
        self.owned = {}  # who is held stays so
        return Rewound(number)

    def _let_go(self, partitions: frozenset[StreamPartition]) -> None:
        self.owned = {at: owned for at, owned in self.owned.items() if at not in partitions}
        for at in partitions:
            self._health.released(str(at))
        self._health.assigned(len(self.owned))
