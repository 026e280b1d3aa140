"""The order of the examination. A server that does not answer is asked nothing more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from stream_app.doctor.brokers import Brokers
from stream_app.doctor.findings import Finding, Findings, error, ok, warning
from stream_app.doctor.models import look_at_models
from stream_app.doctor.rights import Rights
from stream_app.doctor.schemas import look_at_schemas
from stream_app.doctor.store import Store
from stream_app.errors import TidecastError
from stream_app.kafka.admin import NotAllowed
from stream_app.runtime.startup import identities

if TYPE_CHECKING:
    from stream_app.checkpoints import Identity
    from stream_app.settings import Settings


def examine(
    settings: Settings, tell: Callable[[Finding], None] = lambda finding: None, program: str = "worker"
) -> list[Finding]:
    """All findings, each as soon as it is there. `program` other than a worker: only what that program needs."""
    found: list[Finding] = []

    def note(findings: Findings) -> None:
        for finding in findings:
            found.append(finding)
            tell(finding)

    there: dict[str, Identity] = {}
    try:
        brokers = Brokers(settings)
        note(iter([ok("kafka", brokers.address, brokers.greet())]))
    except TidecastError as reason:
        note(iter([error("kafka", "brokers", str(reason), "mend it first: nothing else of Kafka can be looked at")]))
    else:
        rights = Rights(settings, brokers, program).look
        looks = [brokers.encryption, rights]
        if program == "worker":
            looks = [brokers.encryption, brokers.settings, brokers.topics, rights, brokers.group]
        for look in looks:
            note(_guarded(look, "kafka", brokers.address))
        with suppress(TidecastError):  # a look at topics has said it
            there = identities(settings, brokers.admin)
    if program == "worker":  # nobody else speaks to Redis
        _look_at_redis(settings, there, note)
    note(look_at_schemas(settings))
    note(look_at_models(settings))
    return found


def _look_at_redis(settings: Settings, there: dict[str, Identity], note: Callable[[Findings], None]) -> None:
    try:
        store = Store(settings)
        note(iter([ok("redis", "server", store.greet())]))
    except TidecastError as reason:
        note(iter([error("redis", "server", str(reason), "mend it first: nothing else of Redis can be looked at")]))
    else:
        for look in (store.durability, store.memory, store.clock):
            note(_guarded(look, "redis", "server"))
        note(_guarded(lambda: store.states(there), "state", "checkpoints"))


def _guarded(look: Callable[[], Findings], name: str, about: str) -> Findings:
    """An examination that fails becomes a finding, and the others continue."""
    try:
        yield from look()
    except NotAllowed as reason:
        yield warning(name, about, str(reason), "or run the doctor as a user who may")
    except TidecastError as reason:
        yield error(name, about, str(reason), "mend it, and look again")
