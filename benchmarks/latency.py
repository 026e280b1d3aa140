"""Latency at a fixed rate, open loop: the reading's scheduled time → its forecast in a read_committed consumer's hands.

Open loop: readings are sent by the clock, whether or not anything comes back, and time counts from when a reading was
due to be sent. Each series is at its own phase, so forecasts are due all the time and not in bursts. What is measured
begins when the broker is warm: it compiles itself for the first half minute of such a load, on cores that all share.
Both deliveries take turns, and each figure is the median of its rounds: one moment in which the machine does something
else is a slowest hundredth.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from benchmarks.counting import Forecast
from benchmarks.deployment import Delivery, Deployment
from benchmarks.figure import Asked, Figure, Row
from benchmarks.side_by_side import DELIVERIES
from benchmarks.stage import Stage
from benchmarks.worker_process import FigureFailed, GroupProgress, Worker
from benchmarks.workload import START_S, STEP_S, Message, Workload, create_topics, delete_topics, produce

CHUNK_S = 0.005
WARM_S, WARM_AGAIN_S = 40.0, 15.0  # of the schedule, not counted: in the first round, and in others
FILL_TICKS = 100
AFTER_S = 10.0
MUST = {"exactly_once": "p99 ≤ 150 ms", "at_least_once": "p99 ≤ 50 ms"}


def measure_latency(stage: Stage, asked: Asked, figure: Figure) -> None:
    found: dict[Delivery, list[dict[str, Any]]] = {delivery: [] for delivery in DELIVERIES}
    failed: dict[Delivery, str] = {}
    for round_ in range(asked.sizes.rounds):
        for delivery in DELIVERIES:
            if delivery in failed:
                continue
            try:
                found[delivery].append(_run(stage, asked, delivery, round_))
            except Exception as error:  # noqa: BLE001 - the other delivery is measured all the same
                failed[delivery] = f"{delivery}: {type(error).__name__}: {error}"
                continue
            now = found[delivery][-1]
            asked.say(f"    round {round_ + 1}: {delivery}: p50 {now['p50']:.0f}, p99 {now['p99']:.0f} ms")
    figure.error = " ".join(failed.values()) or None
    for delivery, rounds in found.items():
        if rounds:
            _tell(asked, figure, delivery, rounds)


def _tell(asked: Asked, figure: Figure, delivery: Delivery, rounds: list[dict[str, Any]]) -> None:
    def row(what: str, name: str, unit: str, *, must: str = "", note: str = "") -> None:
        figure.rows.append(Row.of(what, [each[name] for each in rounds], unit, must=must, note=note))

    words = delivery.replace("_", " ")
    rate = f"{asked.sizes.live_rate:,} readings/s, {asked.sizes.interval_ms} ms transactions, {words}"
    p90, most, behind = (statistics.median(each[name] for each in rounds) for name in ("p90", "max", "behind_ms"))
    note = f"p90 {p90:.0f}, max {most:.0f} ms; the sender was at most {behind:.0f} ms behind its schedule"
    row(f"latency p50, {rate}", "p50", "ms", note=note)
    row(f"latency p99, {rate}", "p99", "ms", must=MUST[delivery])
    row(f"Redis commands a reading, live, {words}", "redis_commands_per_reading", "commands", must="≤ .02")
    figure.raw[delivery] = rounds


def _run(stage: Stage, asked: Asked, delivery: Delivery, round_: int) -> dict[str, Any]:
    sizes, warm_s = asked.sizes, WARM_AGAIN_S if round_ else WARM_S
    rounds = -(-sizes.live_rate * (round(warm_s) + sizes.live_seconds) // sizes.series)
    topic = f"live-{delivery}-{round_}"
    fill = Workload(topic, sizes.series, FILL_TICKS, "lagging")
    live = Workload(topic, sizes.series, rounds, "lagging", first_tick=FILL_TICKS)
    deployment = Deployment(stage, f"{topic}-out", fill, delivery, interval_ms=sizes.interval_ms)
    create_topics(stage.bootstrap, [topic], fill.partitions)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, topic, fill.partitions)
    worker = None
    try:
        produce(stage.bootstrap, fill)
        worker = Worker(deployment.config())
        worker.assigned(fill.partitions)
        progress.wait(fill.messages, 120, worker.child.require_running)
        time.sleep(3)
        commands = stage.redis_commands()
        # Held until the receiver is done: freeing them takes a tenth of a second, in which it could note no time.
        messages = [message for of_round in live.rounds() for message in of_round]
        receiver = Receiver(stage.bootstrap, f"{deployment.name}.forecasts", fill.partitions)
        schedule = _send(stage.bootstrap, live, messages, sizes.live_rate)
        progress.wait(fill.messages + live.messages, 60 + AFTER_S, worker.child.require_running)
        commands = stage.redis_commands() - commands
        found = _latencies(live, schedule.times, receiver.stop(), warm_s)
        worker.stop()
    finally:
        if worker is not None:
            worker.child.stop()
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [topic])
    return found | {
        "redis_commands_per_reading": commands / live.readings,
        "behind_ms": 1e3 * schedule.behind_s,
    }


class _Schedule:
    """times[r, s]: when the reading of series s in round r was due to be sent (time.time())."""

    def __init__(self, live: Workload, rate: int, began: float) -> None:
        position = np.empty(live.series, np.int64)
        position[live.order] = np.arange(live.series)
        index = np.arange(live.ticks)[:, None] * live.series + position
        self.chunk = max(1, round(rate * CHUNK_S))
        self.times = began + index // self.chunk * (self.chunk / rate)
        self.behind_s = 0.0


def _send(bootstrap: str, live: Workload, messages: list[Message], rate: int) -> _Schedule:
    """By the clock."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 1, "enable.idempotence": True, "partitioner": "murmur2_random"}
    )
    producer.list_topics(live.topic, 30)
    schedule = _Schedule(live, rate, time.time() + 0.5)
    began = float(schedule.times.min())
    for number, part in enumerate(_chunks(messages, schedule.chunk)):
        due = began + number * schedule.chunk / rate
        now = time.time()
        if due > now:
            time.sleep(due - now)
        else:
            schedule.behind_s = max(schedule.behind_s, now - due)
        producer.produce_batch(live.topic, part)
        producer.poll(0)
    if producer.flush(30):
        raise FigureFailed("expected all live readings to be acknowledged")
    return schedule


def _chunks(messages: list[Message], size: int) -> Iterator[list[Message]]:
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


class Receiver:
    """Notes when each committed forecast came into our hands."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "latency",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 1,
            }
        )
        self._consumer.assign([TopicPartition(topic, each, OFFSET_END) for each in range(partitions)])
        self.found: list[tuple[float, bytes]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        time.sleep(1.0)  # the end of each partition is known by then

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = self._consumer.consume(5_000, 0.002)
            now = time.time()
            self.found += [(now, message.value()) for message in messages if message.error() is None]

    def stop(self) -> list[tuple[float, bytes]]:
        time.sleep(1.0)
        self._stopping.set()
        self._thread.join(5)
        self._consumer.close()
        return self.found


def _latencies(live: Workload, times: np.ndarray, found: list[tuple[float, bytes]], warm_s: float) -> dict[str, Any]:
    """Every forecast that was due has to be there."""
    decode = msgspec.json.Decoder(Forecast).decode
    forecasts = [decode(value) for _, value in found]
    arrived = np.array([at for at, _ in found])
    series = np.array([int(each.series_id[1:]) for each in forecasts], np.int64)
    origins = np.array([each.origin.rstrip("Z") for each in forecasts], "datetime64[s]").astype(np.int64) // STEP_S
    rounds = origins - START_S // STEP_S - live.first_tick + live.lags[series]
    inside = (rounds >= 0) & (rounds < live.ticks)
    latency = arrived[inside] - times[rounds[inside], series[inside]]
    counted = times[rounds[inside], series[inside]] > times.min() + warm_s
    ticks = START_S // STEP_S + live.first_tick + np.arange(live.ticks)[:, None] - live.lags
    due = int(((ticks % 12 == 0) & (times > times.min() + warm_s)).sum())
    if int(counted.sum()) != due:
        raise FigureFailed(f"expected {due:,} forecasts after the first {warm_s:g} s, found {int(counted.sum()):,}")
    ms = latency[counted] * 1e3
    low, high, top = np.percentile(ms, [50, 90, 99]).tolist()
    return {"p50": low, "p90": high, "p99": top, "max": float(ms.max()), "forecasts": due}
