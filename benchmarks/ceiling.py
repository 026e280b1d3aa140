"""The ceilings: consume and decode, and nothing else.

`ceiling` gets its messages as confluent-kafka hands them out, an object each: no Python program is faster that does.
The worker does not, so it has another one: `own_ceiling` fetches and decodes as the worker does, checks included, and
drops what came out. Both without the collector of cycles, which would take half of the former's time.
"""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.worker_process import FigureFailed
from benchmarks.workload import STEP_S, Workload
from model_core.spec import StreamSpec
from stream_app.kafka.fetch_queue import FetchQueue
from stream_app.wire.json import decode

FIRST_S = 30.0
POLL_MAX = 5_000  # as fast as any from 2,000 to 20,000
OWN_POLL_MAX = 20_000  # as the worker's poll_batch_max
POLL_S = 0.02
SLOWEST_S = 120


class Reading(msgspec.Struct, gc=False):
    series_id: str
    timestamp: int
    value: float


class Pack(msgspec.Struct, gc=False):
    timestamp: int
    values: dict[str, float]


def ceiling(bootstrap: str, workload: Workload) -> float:
    """Readings/s, from the first message that is there to the last one decoded."""
    decode = msgspec.json.Decoder(list[Pack] if workload.shape == "packed" else list[Reading]).decode
    consumer = Consumer(_properties(bootstrap))
    consumer.assign(_places(workload))

    def take() -> int:
        messages = consumer.consume(POLL_MAX, POLL_S)
        decode(b"[" + b",".join([message.value() for message in messages]) + b"]")
        return len(messages)

    try:
        return _rate(workload, take, first=len(consumer.consume(1, FIRST_S)))
    finally:
        consumer.close()


def own_ceiling(bootstrap: str, workload: Workload) -> float:
    """The same by the worker's own fetch queue and decoder."""
    spec = StreamSpec.model_validate({"topic": workload.topic, "freq": f"{STEP_S}s", "timestamp_unit": "s"})
    consumer, queue = FetchQueue.open(_properties(bootstrap))
    queue.divert(_places(workload))
    consumer.assign(_places(workload))

    def take(most: int = OWN_POLL_MAX, wait_s: float = POLL_S) -> int:
        consumer.consume(1, 0)  # what the client says otherwise
        count = 0
        for messages in queue.take(most, first_s=wait_s, gather_s=POLL_S, most_s=wait_s + POLL_S).messages.values():
            decode(spec, messages, now_ms=time.time_ns() // 1_000_000, partition_count=workload.partitions)
            count += len(messages)
        return count

    try:
        return _rate(workload, take, first=take(1, FIRST_S))
    finally:
        queue.close()
        consumer.close()


def _properties(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "group.id": f"ceiling-{uuid.uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "queued.min.messages": 500_000,
        "queued.max.messages.kbytes": 262_144,
        "fetch.message.max.bytes": 4 << 20,
        "fetch.queue.backoff.ms": 5,
    }


def _places(workload: Workload) -> list[TopicPartition]:
    return [TopicPartition(workload.topic, each, OFFSET_BEGINNING) for each in range(workload.partitions)]


def _rate(workload: Workload, take: Callable[[], int], first: int) -> float:
    """Of messages that `take` takes and counts, after the first."""
    gc.collect()
    gc.disable()
    try:
        seen, started = first, time.perf_counter()
        while seen < workload.messages:
            seen += take()
            if time.perf_counter() - started > SLOWEST_S:
                raise FigureFailed(f"expected {workload.messages:,} messages within {SLOWEST_S} s, found {seen:,}")
        return workload.readings / (time.perf_counter() - started)
    finally:
        gc.enable()
