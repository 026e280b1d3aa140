"""The thread that owns the consumer: messages of all topics go into the views, whatever happens to the brokers.

It belongs to no consumer group and commits nothing. If it is further behind than `api.backlog_max` it skips older
messages, because a page shows the present. While workers catch up with a backlog it gives way to them and rests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import structlog
from confluent_kafka import KafkaError, KafkaException

from stream_app.api.heads import MIDDLES
from stream_app.api.view import StreamView
from stream_app.api.workers import Pace, Workers
from stream_app.errors import TidecastError
from stream_app.kafka.clients import reader_properties
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.observability.health import Readiness
from stream_app.schema_registry.client import schemas_of
from stream_app.wire import decoder
from stream_app.wire.framing import Schemas
from stream_app.wire.message_columns import MessageColumns

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
POLL_S = 0.2  # messages of that long are taken together
AT_ONCE_MAX = 2_000  # some megabytes of them, which the caches and the allocator hold
LOOK_S = 15.0  # for new topics and partitions
ASK_AGAIN_S = 1.0
GAVE_WAY_S = 3.0  # so long it is said after a rest
# What waits in the client. It bounds an answer of a broker as well, which comes packed and is unpacked at once, however
# much waits already: a large one is much work at a moment when workers may need the machine.
QUEUE_KIB = 8_192
FULL_MS = 50  # until the client looks again whether there is room: at each look at every partition
PARTITION_BYTES = 131_072  # of one answer
OUTPUTS = ("forecasts", "accuracy", "drift", "dead_letters")


class Following(threading.Thread):
    """The thread. It writes into `readiness`, in sentences, what is missing."""

    def __init__(self, settings: Settings, views: Mapping[str, StreamView], readiness: Readiness) -> None:
        super().__init__(name="follower", daemon=True)
        self._settings = settings
        self._readiness = readiness
        self._stopping = threading.Event()
        self._lost = threading.Event()  # the client says that no broker is there
        self.passed_over = 0  # messages
        self._passed_at = 0.0  # time.monotonic() when it was last asked whether to
        self._gave_way_at = float("-inf")  # time.monotonic()
        self._workers = Workers(settings)
        self._feeds: dict[str, Feed] = {}
        schemas = schemas_of(settings)
        for name, view in views.items():
            self._feeds[view.spec.topic] = Feed(view, "readings", schemas)
            for output in OUTPUTS:
                self._feeds[view.spec.outputs.topic(output, name)] = Feed(view, output, schemas)
        self._inputs = {view.spec.topic for view in views.values()}
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

    @property
    def gives_way(self) -> bool:
        """Whether it rested for workers that catch up within the last GAVE_WAY_S seconds."""
        return time.monotonic() - self._gave_way_at < GAVE_WAY_S

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(timeout_s)
        if not self.is_alive():
            self._workers.close()

    def _follow(self) -> None:
        client = reader_properties(self._settings) | {
            "error_cb": self._on_error,
            "queued.max.messages.kbytes": QUEUE_KIB,
            "fetch.message.max.bytes": PARTITION_BYTES,
            "fetch.queue.backoff.ms": FULL_MS,
            "fetch.wait.max.ms": 100,
        }
        self._lost.clear()
        middles = {topic: MIDDLES[feed.kind] for topic, feed in self._feeds.items() if feed.kind in MIDDLES}
        newest = self._settings.api.backlog_max
        with TopicFollower(list(self._feeds), client, newest=newest, middles=middles) as follower:
            self._found(follower, follower.refresh())
            looked, pace = time.monotonic(), Pace(self._settings.api.catching_up_share)
            while not self._stopping.is_set():
                self._turn(follower, pace)
                missing_soon = ASK_AGAIN_S if "topics" in self._readiness.reasons else LOOK_S
                if self._lost.is_set() or time.monotonic() - looked > missing_soon:
                    self._lost.clear()
                    self._found(follower, follower.refresh())
                    looked = time.monotonic()

    def _turn(self, follower: TopicFollower, pace: Pace) -> None:
        came = follower.poll(POLL_S, most=AT_ONCE_MAX)
        for topic, messages in came.items():
            self._feeds[topic].take(messages, follower.partition_count(topic))
        self._look_after(follower)
        self._give_way(follower, came, pace)

    def _give_way(self, follower: TopicFollower, came: Iterable[str], pace: Pace) -> None:
        """Rest if outputs come while workers are behind: they may wait. If no outputs come, no worker is running."""
        inputs = self._inputs
        ends = {(topic, each): follower.end(topic, each) for topic in inputs for each in follower.partitions(topic)}
        begun = "start" not in self._readiness.reasons
        are_catching_up = begun and self._workers.are_catching_up(ends, time.monotonic())
        rest_s = pace.rest_s()
        if are_catching_up and rest_s and any(topic not in inputs for topic in came):
            self._stopping.wait(rest_s)
            self._gave_way_at = time.monotonic()

    def _look_after(self, follower: TopicFollower) -> None:
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
        """The brokers have answered: report which topics are missing or forbidden."""
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


class Feed:
    """Takes the messages of one topic into the view of its stream."""

    def __init__(self, view: StreamView, kind: str, schemas: Schemas | None) -> None:
        self._view = view
        self.kind = kind
        self._decode = decoder(view.spec, schemas)

    def take(self, messages: MessageColumns, partitions: int) -> None:
        """Committed messages, in the order of each partition."""
        view = self._view
        if self.kind == "readings":
            now_ms = time.time_ns() // 1_000_000
            view.feed_readings(self._decode(view.spec, messages, now_ms=now_ms, partition_count=max(1, partitions)))
        elif self.kind == "dead_letters":
            view.feed_dead_letters(messages)
        elif self.kind == "accuracy":
            view.feed_accuracy(messages)
        elif self.kind == "drift":
            view.feed_drift([value for value in messages.values if value is not None])
        else:
            view.feed_forecasts(messages)
            if len(gone := np.flatnonzero(messages.value_bytes < 0)):  # the series were deleted
                view.delete(_names(messages.take(gone).keys))


def _names(keys: Sequence[bytes | None]) -> list[str]:
    names = []
    for key in keys:
        with suppress(UnicodeDecodeError):
            names.append((key or b"").decode())
    return names
