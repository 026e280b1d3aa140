"""Waits for Kafka, its topics and Redis at start: unready, with one clear sentence, until all are there.

What is found out about the topics at start stays fixed while the worker runs. If a topic gets more partitions, keys
have moved, and the workers stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from model_core.spec import OUTPUT_KINDS, StreamSpec
from stream_app.checkpoints import CheckpointStore, Identity, NoSuchDatabase, StoreUnavailable
from stream_app.errors import TidecastError
from stream_app.kafka.admin import Admin, unreachable
from stream_app.kafka.clients import describe_error
from stream_app.kafka.topics import meant
from stream_app.schema_registry.client import RegistryAway

if TYPE_CHECKING:
    from stream_app.observability.health import Health
    from stream_app.settings import Settings

ASK_AGAIN_S = 1.0
log = structlog.get_logger(__name__)


class NotThereYet(TidecastError):
    """Something is missing that is worth waiting for; the sentence says what."""


def wait_until_usable(
    settings: Settings,
    *,
    store: CheckpointStore,
    health: Health,
    stopping: threading.Event,
    find_schemas: Callable[[], None] = lambda: None,
) -> dict[str, Identity]:
    """The identity of each stream's log and group. TidecastError with the last reason after `limits.start_deadline`,
    and at once for a reason that waiting cannot mend."""
    deadline = time.monotonic() + settings.limits.start_deadline / 1000
    said: str | None = None
    admin = Admin(settings)
    while not stopping.is_set():
        try:
            found = identities(settings, admin)
            store.check_server()
            find_schemas()
        except NotThereYet as error:
            reason, needed = str(error), "kafka"
        except NoSuchDatabase:
            raise
        except StoreUnavailable as error:
            reason, needed = str(error), "store"
        except RegistryAway as error:
            reason, needed = str(error), "schema registry"
        else:
            health.started()
            return found
        if reason != said:
            log.warning("waiting", reason=reason)
            health.waiting(reason, needed)
            said = reason
        if time.monotonic() > deadline:
            raise TidecastError(
                f"{reason} The worker waited {settings.limits.start_deadline / 1000:g} s (limits.start_deadline)."
            )
        stopping.wait(ASK_AGAIN_S)
    return {}


def identities(settings: Settings, admin: AdminClient) -> dict[str, Identity]:
    """NotThereYet when no broker answers or a topic is missing."""
    timeout_s = settings.limits.kafka_timeout / 1000
    try:
        there = admin.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise NotThereYet(unreachable(admin, error)) from None
    for stream, spec in settings.streams.items():
        _check_topics(stream, spec, {name: len(topic.partitions) for name, topic in there.items()})
    topics = sorted(spec.topic for spec in settings.streams.values())
    try:
        cluster = admin.describe_cluster(request_timeout=timeout_s).result(timeout_s).cluster_id
        described = admin.describe_topics(TopicCollection(topics), request_timeout=timeout_s)
        found = {name: future.result(timeout_s) for name, future in described.items()}
    except KafkaException as error:
        raise NotThereYet(f"Expected Kafka to describe {topics}, found: {describe_error(error)}.") from None
    return {
        stream: Identity(
            str(cluster), str(found[spec.topic].topic_id), len(found[spec.topic].partitions), settings.application_id
        )
        for stream, spec in settings.streams.items()
    }


def _check_topics(stream: str, spec: StreamSpec, counts: Mapping[str, int]) -> None:
    if spec.topic not in counts:
        raise NotThereYet(
            f"Expected the topic {spec.topic} (streams.{stream}.topic), found none. Create it (tidecast topics "
            f"create), mend its name, or let the worker's user read it.{meant(spec.topic, counts)}"
        )
    missing = [topic for topic in (spec.outputs.topic(kind, stream) for kind in OUTPUT_KINDS) if topic not in counts]
    if missing:
        raise NotThereYet(
            f"Expected the output topics {', '.join(missing)}, found none. Create them (tidecast topics create), or "
            "let the worker's user write to them."
        )
    journal = spec.outputs.topic("journal", stream)
    if counts[journal] < counts[spec.topic]:
        raise TidecastError(
            f"Expected the topic {journal} to have the {counts[spec.topic]} partitions of {spec.topic}, found "
            f"{counts[journal]}: a partition's decisions lie in the journal's partition of the same number. "
            "If the input has grown, keys have moved: go on under a new application_id and output prefix, nothing is "
            "lost. Otherwise make the journal anew, with as many."
        )


__all__ = ["Identity", "NotThereYet", "identities", "wait_until_usable"]
