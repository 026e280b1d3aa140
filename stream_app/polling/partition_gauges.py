"""Gauges of each partition (lag, series, bytes, watermark, replay, hold), refreshed now and then by the poll thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException

from stream_app.partitions.names import InputTopics, StreamPartition

if TYPE_CHECKING:
    from stream_app.observability.metrics import Metrics
    from stream_app.partitions.owned import Owned

EVERY_S = 1.0
ASK_S = 0.1  # how long the poll thread waits for the end of a held partition


class PartitionGauges:
    """Reads states while the pipeline's thread changes them: a gauge may be one poll batch old, nothing more."""

    def __init__(self, inputs: InputTopics, metrics: Metrics) -> None:
        self._inputs = inputs
        self._metrics = metrics
        self._shown: frozenset[StreamPartition] = frozenset()
        self._next = 0.0

    def update(
        self,
        consumer: Consumer,
        owned: Mapping[StreamPartition, Owned],
        held: Callable[[], Collection[StreamPartition]],
    ) -> None:
        """In each turn; it does something every EVERY_S. Of partitions that went, the gauges go as well."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        self._metrics.partitions.set(len(owned))
        for at in self._shown - owned.keys():
            self._metrics.forget_partition(at.stream, at.partition)
        self._shown = frozenset(owned)
        waiting = held()
        for at, each in owned.items():
            self._metrics.held.labels(at.stream, str(at.partition)).set(at in waiting)
            self._show(consumer, at, each, is_held=at in waiting)

    def _show(self, consumer: Consumer, at: StreamPartition, owned: Owned, *, is_held: bool) -> None:
        labels, state = (at.stream, str(at.partition)), owned.state
        self._metrics.series.labels(*labels).set(len(state.columns))
        self._metrics.state_bytes.labels(*labels).set(
            sum(array.nbytes for array in list(state.columns.arrays.values()))
        )
        self._metrics.replaying.labels(*labels).set(0 if owned.is_live else 1)
        watermark_ms = state.watermark_ms
        if watermark_ms is not None:
            self._metrics.watermark_delay.labels(*labels).set(time.time() - watermark_ms / 1000)
        try:  # from what the last fetch said, without asking the broker; what is held is not fetched
            _, last = consumer.get_watermark_offsets(self._inputs.place(at), ASK_S, cached=not is_held)
        except KafkaException:
            return
        if last >= 0:
            self._metrics.lag.labels(*labels).set(max(0, last - state.next_offset))
