"""The topics of a stream: which ones there must be, how they should be kept, and what is wrong with existing ones.

`wanted` says it as values; `create` and `check` ask the brokers. The journal has as many partitions as the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from model_core.durations import format_duration
from model_core.spec import OUTPUT_KINDS, StreamSpec
from stream_app.errors import TidecastError
from stream_app.kafka.admin import Admin, NotAllowed

if TYPE_CHECKING:
    from stream_app.settings import Settings

DAY_MS = 86_400_000
FOREVER = -1
NEARLY = 0.75  # how alike two names are of which one may be the other, misspelt


def meant(topic: str, there: Iterable[str]) -> str:
    """The end of a sentence about a missing topic: which existing one was probably meant, if any has a similar name."""
    close = get_close_matches(topic, list(there), 1, NEARLY)
    return f" Did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Wanted:
    """A topic as `create` makes it. Retention in ms, -1 forever."""

    stream: str
    role: str  # input, or one of OUTPUT_KINDS
    topic: str
    partitions: int
    retention_ms: int
    cleanup: str = "delete"


@dataclass(frozen=True)
class Found:
    """A topic as it is; `problem` is a sentence with the remedy, None when it is as it should be."""

    stream: str
    role: str
    topic: str
    partitions: int | None = None
    replication: int | None = None
    retention_ms: int | None = None
    cleanup: str | None = None
    problem: str | None = None


def wanted(
    stream: str, spec: StreamSpec, *, partitions: int, retention_ms: int, compacted: bool = False
) -> list[Wanted]:
    """`retention_ms` is that of the input; the journal is kept as long, or a replay would lack its decisions.

    `compacted`: forecasts, accuracy and drift keep the newest message of each series for ever.
    """
    topics = [Wanted(stream, "input", spec.topic, partitions, retention_ms)]
    for role in OUTPUT_KINDS:
        keyed = role in ("forecasts", "accuracy", "drift")
        topics.append(
            Wanted(
                stream,
                role,
                spec.outputs.topic(role, stream),
                partitions,
                retention_ms if role == "journal" else max(retention_ms, 30 * DAY_MS) if retention_ms > 0 else FOREVER,
                "compact" if keyed and compacted else "delete",
            )
        )
    return topics


class TopicAdmin:
    """Questions to the brokers. Every one has a deadline, and a sentence when nobody answers."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.limits.kafka_timeout / 1000
        self._admin = Admin(settings)

    def partitions(self) -> dict[str, tuple[int, int]]:
        """Topic → (partitions, replication factor).

        All are asked for: asking for one by name would create it on brokers that create topics by themselves.
        """
        metadata = self._ask(lambda: self._admin.list_topics(timeout=self._timeout_s))
        return {
            name: (len(topic.partitions), min((len(p.replicas) for p in topic.partitions.values()), default=0))
            for name, topic in metadata.topics.items()
        }

    def retention_ms(self, topic: str) -> int | None:
        """The retention of an existing topic; None if this user may not see it."""
        try:
            return self._configs([topic])[topic][0]
        except NotAllowed:
            return None

    def create(self, topics: list[Wanted], replication: int) -> list[Wanted]:
        """Create the topics that do not exist, and return them. Replication -1 is the brokers' default."""
        there = self.partitions()
        missing = [topic for topic in topics if topic.topic not in there]
        if not missing:
            return []
        new = [
            NewTopic(
                topic.topic,
                num_partitions=topic.partitions,
                replication_factor=replication,
                config={"retention.ms": str(topic.retention_ms), "cleanup.policy": topic.cleanup},
            )
            for topic in missing
        ]
        futures = self._ask(lambda: self._admin.create_topics(new, operation_timeout=self._timeout_s))
        for name, future in futures.items():
            self._created(name, future)
        return missing

    def check(self, stream: str, spec: StreamSpec) -> list[Found]:
        """All topics of a stream, with what is wrong with them."""
        there = self.partitions()
        roles = {"input": spec.topic} | {role: spec.outputs.topic(role, stream) for role in OUTPUT_KINDS}
        configs = self._configs([name for name in roles.values() if name in there])
        found: dict[str, Found] = {}
        for role, topic in roles.items():
            if topic in there:
                count, replication = there[topic]
                retention, cleanup = configs[topic]
                found[role] = Found(stream, role, topic, count, replication, retention, cleanup)
            else:
                found[role] = Found(stream, role, topic)
        return [_judged(each, found["input"], spec) for each in found.values()]

    def _configs(self, topics: list[str]) -> dict[str, tuple[int, str]]:
        """Topic → (retention in ms, cleanup policy)."""
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        futures = self._ask(lambda: self._admin.describe_configs(resources, request_timeout=self._timeout_s))
        configs = {}
        for resource, future in futures.items():
            entries = self._ask(future.result)
            configs[resource.name] = (int(entries["retention.ms"].value), str(entries["cleanup.policy"].value))
        return configs

    def _created(self, name: str, future: Future[None]) -> None:
        try:
            future.result(timeout=self._timeout_s)
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody was faster
                raise TidecastError(
                    f"topic {name}: expected to create it, the broker refused: {reason.str()}."
                ) from None

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except KafkaException as error:
            raise self._admin.failure(error) from None


def _judged(topic: Found, source: Found, spec: StreamSpec) -> Found:
    rules = _INPUT_RULES if topic.role == "input" else _OUTPUT_RULES
    problem = next((text for rule in rules if (text := rule(topic, source, spec)) is not None), None)
    return Found(**{**topic.__dict__, "problem": problem})


def _is_there(topic: Found, _: Found, __: StreamSpec) -> str | None:
    return None if topic.partitions is not None else "it does not exist; `tidecast topics create` makes it"


def _keeps_all(topic: Found, _: Found, __: StreamSpec) -> str | None:
    if topic.cleanup == "delete":
        return None
    return f"cleanup.policy is {topic.cleanup}: readings vanish that a replay needs to rebuild a window; set delete"


def _keeps_enough(topic: Found, _: Found, spec: StreamSpec) -> str | None:
    needed = spec.needed_ticks * spec.step_ms
    if topic.retention_ms is None or topic.retention_ms < 0 or topic.retention_ms >= needed:
        return None
    return (
        f"retention.ms is {format_duration(topic.retention_ms)}: a lost state cannot be rebuilt from less than "
        f"{format_duration(needed)} of readings (context_length and seasons)"
    )


def _has_its_partitions(topic: Found, source: Found, _: StreamSpec) -> str | None:
    if topic.role != "journal" or source.partitions is None or topic.partitions == source.partitions:
        return None
    return f"it has {topic.partitions} partitions, the input {source.partitions}: the journal must have as many"


def _is_kept_as_long(topic: Found, source: Found, _: StreamSpec) -> str | None:
    if topic.role != "journal":
        return None
    if topic.cleanup != "delete":
        return f"cleanup.policy is {topic.cleanup}: decisions would vanish that a replay must follow; set delete"
    kept, wished = topic.retention_ms, source.retention_ms
    if kept is None or wished is None or kept < 0 or 0 <= wished <= kept:
        return None
    return "retention.ms is shorter than the input's: a replay would lack decisions; keep it as long"


_Rule = Callable[[Found, Found, StreamSpec], str | None]
_INPUT_RULES: tuple[_Rule, ...] = (_is_there, _keeps_all, _keeps_enough)
_OUTPUT_RULES: tuple[_Rule, ...] = (_is_there, _has_its_partitions, _is_kept_as_long)


def streams_of(settings: Settings, name: str | None) -> Mapping[str, StreamSpec]:
    """The named stream, or all of them."""
    if name is None and settings.streams:
        return settings.streams
    found, spec = settings.stream(name)
    return {found: spec}
