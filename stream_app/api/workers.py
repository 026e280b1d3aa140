"""How far the workers are behind, according to their consumer group: the page gives way to them while they catch up.

On a shared machine, processor time that the page takes is taken from the workers: two threads of one core share it, so
not even idle time is free, and no priority changes that. What helps is to read less, and later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_app.kafka.clients import describe_error, reader_properties

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
ASK_EVERY_S, ASK_AGAIN_S = 1.0, 15.0  # the second after a question that was not answered
ANSWER_WITHIN_S = 1.0
CATCHING_UP = 50_000  # readings behind, from which on workers are not merely between two commits
REST_MAX_S = 1.0
Place = tuple[str, int]  # topic, partition


class Workers:
    """The workers of one application. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._group = settings.application_id
        # It asks what the group has committed, and never joins it.
        self._consumer = Consumer(reader_properties(settings) | {"group.id": self._group})
        self._ask_at = float("-inf")
        self._committed: dict[Place, int] = {}
        self._trouble: str | None = None

    def are_catching_up(self, ends: Mapping[Place, int], now_s: float) -> bool:
        """`ends`: the end of each partition of their input. False when it is not known how far they are."""
        if now_s >= self._ask_at:
            self._ask(list(ends))
            self._ask_at = now_s + (ASK_EVERY_S if self._trouble is None else ASK_AGAIN_S)
        behind = (end - self._committed[place] for place, end in ends.items() if place in self._committed)
        return sum(each for each in behind if each > 0) > CATCHING_UP

    def close(self) -> None:
        self._consumer.close()

    def _ask(self, places: Sequence[Place]) -> None:
        trouble = None
        try:
            asked = [TopicPartition(*place) for place in places]
            found = self._consumer.committed(asked, timeout=ANSWER_WITHIN_S) if asked else []
        except KafkaException as error:
            found, trouble = [], describe_error(error)
        if trouble not in (None, self._trouble):
            log.info("not known how far the workers are", group=self._group, error=trouble)
        self._trouble = trouble
        self._committed = {(each.topic, each.partition): max(0, each.offset) for each in found if each.error is None}


class Pace:
    """How long to rest so that no more than a share of a core is used."""

    def __init__(self, share: float, used_s: Callable[[], float] = time.thread_time) -> None:
        """`used_s`: processor time of this thread alone, so that what pages ask for does not make them late."""
        self._share = share
        self._used_s = used_s
        self._used_then = used_s()

    def rest_s(self) -> float:
        """How long to rest after a part of the work. Each call counts from the one before."""
        used = self._used_s() - self._used_then
        self._used_then += used
        return min(REST_MAX_S, used / self._share - used) if self._share < 1 else 0.0
