"""Examines Kafka: broker settings, topics, and how far the group is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AclOperation, ConfigResource, OffsetSpec, ResourceType

from stream_app.doctor.findings import Findings, error, ok, warning
from stream_app.kafka.admin import Admin
from stream_app.kafka.topics import TopicAdmin

if TYPE_CHECKING:
    from stream_app.settings import Settings

OFFSETS_KEPT_DAYS_MIN = 7
REPLICAS_MIN = 3
LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Brokers:
    """Asks the brokers. Raises TidecastError when they cannot be reached."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.timeout_s = settings.limits.kafka_timeout / 1000
        self.admin = Admin(settings)
        self.address = str(settings.kafka.properties("admin")["bootstrap.servers"])
        self._count = 0
        self._partitions: dict[str, int] = {}

    def greet(self) -> str:
        metadata = self._ask(lambda: self.admin.list_topics(timeout=self.timeout_s))
        self._count = len(metadata.brokers)
        self._partitions = {name: len(topic.partitions) for name, topic in metadata.topics.items()}
        answer = "broker answers" if self._count == 1 else "brokers answer"
        return f"{self._count} {answer}, {len(self._partitions)} topics"

    # --- looks --------------------------------------------------------------------------------------------------------

    def encryption(self) -> Findings:
        protocol = str(self._settings.kafka.properties("admin").get("security.protocol", "PLAINTEXT")).upper()
        if "SSL" not in protocol and not self.address.startswith(LOCAL):
            yield warning(
                "encryption",
                "kafka",
                f"{protocol} to {self.address}: readings and passwords travel in the clear",
                'set "security.protocol" in [kafka.client] to SASL_SSL or SSL',
            )

    def settings(self) -> Findings:
        limits = self._settings.limits
        values = self._broker_settings()
        if values is None:
            yield warning(
                "broker",
                "settings",
                "this user may not read the brokers' settings",
                "give it DescribeConfigs on the cluster, or look at them yourself: docs/OPERATIONS.md",
            )
            return
        longest = int(values.get("transaction.max.timeout.ms", limits.transaction_timeout))
        if longest < limits.transaction_timeout and self._settings.delivery == "exactly_once":
            yield error(
                "broker",
                "transaction.max.timeout.ms",
                f"{longest} ms, below limits.transaction_timeout ({limits.transaction_timeout}): no worker can start",
                "raise it, or lower limits.transaction_timeout",
            )
        days = int(values.get("offsets.retention.minutes", 10_080)) / 1440
        if days < OFFSETS_KEPT_DAYS_MIN:
            yield warning(
                "broker",
                "offsets.retention.minutes",
                f"{days:.1f} days: after such a stop offsets are gone",
                f"set it to {OFFSETS_KEPT_DAYS_MIN} days or more; else a worker refuses and names `tidecast reset`",
            )
        if values.get("unclean.leader.election.enable") == "true":
            yield warning(
                "broker",
                "unclean.leader.election.enable",
                "true: a broker that lags may take commits back",
                "set it to false",
            )
        yield ok("broker", "settings", f"transactions up to {longest / 1000:g} s, offsets kept for {days:.0f} days")

    def topics(self) -> Findings:
        asking = TopicAdmin(self._settings)
        for stream, spec in self._settings.streams.items():
            for topic in asking.check(stream, spec):
                if topic.partitions is None:
                    yield error("topic", topic.topic, "it does not exist", "`tidecast topics create` makes all of them")
                elif topic.problem:
                    yield error(
                        "topic", topic.topic, topic.problem, "mend it: `tidecast topics check` shows all topics"
                    )
                elif self._count >= REPLICAS_MIN and (topic.replication or 0) < REPLICAS_MIN:
                    yield warning(
                        "topic",
                        topic.topic,
                        f"{topic.replication} copies on {self._count} brokers: a lost disk loses it",
                        f"raise the replication factor to {REPLICAS_MIN}, with min.insync.replicas = 2",
                    )
                else:
                    yield ok("topic", topic.topic, f"{topic.partitions} partitions, {topic.cleanup}")

    def group(self) -> Findings:
        """The members of the group, and how far behind they are."""
        described = self.described_group()
        members = len(described.members) if described is not None else 0
        wanted = {spec.topic: self._partitions.get(spec.topic, 0) for spec in self._settings.streams.values()}
        partitions = sum(wanted.values())
        name = self._settings.application_id
        if members == 0:
            yield warning("workers", name, "no worker is running", "start one: tidecast worker")
        elif members > partitions:
            yield warning(
                "workers",
                name,
                f"{members} workers for {partitions} partitions: the rest stay unready",
                "run fewer, or give the topics more partitions under a new application_id",
            )
        else:
            yield ok("workers", name, f"{members} for {partitions} partitions")
        for topic, count in wanted.items():
            if count:
                yield from self._lag(topic, count)

    # --- how they are asked -------------------------------------------------------------------------------------------

    def _ask(self, question: Any) -> Any:
        try:
            return question()
        except KafkaException as refused:
            raise self.admin.failure(refused) from None

    def _broker_settings(self) -> dict[str, str] | None:
        broker = next(iter(self.admin.list_topics(timeout=self.timeout_s).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        (future,) = self.admin.describe_configs([resource], request_timeout=self.timeout_s).values()
        try:
            return {name: str(entry.value) for name, entry in future.result(self.timeout_s).items()}
        except KafkaException:
            return None

    def described_group(self) -> Any:
        """The group as the brokers describe it, or None if it does not exist yet."""
        group = self._settings.application_id
        futures = self.admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=self.timeout_s
        )
        try:
            return futures[group].result(self.timeout_s)
        except KafkaException as refused:
            if refused.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return _Forbidden()
            return None

    def _lag(self, topic: str, count: int) -> Findings:
        places = [TopicPartition(topic, partition) for partition in range(count)]
        request = ConsumerGroupTopicPartitions(self._settings.application_id, places)
        (future,) = self.admin.list_consumer_group_offsets([request], request_timeout=self.timeout_s).values()
        answer = self._ask(lambda: future.result(self.timeout_s))
        committed = {each.partition: each.offset for each in answer.topic_partitions if each.offset >= 0}
        if not committed:
            yield ok("lag", topic, "nothing was forecast yet")
            return
        first, last = (self._offsets(places, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        for partition, offset in sorted(committed.items()):
            if offset < first[partition]:
                yield error(
                    "lag",
                    f"{topic}[{partition}]",
                    f"readings {offset} to {first[partition] - 1} were deleted before they were read",
                    "keep the input longer (retention.ms); `tidecast reset --to earliest` goes on with what is left",
                )
        behind = sum(last[partition] - offset for partition, offset in committed.items())
        if behind > self._settings.limits.backlog_readings_max:
            yield warning(
                "lag",
                topic,
                f"{behind:,} readings behind",
                "start more workers, up to one a partition; look at the dashboard Overview for what is slow",
            )
        else:
            yield ok("lag", topic, f"{behind:,} readings behind")

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        futures = self.admin.list_offsets(
            dict.fromkeys(places, spec),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self.timeout_s,
        )
        return {
            at.partition: self._ask(lambda f=future: f.result(self.timeout_s)).offset for at, future in futures.items()
        }


class _Forbidden:
    """A group that this user may not describe."""

    members: tuple[Any, ...] = ()
    authorized_operations: tuple[AclOperation, ...] = ()
