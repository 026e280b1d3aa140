"""Who we are to the group, as the last callback of a rebalance found it: what partitions are ours by.

Kafka checks a transaction's offsets by the generation and the member id that come with them, not by who owns a
partition (and not at all where neither is named: KIP-447). What the client would say at the moment may be true of a
generation in which our partitions are another's, before the callback that says so is served: a worker that was asleep,
and joined again. So what is sent is what was true when the partitions were given to us. Cooperative rebalancing calls
back in each generation, also when nothing changes hands.
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
