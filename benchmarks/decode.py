"""From Kafka's messages to columns: `python -m benchmarks.decode --shape single`. Processor time of one thread.

Messages of a real broker, decoded again and again; the best round counts. "bare decode" is what the ceiling of `make
bench` does with the same messages, without any check: nothing that checks can be faster.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from confluent_kafka import Consumer, Message

from benchmarks.stage import Stage
from benchmarks.workload import Workload, create_topics, produce
from model_core.columns import Columns
from model_core.roster import Roster
from model_core.spec import StreamSpec
from model_core.windows import window_fields
from stream_app.dead_letters.record import MalformedShare
from stream_app.wire.json import decode

LIVE_MS = 20  # of a poll at a live rate
POLL_TIMEOUT_S = 60


class Single(msgspec.Struct, gc=False):
    series_id: str
    timestamp: int
    value: float


class Packed(msgspec.Struct, gc=False):
    timestamp: int
    values: dict[str, float]


def main() -> None:
    chosen = _arguments()
    workload = Workload(f"decode-{chosen.shape}", chosen.series, chosen.ticks, chosen.shape)
    gc.set_threshold(100_000, 50, 100)  # as the worker has it
    with Stage() as stage:
        create_topics(stage.bootstrap, [workload.topic], workload.partitions)
        produce(stage.bootstrap, workload)
        polls = _consume(stage.bootstrap, workload, chosen.poll)
    _print(f"{chosen.shape}, polls of {chosen.poll:,} messages", polls, workload, chosen.rounds)
    live = list(_live(polls, chosen.rate * LIVE_MS // 1000, workload))
    _print(f"{chosen.shape}, live at {chosen.rate:,} messages/s, polls of {LIVE_MS} ms", live, workload, chosen.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--shape", choices=("single", "packed", "staggered"), default="single")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--poll", type=int, default=20_000, help="messages a poll, as limits.poll_batch_max")
    parser.add_argument("--rate", type=int, default=20_000, help="messages a second, live")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _consume(bootstrap: str, workload: Workload, count: int) -> list[list[Message]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "decode", "auto.offset.reset": "earliest"})
    consumer.subscribe([workload.topic])
    polls: list[list[Message]] = []
    until = time.monotonic() + POLL_TIMEOUT_S
    while sum(map(len, polls)) < workload.messages:
        if time.monotonic() > until:
            raise TimeoutError(f"expected {workload.messages:,} messages, found {sum(map(len, polls)):,}")
        if messages := consumer.consume(count, 1):
            polls.append(messages)
    consumer.close()
    return polls


def _live(polls: list[list[Message]], count: int, workload: Workload) -> Iterator[list[Message]]:
    """The same messages in small polls, each with some of every partition."""
    share = max(1, count // workload.partitions)
    logs: dict[int, list[Message]] = defaultdict(list)
    for message in (message for poll in polls for message in poll):
        logs[message.partition()].append(message)
    for start in range(0, max(map(len, logs.values())), share):
        yield [message for log in logs.values() for message in log[start : start + share]]


def _print(title: str, polls: list[list[Message]], workload: Workload, rounds: int) -> None:
    stopwatches = [_round(polls, workload) for _ in range(rounds)]
    print(title)
    for stage in stopwatches[0].seconds:
        best = min(stopwatch.seconds[stage] for stopwatch in stopwatches)
        print(
            f"  {stage:<14} {1e6 * best / workload.readings:7.3f} µs a reading {1e3 * best / len(polls):8.3f} ms a poll"
        )


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        self.seconds[stage] += time.thread_time() - start


def _round(polls: list[list[Message]], workload: Workload) -> _Stopwatch:
    """All polls, after the series are known; positions in the log start anew, as after a rewind."""
    spec = StreamSpec.model_validate({"topic": workload.topic, "freq": "10min", "timestamp_unit": "s"})
    rosters = [Roster(spec, Columns(window_fields(spec))) for _ in range(workload.partitions)]
    malformed = [MalformedShare.of(spec) for _ in rosters]
    bare = _bare(workload)
    now_ms, stopwatch = int(time.time() * 1000), _Stopwatch()
    for poll in polls:  # so that each partition knows its series, and no others
        for partition, readings in decode(
            spec, poll, now_ms=now_ms, partition_count=workload.partitions
        ).readings.items():
            rosters[partition].columns_of(readings.series_ids, closed=0)
    for poll in polls:
        with stopwatch("bare decode"):
            bare(poll)
        with stopwatch("wire.decode"):
            decoded = decode(spec, poll, now_ms=now_ms, partition_count=workload.partitions)
        with stopwatch("roster"):
            for partition, readings in decoded.readings.items():
                rosters[partition].columns_of(readings.series_ids, closed=0)
        with stopwatch("malformed"):
            for partition, flags in decoded.malformed.items():
                malformed[partition] = malformed[partition].after(flags)
        with stopwatch("free"):
            del decoded, readings, flags
    return stopwatch


def _bare(workload: Workload) -> Callable[[list[Message]], None]:
    kind = Packed if workload.shape == "packed" else Single
    decode_all = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def bare(poll: list[Message]) -> None:
        decode_all(b"[" + b",".join([message.value() for message in poll]) + b"]")

    return bare


if __name__ == "__main__":
    main()
