"""Examines what the configured user may do in Kafka, against what the program needs.

The table is that of docs/OPERATIONS.md, Security.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation

from model_core.spec import OUTPUT_KINDS
from stream_app.doctor.findings import Finding, Findings, error, ok, warning
from stream_app.kafka.clients import describe_error, output_properties

if TYPE_CHECKING:
    from stream_app.doctor.brokers import Brokers
    from stream_app.settings import Settings

INPUT, GROUP = "input", "group"


@dataclass(frozen=True)
class Need:
    on: str  # INPUT, GROUP or a kind of output
    operation: AclOperation
    without: str = ""  # what happens then, where the program works all the same


READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
NEEDS = {
    "worker": (
        Need(INPUT, READ),
        Need("journal", READ),
        *(Need(kind, WRITE) for kind in OUTPUT_KINDS),
        Need(GROUP, READ),
    ),
    "trainer": (Need(INPUT, READ), Need("control", READ, "`tidecast train --follow` does not hear workers ask")),
    "page": (
        Need(INPUT, READ),
        *(Need(kind, READ) for kind in ("forecasts", "accuracy", "drift", "dead_letters")),
        Need(GROUP, DESCRIBE, "the page cannot see that workers catch up, and gives way to nobody"),
    ),
}


class Rights:
    def __init__(self, settings: Settings, brokers: Brokers, program: str) -> None:
        self._settings = settings
        self._brokers = brokers
        self._program = program

    def look(self) -> Findings:
        """Compare the rights that the brokers report with those that the program needs."""
        for stream, spec in self._settings.streams.items():
            topics = {kind: spec.outputs.topic(kind, stream) for kind in OUTPUT_KINDS} | {INPUT: spec.topic}
            yield from self._on_topics([(topics[need.on], need) for need in NEEDS[self._program] if need.on != GROUP])
        yield from self._on_group([need for need in NEEDS[self._program] if need.on == GROUP])
        if self._program == "worker" and self._settings.delivery == "exactly_once":
            yield from self._transactions()

    def _on_topics(self, needs: list[tuple[str, Need]]) -> Findings:
        names = sorted({topic for topic, _ in needs})
        timeout_s = self._brokers.timeout_s
        futures = self._brokers.admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=timeout_s
        )
        allowed: dict[str, Iterable[AclOperation] | None] = {}
        for name, future in futures.items():
            try:
                allowed[name] = future.result(timeout_s).authorized_operations
            except KafkaException as refused:
                code = refused.args[0].code()
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    allowed[name] = ()
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._brokers.admin.failure(refused) from None
        for topic, need in needs:
            if topic in allowed:
                yield _held("topic", topic, need, allowed[topic])
            elif self._program != "worker":  # for which the look at topics has said it
                yield error("topic", topic, "it does not exist", "`tidecast topics create` makes all of them")

    def _on_group(self, needs: list[Need]) -> Findings:
        group = self._settings.application_id
        described = self._brokers.described_group()
        for need in needs:
            if described is not None and described.authorized_operations is not None:
                yield _held("group", group, need, described.authorized_operations)
            elif need.operation is DESCRIBE:  # who may not is not told that there is no such group yet
                yield ok("rights", group, "Describe on this group")

    def _transactions(self) -> Findings:
        """Try to begin a transaction, under a transactional id of its own, so that no worker is fenced."""
        name = f"{self._settings.application_id}-doctor"
        producer = Producer(output_properties(self._settings) | {"transactional.id": name})
        try:
            producer.init_transactions(self._brokers.timeout_s)
        except KafkaException as refused:
            yield error(
                "rights",
                name,
                f"no transaction can begin: {describe_error(refused)}",
                f"give the user Write on the transactional ids that begin with {self._settings.application_id}",
            )
        else:
            yield ok("rights", name, "Write on the transactional id")


def _held(kind: str, name: str, need: Need, allowed: Iterable[AclOperation] | None) -> Finding:
    word = need.operation.name.title()
    if need.operation in (allowed or ()):
        return ok("rights", name, f"{word} on this {kind}")
    found, remedy = f"the user may not {word} on this {kind}", f"give it {word} on the {kind} {name}"
    if need.without:
        return warning("rights", name, f"{found}: {need.without}", f"{remedy} (docs/OPERATIONS.md, Security)")
    return error("rights", name, found, f"{remedy} (docs/OPERATIONS.md, Security)")
