"""One thread that owns the consumer: what comes of all topics goes into the views, whatever becomes of the brokers.

It belongs to no consumer group and commits nothing. When it is further behind than `api.backlog_max` it passes over
what is older: a page shows the present.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from stream_app.api.view import StreamView
from stream_app.errors import TidecastError
from stream_app.kafka.clients import reader_properties
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.observability.health import Readiness
from stream_app.schema_registry.client import schemas_of
from stream_app.wire import decoder
from stream_app.wire.framing import MAGIC, Schemas
from stream_app.wire.published import as_json

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
POLL_S = 0.2  # messages of that long are taken together
AT_ONCE_MAX = 2_000  # some megabytes of them, which the caches and the allocator hold
LOOK_S = 15.0  # for new topics and partitions
ASK_AGAIN_S = 1.0
FRAMED = bytes([MAGIC])  # how a message in Avro begins
QUEUE_KIB = 16_384  # of messages that wait in the client
OUTPUTS = ("forecasts", "accuracy", "drift", "dead_letters")


class Following(threading.Thread):
    """`readiness` says in sentences what is missing."""

    def __init__(self, settings: Settings, views: Mapping[str, StreamView], readiness: Readiness) -> None:
        super().__init__(name="follower", daemon=True)
        self._settings = settings
        self._readiness = readiness
        self._stopping = threading.Event()
        self._lost = threading.Event()  # the client says that no broker is there
        self.passed_over = 0  # messages
        self._passed_at = 0.0  # time.monotonic() when it was last asked whether to
        self._feeds: dict[str, Feed] = {}
        schemas = schemas_of(settings)
        for name, view in views.items():
            self._feeds[view.spec.topic] = Feed(view, "readings", schemas)
            for output in OUTPUTS:
                self._feeds[view.spec.outputs.topic(output, name)] = Feed(view, output, schemas)
        readiness.block("start", "The topics have not been read yet.")

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (TidecastError, KafkaException) as error:
                self._say("kafka", str(error))
            except Exception as error:  # a fault of ours must not leave a page that never changes
                log.exception("following failed")
                self._say("kafka", f"following the topics failed and is begun anew: {type(error).__name__}: {error}")
            self._stopping.wait(ASK_AGAIN_S)

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(timeout_s)

    def _follow(self) -> None:
        client = reader_properties(self._settings) | {
            "error_cb": self._on_error,
            "queued.max.messages.kbytes": QUEUE_KIB,
            "fetch.wait.max.ms": 100,
        }
        self._lost.clear()
        with TopicFollower(list(self._feeds), client, newest=self._settings.api.backlog_max) as follower:
            self._found(follower, follower.refresh())
            looked = time.monotonic()
            while not self._stopping.is_set():
                self._turn(follower)
                missing_soon = ASK_AGAIN_S if "topics" in self._readiness.reasons else LOOK_S
                if self._lost.is_set() or time.monotonic() - looked > missing_soon:
                    self._lost.clear()
                    self._found(follower, follower.refresh())
                    looked = time.monotonic()

    def _turn(self, follower: TopicFollower) -> None:
        for topic, messages in follower.poll(POLL_S, most=AT_ONCE_MAX).items():
            self._feeds[topic].take(messages, follower.partition_count(topic))
        if time.monotonic() - self._passed_at > ASK_AGAIN_S:
            self.passed_over += follower.forget_what_is_too_old()
            self._passed_at = time.monotonic()
        if follower.trouble is not None:
            self._say("topics", f"Kafka does not hand out {follower.trouble}. Does this user have Read on it?")
            follower.trouble = None
        if "start" in self._readiness.reasons:
            if follower.caught_up():
                self._readiness.clear("start")
                log.info("caught up", topics=len(self._feeds))
            else:
                self._readiness.block("start", f"Reading what is there already: {follower.share_read():.0%} so far.")

    def _found(self, follower: TopicFollower, missing: Sequence[str]) -> None:
        """The brokers have answered."""
        self._readiness.clear("kafka")
        forbidden = follower.forbidden
        if forbidden:
            self._say("topics", f"This user may not read {', '.join(forbidden)}: give it Read on them.")
        elif missing:
            self._say("topics", f"Waiting for {', '.join(missing)}: `tidecast topics create` makes them.")
        else:
            self._readiness.clear("topics")

    def _say(self, name: str, reason: str) -> None:
        if self._readiness.reasons.get(name) != reason:
            log.warning("not ready", reason=reason)
        self._readiness.block(name, reason)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost.set()


def _json(output: str, value: bytes) -> bytes:
    """A published message as JSON; of what is neither, nothing, which is counted as unreadable."""
    if value[:1] != FRAMED:
        return value
    try:
        return as_json(output, value) or b""
    except (ValueError, LookupError, EOFError, TypeError, OverflowError):
        return b""


class Feed:
    """What comes of one topic, into the view of its stream."""

    def __init__(self, view: StreamView, kind: str, schemas: Schemas | None) -> None:
        self._view = view
        self._kind = kind
        self._decode = decoder(view.spec, schemas)

    def take(self, messages: Sequence[Any], partitions: int) -> None:
        """Committed messages, in the order of each partition."""
        view = self._view
        if self._kind == "readings":
            now_ms = time.time_ns() // 1_000_000
            view.feed_readings(self._decode(view.spec, messages, now_ms=now_ms, partition_count=max(1, partitions)))
        elif self._kind == "dead_letters":
            view.feed_dead_letters(messages)
        else:
            self._outputs([(message, message.value()) for message in messages])

    def _outputs(self, found: list[tuple[Any, bytes | None]]) -> None:
        view = self._view
        told = [(message, _json(self._kind, value)) for message, value in found if value is not None]
        values = [value for _, value in told]
        if self._kind == "accuracy":
            view.feed_accuracy(values)
        elif self._kind == "drift":
            view.feed_drift(values)
        else:
            partitions = [message.partition() for message, _ in told]
            view.feed_forecasts(partitions, [message.offset() for message, _ in told], values)
            # A null value: the series was deleted.
            gone = [message.key() for message, value in found if value is None]
            names = []
            for key in gone:
                with suppress(UnicodeDecodeError):
                    names.append((key or b"").decode())
            if names:
                view.delete(names)
