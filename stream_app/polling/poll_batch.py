"""What the poll thread hands to the pipeline: messages and changes of ownership, in one order.

A change travels through the same channel as the messages, so it takes effect exactly between those before it and those
after it. Knows nothing of Kafka's client beyond the messages, and nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stream_app.partitions.names import StreamPartition, partitions_of

if TYPE_CHECKING:
    from stream_app.partitions.owned import Owned, Receipt
    from stream_app.wire.message_columns import MessageColumns


@dataclass(frozen=True)
class Assigned:
    """These partitions are ours, restored; their messages follow."""

    partitions: tuple[Owned, ...]


@dataclass(frozen=True)
class Released:
    """Finish what is in flight for these, commit, checkpoint, let go of them, and complete the receipt."""

    partitions: frozenset[StreamPartition]
    receipt: Receipt


@dataclass(frozen=True)
class Lost:
    """These belong to somebody else already: forget them, write nothing."""

    partitions: frozenset[StreamPartition]


@dataclass(frozen=True)
class Rewound:
    """All partitions go on from their checkpoints: forget what is in memory. They follow as Assigned."""

    number: int  # of rewinds so far


@dataclass(frozen=True)
class Accepted:
    """A person has looked at these, which were held: what could not be used so far counts no more."""

    partitions: frozenset[StreamPartition]


Change = Assigned | Released | Lost | Rewound | Accepted


@dataclass(frozen=True)
class PollBatch:
    """One turn of the poll thread. Empty ones are sent too, when the pipeline asked to be woken."""

    messages: Mapping[str, MessageColumns] = field(default_factory=dict)  # by stream, log order within a partition
    next_offsets: Mapping[StreamPartition, int] = field(default_factory=dict)  # after these messages
    ended: frozenset[StreamPartition] = frozenset()  # partitions whose end was reached in this turn
    idle: frozenset[StreamPartition] = frozenset()  # at their end without a reading for the stream's idle_timeout
    change: Change | None = None

    def only(self, partitions: Collection[StreamPartition]) -> PollBatch:
        """The part of it that is about these."""
        return PollBatch(
            {
                stream: messages.where(np.isin(messages.partitions, partitions_of(stream, partitions)))
                for stream, messages in self.messages.items()
            },
            {at: offset for at, offset in self.next_offsets.items() if at in partitions},
            ended=self.ended.intersection(partitions),
            idle=self.idle.intersection(partitions),
            change=self.change,
        )

    def __len__(self) -> int:
        return sum(len(messages) for messages in self.messages.values())
