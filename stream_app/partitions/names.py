"""What a partition is called: by us (stream and number), and by Kafka's client (topic and number)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import OFFSET_INVALID, TopicPartition

from model_core.spec import StreamSpec


class StreamPartition(NamedTuple):
    """One partition of a stream's input topic."""

    stream: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stream}[{self.partition}]"


def partitions_of(stream: str, of: Iterable[StreamPartition]) -> list[int]:
    """The partitions of one stream's topic among these."""
    return [at.partition for at in of if at.stream == stream]


class InputTopics:
    """The streams' input topics, one each. Raises KeyError for a stream or topic that is not configured."""

    def __init__(self, streams: Mapping[str, StreamSpec]) -> None:
        self.topics: Mapping[str, str] = {stream: spec.topic for stream, spec in streams.items()}
        self.streams: Mapping[str, str] = {topic: stream for stream, topic in self.topics.items()}

    def place(self, at: StreamPartition, offset: int = OFFSET_INVALID) -> TopicPartition:
        """As the client calls it; with an offset where one is to be read from, or committed."""
        return TopicPartition(self.topics[at.stream], at.partition, offset)

    def at(self, place: TopicPartition) -> StreamPartition:
        """As we call it."""
        return StreamPartition(self.streams[place.topic], place.partition)
