"""The partitions that this worker owns: taken with their state on assignment, released on revocation, loss and stop.

Runs in the poll thread, inside the consumer's callbacks, which subscription.py serves. What `take` returns goes to the
pipeline in the order of the messages; commits are checked against `owned`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import Consumer

from stream_app.checkpoints import StoreUnavailable
from stream_app.errors import KafkaAway
from stream_app.kafka.clients import consumer_properties
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned, Receipt
from stream_app.polling.poll_batch import Assigned, Lost, Released, Rewound

if TYPE_CHECKING:
    from stream_app.observability.health import Health
    from stream_app.recovery.restore import Restorer
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
REVOCATION_SHARE = 0.2  # of max.poll.interval.ms


class Assignment:
    """What is ours. `owned` is replaced, never changed in place: other threads read it."""

    def __init__(self, settings: Settings, *, restorer: Restorer, health: Health) -> None:
        self._restorer = restorer
        self._health = health
        share_ms = REVOCATION_SHARE * int(consumer_properties(settings)["max.poll.interval.ms"])
        self._deadline_s = min(share_ms, settings.limits.revocation_deadline) / 1000
        self.owned: dict[StreamPartition, Owned] = {}
        self._answered: dict[StreamPartition, int] = {}  # as this worker knew of partitions that it gave up

    def take(self, consumer: Consumer, partitions: Sequence[StreamPartition]) -> Assigned:
        """Become the owner in Redis, read the states, find where to begin. Raises StoreUnavailable or KafkaAway if a
        server is away: try again later."""
        started = time.monotonic()
        try:
            taken = tuple(self._restorer.restore(consumer, partitions, self._answered)) if partitions else ()
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
            log.warning(
                "released too late: uncommitted work is discarded, its owner does it again",
                partitions=sorted(map(str, released.partitions)),
                deadline_s=self._deadline_s,
            )
        return in_time

    def give_back(self, partitions: Sequence[StreamPartition]) -> None:
        """Release partitions that were taken but never announced to the pipeline."""
        self._let_go(frozenset(partitions))

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
        self._answered |= {at: owned.answered_to for at, owned in self.owned.items()}
        self.owned = {}  # who is held stays so
        return Rewound(number)

    def _let_go(self, partitions: frozenset[StreamPartition]) -> None:
        self._answered |= {at: self.owned[at].answered_to for at in partitions & self.owned.keys()}
        self.owned = {at: owned for at, owned in self.owned.items() if at not in partitions}
        for at in partitions:
            self._health.released(str(at))
        self._health.assigned(len(self.owned))
