"""Messages that were fetched and not handed over yet, and what the client has reported meanwhile. Used by the poll
thread only.

It decides how much one poll may take, by the size of a usual message, and little at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_app.kafka.consumer_errors import ClientMessage
from stream_app.kafka.fetch_queue import FetchQueue
from stream_app.partitions.names import InputTopics, StreamPartition, partitions_of
from stream_app.partitions.owned import Owned
from stream_app.polling.assignment import Assignment
from stream_app.wire.message_columns import MessageColumns

if TYPE_CHECKING:
    from stream_app.settings import Settings

GATHER_S = 0.008  # for more messages after the first: a few ms cost less than a poll for each message
ERRORS_AT_ONCE = 1_000
FIRST_MESSAGE_BYTES = 1024  # before any was seen
FIRST_POLL_MAX = 50  # messages of the first poll after partitions came; each may have twice as many as the one before
ByStream = dict[str, MessageColumns]


class Intake:
    """Messages by stream."""

    def __init__(self, settings: Settings, inputs: InputTopics, assignment: Assignment) -> None:
        self._limits = settings.limits
        self._first_s = settings.limits.poll_wait / 1000
        self._streams = inputs.streams
        self._assignment = assignment
        self._owned_then: Mapping[StreamPartition, Owned] = assignment.owned  # when messages were taken last
        self._early: ByStream = {}
        self._said: list[ClientMessage] = []
        self._message_bytes = FIRST_MESSAGE_BYTES  # of a usual message, as the last poll had them
        self._poll_max = min(FIRST_POLL_MAX, self._limits.poll_batch_max)
        self._fetched: FetchQueue | None = None

    def open(self, properties: Mapping[str, Any]) -> Consumer:
        """The consumer whose messages come here."""
        consumer, self._fetched = FetchQueue.open(properties)
        return consumer

    def close(self) -> None:
        """Before the consumer is."""
        assert self._fetched is not None
        self._fetched.close()

    def divert(self, consumer: Consumer, new: Sequence[TopicPartition]) -> None:
        """Before these are assigned: what is fetched of them goes to the queue, as for those assigned already."""
        assert self._fetched is not None
        self._fetched.divert([*consumer.assignment(), *new])

    def listen(self, consumer: Consumer) -> None:
        """Serves the client's callbacks, a rebalance among them; what it says otherwise waits for its turn."""
        for message in consumer.consume(ERRORS_AT_ONCE, 0):
            if message.error() is None:
                where = f"{message.topic()}[{message.partition()}]"
                raise RuntimeError(f"expected what is fetched of {where} to come by the queue of its own")
            self._said.append(message)

    def drop(self, consumer: Consumer, wait_s: float) -> None:
        """As `listen`, while messages are of no use any more: they will be read again."""
        self._said += [message for message in consumer.consume(1, wait_s) if message.error() is not None]

    def take(self, most_s: float) -> tuple[ByStream, bool]:
        """Messages that were kept back and messages fetched within `most_s`; and whether they fill a poll batch."""
        assert self._fetched is not None
        changed = self._assignment.owned is not self._owned_then
        if changed:
            self._poll_max, self._owned_then = min(FIRST_POLL_MAX, self._limits.poll_batch_max), self._assignment.owned
        early, self._early = self._early, {}
        most, waiting = self._batch_max(), sum(map(len, early.values()))
        first_s = GATHER_S if waiting else self._first_s
        most_s = min(most_s, first_s + GATHER_S)
        fetched = self._fetched.take(max(1, most - waiting), first_s=first_s, gather_s=GATHER_S, most_s=most_s)
        self._said += fetched.errors
        came = {self._streams[topic]: messages for topic, messages in fetched.messages.items()}
        if changed:
            came = self._still_ours(came)
        for stream, messages in early.items():
            came[stream] = MessageColumns.concatenate([messages, came[stream]]) if stream in came else messages
        return came, sum(map(len, came.values())) >= most

    @property
    def has_kept(self) -> bool:
        """Messages wait here for company."""
        return bool(self._early)

    def keep(self, messages: ByStream) -> None:
        """Keep them back: they come with the next ones that are taken."""
        self._early = messages

    def handed_over(self, messages: ByStream) -> None:
        """Fit the size of the next polls to the messages of this one."""
        if count := sum(map(len, messages.values())):
            size = sum(int(np.maximum(some.value_bytes, 0).sum()) for some in messages.values())
            self._message_bytes = max(1, size // count)
            # Small at first: the outputs of a poll leave together, and after a restart somebody waits for the first.
            self._poll_max = min(2 * self._poll_max, self._limits.poll_batch_max)

    def take_said(self) -> list[ClientMessage]:
        """What the client said since the last time."""
        said, self._said = self._said, []
        return said

    def forget(self) -> None:
        """Drop all messages: they will be read again. What the client reported only once is kept, such as that another
        consumer has our name."""
        self._early = {}
        self._said = [said for said in self._said if not _is_end(said)]

    def only_ours(self) -> None:
        """After partitions changed hands: keep only what belongs to partitions that are still ours."""
        owned = self._assignment.owned
        kept = {
            stream: messages.where(np.isin(messages.partitions, partitions_of(stream, owned)))
            for stream, messages in self._early.items()
        }
        self._early = {stream: messages for stream, messages in kept.items() if messages}
        self._said = [said for said in self._said if not _is_end(said) or self.place_of(said) in owned]

    def place_of(self, message: ClientMessage) -> StreamPartition:
        """The partition that the client's message is about; its stream is "" if the topic is not ours."""
        return StreamPartition(self._streams.get(message.topic(), ""), message.partition())

    # ---

    def _batch_max(self) -> int:
        """Messages that a poll batch may have: a pack of many readings counts for as many as its bytes."""
        return max(1, min(self._poll_max, self._limits.poll_bytes_max // self._message_bytes))

    def _still_ours(self, messages: ByStream) -> ByStream:
        """After a rebalance: some messages may belong to partitions that went away, or arrive twice."""
        kept = {}
        for stream, some in messages.items():
            ours = np.zeros(len(some), np.bool_)
            for at, each in self._assignment.owned.items():
                if at.stream == stream:
                    ours |= (some.partitions == at.partition) & (some.offsets >= each.start_offset)
            if ours.any():
                kept[stream] = some.where(ours).in_log_order()
        return kept


def _is_end(said: ClientMessage) -> bool:
    return bool(said.error().code() == KafkaError._PARTITION_EOF)
