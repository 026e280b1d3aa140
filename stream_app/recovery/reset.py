"""`tidecast reset`: where a stopped deployment goes on. It moves the group's offsets and, except with
`--resume-from-state`, deletes the state; a replay rebuilds it from the log.

The state is deleted first: if the command is cut off in between, the worker rebuilds and goes on where it was, which is
safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from stream_app.checkpoints import CheckpointStore, connect
from stream_app.checkpoints.commands import PartitionKeys
from stream_app.checkpoints.header import Header, check_format
from stream_app.errors import TidecastError
from stream_app.kafka.admin import Admin

if TYPE_CHECKING:
    from stream_app.settings import Settings

GROUP_IN_USE = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.REBALANCE_IN_PROGRESS,
)


@dataclass(frozen=True)
class Moved:
    """Where a partition goes on."""

    partition: int
    offset: int


def parse_target(text: str) -> Literal["earliest"] | int:
    """`earliest`, or a moment in RFC 3339 as milliseconds."""
    if text == "earliest":
        return "earliest"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TidecastError(f"--to: expected earliest or a time such as 2026-03-01T10:00:00Z, found {text!r}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


class Reset:
    """One stream of one deployment, whose workers are stopped."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._settings = settings
        self._stream = stream
        self._topic = settings.streams[stream].topic
        self._timeout_s = settings.limits.kafka_timeout / 1000
        self._admin = Admin(settings)
        self._redis = connect(
            settings.redis.url, timeout_s=settings.limits.redis_timeout / 1000, cluster=settings.redis.cluster
        )
        self._store = CheckpointStore(self._redis, settings.application_id)

    def to(self, target: Literal["earliest"] | int) -> list[Moved]:
        """Readings from there on are forecast again; earlier ones only rebuild the state."""
        partitions = self._partitions()
        self._refuse_running_workers()
        first = self._offsets(partitions, OffsetSpec.earliest())
        found = first if target == "earliest" else self._offsets(partitions, OffsetSpec.for_timestamp(target))
        end = self._offsets(partitions, OffsetSpec.latest())
        for partition in partitions:
            self._store.forget(self._stream, partition)
        # A time after the newest record has no offset (-1): the end.
        return self._move({each: found[each] if found[each] >= 0 else end[each] for each in partitions})

    def resume_from_state(self) -> list[Moved]:
        """Go on after what the state contains, whatever the group says. The state stays."""
        partitions = self._partitions()
        self._refuse_running_workers()
        offsets = {each: self._saved_offset(each) for each in partitions}
        known = {each: offset for each, offset in offsets.items() if offset is not None}
        if not known:
            raise TidecastError(
                f"--resume-from-state: expected a state of stream {self._stream} in Redis, found none. "
                "Use --to earliest, or --to a time."
            )
        return self._move(known)

    def _saved_offset(self, partition: int) -> int | None:
        keys = PartitionKeys(self._redis, self._settings.application_id, self._stream, partition)
        found = keys.header()
        if found is None:
            return None
        check_format(keys.where, found[1])
        return Header.decode(found[1]).next_offset

    def _partitions(self) -> list[int]:
        topics = self._ask(lambda: self._admin.list_topics(timeout=self._timeout_s)).topics
        if self._topic not in topics:
            raise TidecastError(f"Expected the topic {self._topic} of stream {self._stream}, found none.")
        return sorted(topics[self._topic].partitions)

    def _offsets(self, partitions: list[int], which: Any) -> dict[int, int]:
        asked = {TopicPartition(self._topic, each): which for each in partitions}
        futures = self._ask(lambda: self._admin.list_offsets(asked, request_timeout=self._timeout_s))
        return {
            place.partition: self._ask(lambda f=future: f.result(self._timeout_s)).offset
            for place, future in futures.items()
        }

    def _refuse_running_workers(self) -> None:
        """Before anything is deleted."""
        group = self._settings.application_id
        future = self._admin.describe_consumer_groups([group], request_timeout=self._timeout_s)[group]
        try:
            members = future.result(self._timeout_s).members
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            raise self._unreachable(error) from None
        if members:
            raise self._in_use(len(members))

    def _move(self, offsets: dict[int, int]) -> list[Moved]:
        places = [TopicPartition(self._topic, each, offset) for each, offset in sorted(offsets.items())]
        request = ConsumerGroupTopicPartitions(self._settings.application_id, places)
        (future,) = self._admin.alter_consumer_group_offsets([request], request_timeout=self._timeout_s).values()
        try:
            answer = future.result(self._timeout_s)
        except KafkaException as error:
            raise (self._in_use(1) if error.args[0].code() in GROUP_IN_USE else self._unreachable(error)) from None
        failed = [place for place in answer.topic_partitions if place.error is not None]
        if failed:
            raise (
                self._in_use(1)
                if failed[0].error.code() in GROUP_IN_USE
                else TidecastError(
                    f"Kafka refused the offset of {self._topic}[{failed[0].partition}]: {failed[0].error.str()}"
                )
            )
        return [Moved(place.partition, place.offset) for place in places]

    def _ask(self, question: Any) -> Any:
        try:
            return question()
        except KafkaException as error:
            raise self._unreachable(error) from None

    def _in_use(self, members: int) -> TidecastError:
        return TidecastError(
            f"Expected no running worker of {self._settings.application_id}, found {members}. Stop them first; "
            "one that was killed leaves the group after session.timeout.ms."
        )

    def _unreachable(self, error: KafkaException) -> TidecastError:
        return self._admin.failure(error)
