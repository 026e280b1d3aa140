"""Fetched messages as columns: confluent-kafka makes a Python object of each message, which under load is a third of
all work done while holding the interpreter's lock.

The consumer stays confluent-kafka's: the group, rebalances, commits, seeks and pauses. Only the fetched messages of our
partitions go to a queue of our own, by librdkafka's public functions (`rd_kafka_queue_forward` and
`rd_kafka_consume_batch_queue`), and from there into columns, in one call that does not need the lock. Everything else
that the client reports comes by `consume()` as usual.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from model_core.arrays import IntArray
from model_core.compiled import address
from stream_app.kafka import compiled
from stream_app.kafka.librdkafka import ADDRESS, Handle, library, opened
from stream_app.wire.message_columns import COLUMNS, MessageColumns, Texts

Borders = tuple[bytes, bytes]


class _Message(ctypes.Structure):
    """rd_kafka_message_t"""

    _fields_ = [
        ("err", ctypes.c_int),
        ("topic", ADDRESS),
        ("partition", ctypes.c_int32),
        ("value", ADDRESS),
        ("value_bytes", ctypes.c_size_t),
        ("key", ADDRESS),
        ("key_bytes", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
    ]


class _Middle(ctypes.Structure):
    """As in fetched.c."""

    _fields_ = [
        ("topic", ADDRESS),
        ("begin", ctypes.c_char_p),
        ("begin_bytes", ctypes.c_int64),
        ("end", ctypes.c_char_p),
        ("end_bytes", ctypes.c_int64),
    ]


class ClientError(NamedTuple):
    """What the client says between messages, of one partition."""

    of_topic: str
    of_partition: int
    code: int
    text: str
    at_offset: int = -1

    def topic(self) -> str:
        return self.of_topic

    def partition(self) -> int:
        return self.of_partition

    def offset(self) -> int:
        return self.at_offset

    def error(self) -> KafkaError:
        return KafkaError(self.code, self.text)


class Fetched(NamedTuple):
    """One take: messages by topic, and errors."""

    messages: dict[str, MessageColumns]
    errors: list[ClientError]


class FetchQueue:
    """Used by the thread that owns the consumer alone.

    `middles`: topic → two borders. Of its values that are JSON objects the part from the first border on is left out,
    to behind the first byte of the last place of the second: what nobody looks at need not be copied.
    """

    def __init__(self, handle: Handle, middles: Mapping[str, Borders] | None = None) -> None:
        self._kafka = library()
        self._client = handle.client
        self._queue: int = self._kafka.rd_kafka_queue_new(self._client)
        self._diverted = np.empty(0, np.int64)  # rd_kafka_queue_t* of each of our partitions
        self._pointers = np.empty((2, 0), np.int64)
        self._middles = middles or {}

    @classmethod
    def open(
        cls, properties: Mapping[str, Any], middles: Mapping[str, Borders] | None = None
    ) -> tuple[Consumer, FetchQueue]:
        """A consumer, and the queue that its messages will go to."""
        consumer, handle = opened(Consumer, properties)
        return consumer, cls(handle, middles)

    def divert(self, places: Iterable[TopicPartition]) -> None:
        """What is fetched of these comes here from now on. To be called before they are assigned, so that nothing of
        them goes another way; others are let go of."""
        self._let_go()
        get = self._kafka.rd_kafka_queue_get_partition
        queues = [get(self._client, place.topic.encode(), place.partition) for place in places]
        self._diverted = np.array(queues, np.int64)
        self._forward()

    def take(self, most: int, *, first_s: float, gather_s: float, most_s: float) -> Fetched:
        """Waits `first_s` for a message, then `gather_s` for as many as come along, and never longer than `most_s`."""
        if self._pointers.shape[1] < most:
            self._pointers = np.empty((2, most), np.int64)
        self._forward()
        pointers = address(self._pointers, np.int64)
        waits = (round(1000 * seconds) for seconds in (first_s, gather_s, most_s))
        count = compiled.take.unlocked(most, self._queue, *waits, pointers)
        if count <= 0:
            return Fetched({}, [])
        try:
            return self._columns(count, pointers)
        finally:
            (compiled.release.unlocked if count > 64 else compiled.release.keeping)(count, pointers)

    def close(self) -> None:
        """To be called before the consumer is closed."""
        self._let_go()
        self._kafka.rd_kafka_queue_destroy(self._queue)

    # ---

    def _forward(self) -> None:
        # Each time: the client takes it back when it stops fetching a partition, at a moment that it does not tell.
        if len(self._diverted):
            compiled.forward.keeping(len(self._diverted), address(self._diverted, np.int64), self._queue)

    def _let_go(self) -> None:
        for queue in self._diverted.tolist():
            self._kafka.rd_kafka_queue_destroy(queue)
        self._diverted = np.empty(0, np.int64)

    def _columns(self, count: int, pointers: int) -> Fetched:
        topics, sizes = np.empty(count, np.int64), np.empty(3, np.int64)
        room = pointers + self._pointers.strides[0]
        good = compiled.measure(count, pointers, room, address(topics, np.int64), address(sizes, np.int64))
        different = topics[:1] if (topics == topics[0]).all() else np.unique(topics)
        names = {topic: self._kafka.rd_kafka_topic_name(topic).decode() for topic in different.tolist()}
        errors = [self._error(int(self._pointers[0, row]), names) for row in range(good, count)]
        if not good:
            return Fetched({}, errors)
        together = _copied(good, pointers, sizes, names[int(topics[0])], self._middles_of(names))
        if len(different) == 1:
            return Fetched({together.topic: together}, errors)
        by_topic = {}
        for topic, name in names.items():
            rows = np.flatnonzero(topics[:good] == topic)
            if len(rows):
                some = together.take(rows)
                by_topic[name] = MessageColumns(name, some.block, some.texts, some.header_starts, is_whole=False)
        return Fetched(by_topic, errors)

    def _error(self, pointer: int, names: Mapping[int, str]) -> ClientError:
        message = _Message.from_address(pointer)
        text = ctypes.string_at(message.value, message.value_bytes) if message.value else b""
        told = text.decode(errors="replace")
        return ClientError(names[message.topic], message.partition, message.err, told, message.offset)

    def _middles_of(self, names: Mapping[int, str]) -> list[_Middle]:
        if not self._middles:
            return []
        found = ((topic, self._middles.get(name)) for topic, name in names.items())
        return [_Middle(topic, each[0], len(each[0]), each[1], len(each[1])) for topic, each in found if each]


def _copied(count: int, pointers: int, sizes: IntArray, topic: str, middles: list[_Middle]) -> MessageColumns:
    block = np.empty((COLUMNS, count), np.int64)
    texts = Texts(*(np.empty(size, np.uint8) for size in sizes.tolist()))
    start = address(block, np.int64)
    places = [*range(start, start + block.nbytes, block.strides[0]), *(address(text, np.uint8) for text in texts)]
    columns, without = (ADDRESS * (len(places) + 1))(*places, len(texts.headers)), (_Middle * len(middles))(*middles)
    copy = compiled.copy.unlocked if count > 64 else compiled.copy.keeping
    used = copy(count, pointers, len(middles), ctypes.addressof(without), ctypes.addressof(columns))
    return MessageColumns(topic, block, texts._replace(values=texts.values[:used]))
