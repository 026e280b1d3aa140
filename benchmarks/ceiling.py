"""The ceiling: consume and decode, and nothing else.

No Python program is faster that gets its messages as this client hands them out, an object each. The worker is: its C
reads what librdkafka holds.
"""

from __future__ import annotations

import time
import uuid

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.worker_process import FigureFailed
from benchmarks.workload import Workload

POLL_MAX = 20_000  # as the worker's poll_batch_max
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
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"ceiling-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 131_072,
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(workload.topic, each, OFFSET_BEGINNING) for each in range(workload.partitions)])
    try:
        seen = len(consumer.consume(1, 30))
        started = time.perf_counter()
        while seen < workload.messages:
            messages = consumer.consume(POLL_MAX, POLL_S)
            decode(b"[" + b",".join([message.value() for message in messages]) + b"]")
            seen += len(messages)
            if time.perf_counter() - started > SLOWEST_S:
                raise FigureFailed(f"expected {workload.messages:,} messages within {SLOWEST_S} s, found {seen:,}")
        return workload.readings / (time.perf_counter() - started)
    finally:
        consumer.close()
