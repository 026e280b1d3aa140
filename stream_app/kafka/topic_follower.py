"""Reading topics for people: from the newest messages on, committed ones only, outside of any consumer group.

Nothing is committed, so that watching never moves the place of a program that consumes the same topics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.kafka.consumer_errors import ClientMessage
    from stream_app.kafka.fetch_queue import Borders
    from stream_app.wire.message_columns import MessageColumns

POLL_MESSAGES_MAX = 20_000
ERRORS_AT_ONCE = 1_000
QUESTION_TIMEOUT_S = 8.0


class TopicFollower:
    """All partitions of some topics, each from `newest` messages before its end (None: from its start)."""

    def __init__(
        self,
        topics: Sequence[str],
        client: Mapping[str, Any],
        *,
        newest: int | None,
        middles: Mapping[str, Borders] | None = None,
    ) -> None:
        """TidecastError when no broker answers. A topic that is not there yet is looked for again by `refresh`.

        `middles`: what is left out of the values of a topic, see FetchQueue."""
        from stream_app.kafka.fetch_queue import FetchQueue

        self._topics = list(topics)
        self._address = client.get("bootstrap.servers")
        self._newest = newest
        self.trouble: str | None = None  # what a broker said of a topic instead of messages
        self.forbidden: list[str] = []  # of the topics that are not there for us, those that we may not know of
        self._places: dict[tuple[str, int], int] = {}  # next offset to read
        self._ends: dict[tuple[str, int], int] = {}  # as they were when last asked
        self._starts: dict[tuple[str, int], int] = {}
        self._consumer, self._fetched = FetchQueue.open(
            {
                "fetch.queue.backoff.ms": 5,
                **client,
                "group.id": "tidecast-people",  # the client wants one; it is never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.error.backoff.ms": 50,
            },
            middles,
        )
        self.refresh()

    def refresh(self) -> list[str]:
        """Look for new topics and partitions. Returns the topics that do not exist."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            known = self._consumer.list_topics(timeout=QUESTION_TIMEOUT_S).topics
            found = {(topic, each) for topic in self._topics if topic in known for each in known[topic].partitions}
            new = sorted(found - self._places.keys())
            if new:
                self._fetched.divert([TopicPartition(*place) for place in (*self._places, *new)])
            for topic, partition in new:
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=QUESTION_TIMEOUT_S
                )
                start = low if self._newest is None else max(low, high - self._newest)
                self._places[topic, partition], self._ends[topic, partition] = start, high
                self._starts[topic, partition] = start
                self._consumer.incremental_assign([TopicPartition(topic, partition, start)])
        except KafkaException as error:
            raise TidecastError(
                f"No answer about topics from a Kafka broker at {self._address} ({error.args[0].str()}). Is it "
                "running, and is the address right: --bootstrap, or kafka.bootstrap_servers in the configuration?"
            ) from error
        missing = [topic for topic in self._topics if topic not in known]
        self.forbidden = [topic for topic in missing if self._is_forbidden(topic)]
        return missing

    def _is_forbidden(self, topic: str) -> bool:
        """Whether we may not read the topic, as far as is known: if nobody answers, it counts as missing."""
        from confluent_kafka import KafkaException

        from stream_app.kafka.consumer_errors import is_forbidden

        try:
            return is_forbidden(self._consumer, topic, QUESTION_TIMEOUT_S)
        except KafkaException:
            return False

    def refresh_ends(self) -> None:
        """Ask again where the partitions end, for `caught_up`."""
        from confluent_kafka import TopicPartition

        for topic, partition in self._places:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=QUESTION_TIMEOUT_S)
            self._ends[topic, partition] = high

    def forget_what_is_too_old(self) -> int:
        """Leave out what is further behind than `newest`, for those who want the present. Messages passed over.

        By the ends that came with the messages, so that nobody is asked.
        """
        from confluent_kafka import TopicPartition

        passed = 0
        for (topic, partition), place in self._places.items():
            start = self.end(topic, partition) - self._newest if self._newest else 0
            if place < start:
                self._consumer.seek(TopicPartition(topic, partition, start))
                passed += start - place
                self._places[topic, partition] = start
        return passed

    def end(self, topic: str, partition: int) -> int:
        """As it came with the newest messages, so that nobody is asked; below 0 where none have come."""
        from confluent_kafka import TopicPartition

        return int(self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)[1])

    def caught_up(self) -> bool:
        """Whether everything has been read that was there when the ends were last asked for."""
        return all(place >= self._ends[key] for key, place in self._places.items())

    def share_read(self) -> float:
        """About what share has been read of what was there when the ends were last asked for: a number for people."""
        starts = {key: self._starts.get(key, 0) for key in self._ends}
        total = sum(end - starts[key] for key, end in self._ends.items())
        done = sum(min(self._places[key], end) - starts[key] for key, end in self._ends.items())
        return done / total if total else 1.0

    def poll(self, timeout_s: float, *, most: int = POLL_MESSAGES_MAX) -> dict[str, MessageColumns]:
        """New messages by topic, in the order of each partition; at most so many."""
        said: list[ClientMessage] = list(self._consumer.consume(ERRORS_AT_ONCE, 0))  # serves the callbacks as well
        fetched = self._fetched.take(most, first_s=timeout_s, gather_s=timeout_s, most_s=timeout_s)
        for topic, messages in fetched.messages.items():
            for first, end in messages.runs:
                self._reached(topic, int(messages.partitions[first]), int(messages.offsets[end - 1]) + 1)
        for each in (*said, *fetched.errors):
            self._hear(each)
        return fetched.messages

    def _hear(self, said: ClientMessage) -> None:
        from confluent_kafka import KafkaError

        code = said.error().code()
        if code == KafkaError._PARTITION_EOF:
            # Behind the last message there may be markers of transactions, which are never handed out.
            self._reached(said.topic(), said.partition(), said.offset())
        elif code != KafkaError.GROUP_AUTHORIZATION_FAILED:  # nobody wants its group, which is never joined
            self.trouble = f"{said.topic()}: {said.error().str()}"

    def _reached(self, topic: str, partition: int, offset: int) -> None:
        self._places[topic, partition] = max(self._places[topic, partition], offset)

    def partitions(self, topic: str) -> list[int]:
        """The partitions that are followed."""
        return [partition for known, partition in self._places if known == topic]

    def partition_count(self, topic: str) -> int:
        return sum(known == topic for known, _ in self._places)

    def close(self) -> None:
        self._fetched.close()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
