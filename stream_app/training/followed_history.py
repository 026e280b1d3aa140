"""The history of a topic for a trainer that stays: each training reads what came since the one before, and no more.

What was read stays in memory as cells, as far back as a history reaches. Ticks that are still open are no part of it
yet: a later reading may belong to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from model_core.dataset import CellHistory, HistoryFeed
from stream_app.errors import TidecastError
from stream_app.kafka.topic_history import TopicMadeAnew, read_topic
from stream_app.training.train_job import OnProgress, Read

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)


class FollowedHistory:
    """One stream's."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._settings, self._stream, self._spec = settings, stream, settings.streams[stream]
        self._begin()

    def _begin(self) -> None:
        self._history = CellHistory()
        self._feed = HistoryFeed(self._spec, self._history)
        self._places: dict[int, int] = {}
        self._readings = self._unusable = 0

    def read(self, on_progress: OnProgress) -> Read:
        """All there is by now; `readings` and `unusable` count those of all times. TidecastError as read_topic."""
        try:
            self._read_on(on_progress)
        except TopicMadeAnew as error:
            log.warning("history begins anew", stream=self._stream, reason=str(error))
            self._begin()
            self._read_on(on_progress)
        if not len(self._history):
            raise TidecastError(f"No usable reading in topic {self._spec.topic!r} yet ({self._unusable} unusable).")
        return Read(self._readings, self._unusable + self._feed.rejected, self._history)

    def _read_on(self, on_progress: OnProgress) -> None:
        for portion in read_topic(self._settings, self._spec, self._places):
            for partition, columns in portion.readings.items():
                self._feed.take(partition, columns)
                self._readings += len(columns)
            self._unusable += portion.unusable
            self._places = dict(portion.places)  # what is fed is not read again, whatever becomes of the rest
            on_progress("reading", portion.done / portion.total)
