"""The history of a topic for a trainer that keeps running: each training reads only what came since the one before.

What was read is kept as cells, the oldest of them as sums (folding.py), in the registry, together with the offsets that
it includes. A trainer that is started again goes on from there, even if the log has forgotten the readings since. Ticks
that are still open are not part of the history yet, because later readings may belong to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException, TopicCollection

from model_core.errors import LayoutMismatch
from model_core.training.folding import fold
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.kept_history import from_bytes, to_bytes
from stream_app.errors import TidecastError
from stream_app.kafka.admin import Admin
from stream_app.kafka.topic_history import HistoryBroken, read_topic
from stream_app.models.registry import ModelRegistry
from stream_app.training.train_job import OnProgress, Read

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)


class FollowedHistory:
    """One stream's."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._settings, self._stream, self._spec = settings, stream, settings.streams[stream]
        self._registry = ModelRegistry(settings.models.registry)
        self._opened = False
        self._begin()

    def _begin(self) -> None:
        self._history = CellHistory()
        self._feed = HistoryFeed(self._spec, self._history)
        self._places: dict[int, int] = {}
        self._topic_id: str | None = None  # of the topic whose places these are, where the broker says it
        self._readings = self._unusable = 0

    def read(self, on_progress: OnProgress) -> Read:
        """All there is by now; `readings` and `unusable` count those of all times. TidecastError as read_topic."""
        if not self._opened:
            self._take_over()
            self._opened = True
        try:
            self._same_topic()
            self._read_on(on_progress)
        except HistoryBroken as error:
            log.warning("history begins anew", stream=self._stream, reason=str(error))
            self._begin()
            self._same_topic()
            self._read_on(on_progress)
        if not len(self._history):
            raise TidecastError(f"No usable reading in topic {self._spec.topic!r} yet ({self._unusable} unusable).")
        given_up = fold(self._history, self._spec)
        if given_up:
            log.warning("sums begin anew", stream=self._stream, reason=given_up)
        self._keep()
        return Read(self._readings, self._unusable + self._feed.rejected, self._history)

    def _read_on(self, on_progress: OnProgress) -> None:
        for portion in read_topic(self._settings, self._spec, self._places):
            for partition, columns in portion.readings.items():
                self._feed.take(partition, columns)
                self._readings += len(columns)
            self._unusable += portion.unusable
            self._places = dict(portion.places)  # what is fed is not read again, whatever becomes of the rest
            on_progress("reading", portion.done / portion.total)

    def _same_topic(self) -> None:
        """HistoryBroken when the topic has been deleted and made again, which offsets alone may not tell."""
        topic, timeout_s = self._spec.topic, self._settings.limits.kafka_timeout / 1000
        try:
            described = Admin(self._settings).describe_topics(TopicCollection([topic]), request_timeout=timeout_s)
            found = str(described[topic].result(timeout_s).topic_id)
        except (KafkaException, TimeoutError):
            return  # read_topic says what is the matter, if anything is
        before, self._topic_id = self._topic_id, found
        if before not in (None, found):
            raise HistoryBroken(f"the topic {topic!r} was made anew: it is {found} now, and was {before}")

    # --- over a restart ---------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        beside = {
            "places": self._places,
            "topic_id": self._topic_id,
            "readings": self._readings,
            "unusable": self._unusable,
        }
        try:
            self._registry.keep_history(self._stream, to_bytes(self._spec, self._history, self._feed, beside))
        except OSError as error:
            log.warning("history not kept: a restart will read the log again", stream=self._stream, reason=str(error))

    def _take_over(self) -> None:
        """What a trainer before this one has kept, if it is of the stream as it is configured now."""
        try:
            content = self._registry.kept_history(self._stream)
            if content is None:
                return
            kept = from_bytes(self._spec, content)
        except LayoutMismatch as error:
            log.warning("history begins anew", stream=self._stream, reason=str(error))
            return
        if kept.told:
            log.warning("sums begin anew", stream=self._stream, reason=kept.told)
        self._history, self._feed, beside = kept.history, kept.feed, kept.beside
        self._places = {int(partition): place for partition, place in beside["places"].items()}
        self._topic_id, self._readings, self._unusable = beside["topic_id"], beside["readings"], beside["unusable"]
        log.info("history taken over", stream=self._stream, ticks=len(self._history), readings=self._readings)
