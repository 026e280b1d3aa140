"""The properties of the worker's Kafka clients: those from the settings, and those that the worker owns.

Why each is owned stands in settings/kafka_properties.py, which refuses them in a configuration.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaException

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
# Nobody processes on the thread that polls, so a long poll is no matter. It is also how long the client waits for an
# answer about its partitions: a broker that restarted may have lost the question (seen), and five minutes are long.
MAX_POLL_INTERVAL_MS = 120_000
# librdkafka says "Connect failed" each 50 ms while a broker is away; its errors come to us through the calls as well.
_client_log = logging.getLogger("librdkafka")
_client_log.addHandler(logging.NullHandler())
_client_log.propagate = False


def _on_error(error: Any) -> None:
    """Connection errors that the client recovers from by itself; other errors are raised by the call."""
    if structlog.is_configured():  # a command prints its result, and what has failed as one sentence
        log.debug("kafka client", error=error.str())


def _shared(settings: Settings, role: str) -> dict[str, Any]:
    return {
        "client.id": f"{settings.application_id}-{settings.instance_name}-{role}",
        "error_cb": _on_error,
        "logger": _client_log,
        "reconnect.backoff.max.ms": 2_000,
    }


def admin_properties(settings: Settings) -> dict[str, Any]:
    return _shared(settings, "admin") | settings.kafka.properties("admin")


def consumer_properties(settings: Settings) -> dict[str, Any]:
    """Properties of the consumer of the group."""
    member = {} if settings.instance_id is None else {"group.instance.id": settings.instance_id}
    given = settings.kafka.properties("consumer")
    session_ms = int(given.get("session.timeout.ms", 0))  # may not be longer than the interval
    return {
        **_shared(settings, "consumer"),
        "queued.min.messages": 200_000,
        "queued.max.messages.kbytes": 131_072,
        "fetch.queue.backoff.ms": 5,  # the default of a second lets the queue run dry under load
        "fetch.wait.max.ms": 100,
        "topic.metadata.refresh.interval.ms": 30_000,  # a new partition is noticed before much is read on wrongly
        "max.poll.interval.ms": max(MAX_POLL_INTERVAL_MS, session_ms),
        **given,
        **member,
        "group.id": settings.application_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        # Each start is given by us, so an offset out of range means that readings are gone: never skip them silently.
        "auto.offset.reset": "error",
    }


def reader_properties(settings: Settings) -> dict[str, Any]:
    """Properties of a consumer that reads given partitions, outside of the group."""
    return {
        **_shared(settings, "reader"),
        **settings.kafka.properties("consumer"),
        "group.id": f"{settings.application_id}.reader",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,  # it reads to the end and is done
    }


def producer_properties(settings: Settings, *, linger_ms: int = 5) -> dict[str, Any]:
    """Properties of a producer without transactions."""
    return {
        **_shared(settings, "producer"),
        "linger.ms": linger_ms,
        "batch.num.messages": 50_000,
        "queue.buffering.max.messages": 1_000_000,
        "compression.type": "lz4",
        "message.max.bytes": 1_000_000_000,  # the broker's limit decides
        **settings.kafka.properties("producer"),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "delivery.timeout.ms": settings.limits.publish_deadline,
    }


def output_properties(settings: Settings) -> dict[str, Any]:
    """Properties of the worker's producer. Under exactly_once its transactional id is the same after a restart."""
    if settings.delivery != "exactly_once":
        # Outputs come in batches already, and nobody flushes them before the next commit.
        return producer_properties(settings, linger_ms=1)
    limits, given = settings.limits, producer_properties(settings)
    if "socket.timeout.ms" in given:  # the client refuses one that is longer than a transaction
        given["socket.timeout.ms"] = min(int(given["socket.timeout.ms"]), limits.transaction_timeout)
    return {
        **given,
        "transactional.id": f"{settings.application_id}-{settings.instance_name}",
        "transaction.timeout.ms": limits.transaction_timeout,
        "delivery.timeout.ms": min(limits.publish_deadline, limits.transaction_timeout),
        # A new transaction within a few ms of the last commit is told to try again; the default waits 100 ms.
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 20,
    }


def describe_error(error: KafkaException) -> str:
    return str(error.args[0].str() if hasattr(error.args[0], "str") else error.args[0])
