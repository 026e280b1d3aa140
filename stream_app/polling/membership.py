"""Our membership in the consumer group, as the last rebalance callback found it: the right by which partitions are
ours.

Kafka checks the offsets of a transaction by the generation and the member id that come with them, not by who owns a
partition (and not at all if neither is given: KIP-447). What the client reports at this moment may already belong to a
generation in which our partitions are another worker's, before the callback that says so has run: for example when a
worker slept and joined again. So we send what was true when the partitions were given to us. Cooperative rebalancing
calls back in every generation, even if no partition changes hands.
"""

from __future__ import annotations

from confluent_kafka import Consumer


class Membership:
    """Poll thread."""

    def __init__(self) -> None:
        self._member: str | None = None
        self.metadata: bytes | None = None  # of the group; None: not a member that was told of

    def note(self, consumer: Consumer) -> None:
        """Inside a callback: this is the generation it is about."""
        member, metadata = consumer.memberid(), consumer.consumer_group_metadata()
        # Read in between, it is of this member, or of one whose place is lost already, which Kafka refuses.
        certain = bool(member) and consumer.memberid() == member
        self._member, self.metadata = (member, metadata) if certain else (None, None)

    def lose(self) -> None:
        """Our place is gone; the next callback that gives us partitions says what comes after."""
        self._member = self.metadata = None

    def is_kept(self, consumer: Consumer) -> bool:
        """The same member as in the last callback, maybe in a later generation."""
        return self._member is not None and consumer.memberid() == self._member

    def is_current(self, consumer: Consumer) -> bool:
        """Nothing has happened in the group that a callback has not told yet."""
        return self.metadata is not None and consumer.consumer_group_metadata() == self.metadata
