"""Deleting a series: a null value with its key, in the log, so that workers and replays meet it at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.kafka.clients import producer_properties
from stream_app.kafka.topics import TopicAdmin
from stream_app.wire.series_ids import fault_of

if TYPE_CHECKING:
    from stream_app.settings import Settings


def delete_series(settings: Settings, spec: StreamSpec, series_ids: Sequence[str]) -> int:
    """Produces to every partition of the input and waits for the acknowledgements; returns how many partitions."""
    for series_id in series_ids:
        fault = fault_of(series_id)
        if fault is not None:
            raise TidecastError(f"expected a series id, found {series_id!r}: {fault}.")
    there = TopicAdmin(settings).partitions()
    if spec.topic not in there:
        raise TidecastError(f"expected the input topic {spec.topic} to be there, found none. Nothing was deleted.")
    count = there[spec.topic][0]
    failures: list[str] = []

    def note(error: Any, _: Any) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer(producer_properties(settings))
    for series_id in series_ids:
        for partition in range(count):
            producer.produce(spec.topic, key=series_id.encode(), value=None, partition=partition, on_delivery=note)
        producer.poll(0)
    left = producer.flush(settings.limits.publish_deadline / 1000)
    if left or failures:
        said = failures[0] if failures else f"{left} not acknowledged in time"
        raise TidecastError(f"expected {spec.topic} to take the tombstones, found: {said}. Run it again; that is safe.")
    return count
