"""All that a topic holds now, for commands: committed records only, outside of any group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_app.errors import TidecastError
from stream_app.kafka.admin import Admin
from stream_app.kafka.clients import describe_error, reader_properties
from stream_app.kafka.up_to_ends import may_not_read, read_up_to

if TYPE_CHECKING:
    from confluent_kafka import Message

    from stream_app.settings import Settings

POLL_MESSAGES_MAX = 10_000
POLL_WAIT_S = 0.05  # the client waits all of it for a last partial batch
Progress = Callable[[int, int], None]  # (offsets passed, offsets in all)


class TopicScan:
    """One topic, read any number of times. `with TopicScan(…) as scan`; TidecastError when Kafka does not answer."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        self._timeout_s = settings.limits.kafka_timeout / 1000
        self._servers = settings.kafka.properties("consumer")["bootstrap.servers"]
        self._admin = Admin(settings)
        self._consumer = Consumer(reader_properties(settings) | {"enable.partition.eof": True})

    def __enter__(self) -> TopicScan:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def ends(self) -> dict[int, int]:
        """Partition → offset after its last record, now."""
        return {partition: end for partition, (_, end) in self._watermarks().items()}

    def messages(self, ends: Mapping[int, int], progress: Progress = lambda done, total: None) -> Iterator[Message]:
        """All records before `ends`, by partition in log order. Memory: what the client fetches ahead."""
        watermarks = self._watermarks()
        places = {each: min(watermarks[each][0], end) for each, end in ends.items() if each in watermarks}
        first, total = sum(places.values()), sum(ends[each] for each in places)
        self._consumer.assign([TopicPartition(self.topic, each, place) for each, place in places.items()])
        there = {each: ends[each] for each in places}
        try:
            for messages in read_up_to(
                self._consumer, self.topic, places, there, most=POLL_MESSAGES_MAX, wait_s=POLL_WAIT_S
            ):
                yield from messages
                progress(sum(places.values()) - first, total - first)
        except KafkaException as error:
            raise self._failed(error) from None

    def message(self, partition: int, offset: int) -> Message | None:
        """The record at a place; None if there is none (any more)."""
        low, high = self._watermarks().get(partition, (0, 0))
        if not low <= offset < high:
            return None
        self._consumer.assign([TopicPartition(self.topic, partition, offset)])
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            for message in self._consumer.consume(1, POLL_WAIT_S):
                error = message.error()
                if error is None:
                    return message if message.offset() == offset else None
                if error.code() == KafkaError._PARTITION_EOF:
                    return None
                if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise may_not_read(self.topic)
        raise TidecastError(f"The broker sent nothing of {self.topic} for {self._timeout_s:g} s; try again.")

    def _watermarks(self) -> dict[int, tuple[int, int]]:
        try:
            topics = self._admin.list_topics(timeout=self._timeout_s).topics
        except KafkaException as error:
            raise self._admin.failure(error) from None
        if self.topic not in topics:
            raise TidecastError(f"There is no topic {self.topic}; `tidecast topics create` makes it.")
        try:
            return {
                each: self._consumer.get_watermark_offsets(TopicPartition(self.topic, each), timeout=self._timeout_s)
                for each in topics[self.topic].partitions
            }
        except KafkaException as error:
            raise self._failed(error) from None

    def _failed(self, error: KafkaException) -> TidecastError:
        return TidecastError(
            f"Reading {self.topic} failed: {describe_error(error)}. Is Kafka running, and {self._servers} its address "
            "(kafka.bootstrap_servers)?"
        )
