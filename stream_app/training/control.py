"""The control topic as the trainer reads it: the newest request to train, and the scores of candidates in the shadow.

It is read from its start, outside of any group. A request counts as answered by the first attempt that began after it,
so there is nothing to commit, and a trainer that was away finds what it has missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import orjson
import structlog
from confluent_kafka import KafkaException

from model_core.gate.shadowed import Evidence, shadow_evidence
from model_core.grid import WEEK_MS
from stream_app.errors import TidecastError
from stream_app.kafka.clients import describe_error, reader_properties
from stream_app.kafka.topic_follower import TopicFollower

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
Pair = tuple[str, str | None]  # versions of candidate and champion


class ControlTopic:
    """`asked_at`: when training was asked for last, seconds since the epoch; None: never."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._spec = settings.streams[stream]
        self._topic = self._spec.outputs.topic("control", stream)
        self._follower = TopicFollower([self._topic], reader_properties(settings), newest=None)
        self.asked_at: float | None = None
        self._trouble: str | None = None
        # Of each pair, by (partition, first tick): cells, sums of both. A bin that comes twice is the same.
        self._scores: dict[Pair, dict[tuple[str, int], tuple[int, float, float]]] = defaultdict(dict)

    def pump(self, timeout_s: float) -> None:
        """Take in what has come. That a broker hands out nothing is said once."""
        for message in self._follower.poll(timeout_s).get(self._topic, ()):
            try:
                body = orjson.loads(message.value() or b"")
                if body["kind"] == "retrain":
                    self._asked(body, message.timestamp()[1] / 1000)
                elif body["kind"] == "shadow":
                    self._scored(body)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("control message not understood", offset=message.offset(), error=str(error))

        if self._follower.trouble is not None and self._trouble is None:
            self._trouble = f"Kafka does not hand out {self._follower.trouble}. Does this user have Read on it?"
            log.warning("requests to train are not heard", reason=self._trouble)

    def read_all(self) -> None:
        """Up to where it ends now. TidecastError when the broker does not say where that is, or we may not read it."""
        try:
            missing = self._follower.refresh()
            self._follower.refresh_ends()
        except KafkaException as error:
            raise TidecastError(f"No answer about the topic {self._topic!r}: {describe_error(error)}.") from error
        if self._follower.forbidden:
            raise TidecastError(f"This user may not read {self._topic}: give it Read on the topic.")
        if missing:
            raise TidecastError(f"Expected the topic {self._topic}, found none: `tidecast topics create` makes it.")
        while not self._follower.caught_up():
            self.pump(0.2)
            if self._trouble is not None:
                raise TidecastError(self._trouble)

    def _asked(self, body: Mapping[str, Any], at: float) -> None:
        log.info("asked to train", group=body["group"], detector=body["detector"], since=body["since"])
        self.asked_at = max(at, self.asked_at or 0.0)

    def _scored(self, body: Mapping[str, Any]) -> None:
        since = self._spec.grid.tick(round(datetime.fromisoformat(body["since"]).timestamp() * 1000))
        sums = (body["candidate_pinball"] * body["scored"], body["champion_pinball"] * body["scored"])
        self._scores[body["candidate"], body["champion"]][body["group"], since] = (body["scored"], *sums)

    def evidence(self, candidate: str, champion: str | None) -> Evidence:
        """What the shadow of a candidate beside that champion says so far."""
        cells: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        for (_, since), parts in self._scores.get((candidate, champion), {}).items():
            cells[since] = [total + part for total, part in zip(cells[since], parts, strict=True)]
        means = {since: (mine / scored, theirs / scored) for since, (scored, mine, theirs) in cells.items()}
        horizon = self._spec.horizon
        return shadow_evidence(means, horizon, max(horizon, WEEK_MS // self._spec.step_ms))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.close()
