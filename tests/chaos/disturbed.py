"""A deployment that is fed all the time while faults happen to it, and what must be true of it in the end.

`Disturbed` feeds its input topic tick by tick on a thread of its own, and watches the forecasts as a consumer with
read_committed sees them arrive, so that the time to recover can be told. `judge` stops feeding, waits until nothing
more is owed, lets an undisturbed deployment read the same log, and holds one against the other.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from tests.app.running_worker import START_MS, STEP_MS, TIDECAST, WorkerProcess, World, wait_until
from tests.chaos.checker import Accounting, Published, Verdict, check, compare_forecasts
from tests.chaos.killing_worker import command
from tests.chaos.saved import compare_states

WORKER = (TIDECAST, "worker")
LIMITS = 'transaction_interval = "50ms"'
PATIENT_S = 300.0  # the machine may be busy; nothing here is about time
QUIET_S = 25.0  # without a new forecast, where some are to be missing


@dataclass
class Arrivals:
    """Committed forecasts as they come: when they came and when they were produced (time.monotonic()), of which
    partition of the input. A forecast that was produced before a fault and came after it is no sign of recovery."""

    bootstrap: str
    topic: str
    partitions: int
    seen: list[tuple[float, float, int]] = field(default_factory=list)
    cells: set[tuple[str, str]] = field(default_factory=set)  # (series, origin)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "arrivals",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(self.topic, each, OFFSET_BEGINNING) for each in range(self.partitions)])
        while not self._stopping.is_set():
            for message in consumer.consume(1000, 0.05):
                if message.error() is None and message.value():
                    body = json.loads(message.value())
                    self.cells.add((body["series_id"], body["origin"]))
                    produced = time.monotonic() - (time.time() - message.timestamp()[1] / 1000)
                    self.seen.append((time.monotonic(), produced, body["input"]["partition"]))
        consumer.close()

    def after(self, moment: float) -> float | None:
        """Seconds from the moment until each partition that ever had a forecast has had a new one."""
        seen = list(self.seen)
        came: dict[int, float] = {}
        for at, produced, partition in reversed(seen):
            if at <= moment:
                break
            if produced > moment:
                came[partition] = at
        if not came or {partition for _, _, partition in seen} - came.keys():
            return None
        return max(came.values()) - moment

    def wait_for(self, count: int, timeout_s: float, quiet_s: float = PATIENT_S) -> bool:
        """False: too late, or nothing has come for so long."""
        deadline = time.monotonic() + timeout_s
        while len(self.cells) < count:
            now = time.monotonic()
            if now > deadline or (self.seen and now - self.seen[-1][0] > quiet_s):
                return False
            time.sleep(0.1)
        return True

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)


class Feeder:
    """A tick of all series every `every_s`, in event-time order; idempotent, so each reading is in the log once."""

    def __init__(self, world: World, *, seed: int, series: int, every_s: float) -> None:
        self._world, self.series, self.every_s = world, series, every_s
        self._rng = np.random.default_rng(seed)
        self._producer = Producer(
            {
                "bootstrap.servers": world.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "enable.idempotence": True,
            }
        )
        self.ticks = 0
        self.besides = 0  # messages that owe no forecast
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self.every_s):
            self.feed()

    def feed(self) -> None:
        phase = 2 * np.pi * self.ticks / 12
        for number in range(self.series):
            value = round(float(10 + number + np.sin(phase) + self._rng.normal(0, 0.3)), 3)
            at = START_MS + self.ticks * STEP_MS
            body = json.dumps({"series_id": f"s{number}", "timestamp": at, "value": value})
            self._producer.produce(self._world.topic, body, f"s{number}")
        self._producer.poll(0)
        self.ticks += 1

    def send_besides(self, messages: Sequence[tuple[str | None, bytes | str | None]]) -> None:
        """(key, value) of messages that owe no forecast, among those of the feed."""
        for key, value in messages:
            self._producer.produce(self._world.topic, value, key)
        self.besides += len(messages)

    @property
    def sent(self) -> int:
        """Readings that owe a forecast."""
        return self.ticks * self.series

    def __len__(self) -> int:
        """Readings that the broker has not acknowledged."""
        return len(self._producer)

    def stop(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            self._thread.join(30)
            assert self._producer.flush(60) == 0


class Memory:
    """Resident memory of each process, sampled. I6: it does not grow without end."""

    def __init__(self) -> None:
        self.samples: dict[int, list[int]] = {}

    def sample(self, workers: Iterable[WorkerProcess]) -> None:
        for worker in workers:
            try:
                resident = psutil.Process(worker.process.pid).memory_info().rss
            except psutil.Error:
                continue
            self.samples.setdefault(worker.process.pid, []).append(resident)

    def growth_bytes(self) -> int:
        """The largest, from the first quarter of a process's samples (its warm-up) to its end."""
        long_enough = (each for each in self.samples.values() if len(each) >= 8)
        return max((each[-1] - max(each[: len(each) // 4]) for each in long_enough), default=0)


def stop_well(worker: WorkerProcess) -> None:
    """It exits with 0. One that is told to stop while Python still imports has not begun, and dies of the signal."""
    worker.wait_for("started", PATIENT_S)
    assert worker.stop(PATIENT_S) == 0, worker.log_path.read_text()


class Disturbed:
    """Deployment `a` in a world, under faults."""

    under_way: ClassVar[list[Disturbed]] = []

    def __init__(
        self,
        world: World,
        *,
        seed: int,
        series: int = 12,
        every_s: float = 0.05,
        delivery: str = "exactly_once",
        limits: str = "",
        checkpoint_interval: str = "200ms",
    ) -> None:
        self.world, self.seed, self.delivery = world, seed, delivery
        self._named = {
            "delivery": delivery,
            "limits": f"{LIMITS}\n{limits}",
            "checkpoint_interval": checkpoint_interval,
        }
        self.config("one")
        self.arrivals = Arrivals(world.bootstrap, f"{world.topic}.a.forecasts", world.partitions)
        self.feeder = Feeder(world, seed=seed, series=series, every_s=every_s)
        self.faults = 0
        self.recoveries: list[float] = []
        self.memory = Memory()
        self.survivors: list[WorkerProcess] = []
        self.under_way.append(self)

    @classmethod
    def end_all(cls) -> None:
        """However a test ended: nobody feeds or watches any more."""
        while cls.under_way:
            run = cls.under_way.pop()
            run.feeder.stop()
            run.arrivals.stop()

    def config(self, instance: str, name: str = "a") -> Path:
        return self.world.deployment(name, instance=instance, **self._named)  # type: ignore[arg-type]

    def start(self, instance: str, **chaos: Any) -> WorkerProcess:
        """`chaos`: as for killing_worker.command."""
        return self.world.start(self.config(instance), command(**chaos) if chaos else WORKER)

    def wait_until_forecasting(self, since: float, timeout_s: float = PATIENT_S) -> float:
        """Seconds from a moment of time.monotonic() until each partition has a new committed forecast."""
        wait_until(lambda: self.arrivals.after(since) is not None, timeout_s, lambda: "a forecast: " + self.logs())
        return self.arrivals.after(since) or 0.0

    def recovered(self, since: float, timeout_s: float = PATIENT_S, doomed: WorkerProcess | None = None) -> None:
        """One fault more, and how long it took. `doomed`: may be killed at so early a step that it never forecasts,
        then nobody recovered."""
        self.faults += 1
        if doomed is not None:
            wait_until(
                lambda: self.arrivals.after(since) is not None or doomed.process.poll() is not None,
                timeout_s,
                lambda: "a forecast, or the end of who should make it: " + self.logs(),
            )
            if self.arrivals.after(since) is None:
                return
        self.recoveries.append(self.wait_until_forecasting(since, timeout_s))

    def logs(self) -> str:
        found = [f"--- {each.log_path.name}\n{each.log_path.read_text()[-3000:]}" for each in self.world.workers]
        return "\n".join([*found, self.situation()])

    def situation(self) -> str:
        """Where it stands: what is in the log, what is committed, what readers of committed messages can see."""
        world, group = self.world, f"{self.world.topic}.a"
        lines = [
            f"fed {self.feeder.sent}, {len(self.feeder)} of them not acknowledged; {len(self.arrivals.cells)} came"
        ]
        for isolation in ("read_uncommitted", "read_committed"):
            consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": group, "isolation.level": isolation})
            for topic in (world.topic, f"{group}.forecasts"):
                places = [TopicPartition(topic, each) for each in range(world.partitions)]
                try:
                    ends = [consumer.get_watermark_offsets(place, 10)[1] for place in places]
                    lines.append(f"{topic} ends at {ends} ({isolation})")
                except KafkaException as error:
                    lines.append(f"{topic}: {error}")
            if isolation == "read_committed":
                try:
                    offsets = consumer.committed(
                        [TopicPartition(world.topic, each) for each in range(world.partitions)], 10
                    )
                    lines.append(f"committed {[place.offset for place in offsets]}")
                except KafkaException as error:
                    lines.append(f"committed: {error}")
            consumer.close()
        return "\n".join(lines)

    def quiesce(self, running: Iterable[WorkerProcess], quiet_s: float) -> None:
        """Feeds no more, waits until all that is owed is there (or nothing more comes), stops all."""
        self.feeder.stop()
        self.arrivals.wait_for(self.feeder.sent, PATIENT_S, quiet_s)
        time.sleep(1)  # the last checkpoint
        for worker in running:
            stop_well(worker)
        self.arrivals.stop()

    def judge(self, running: Iterable[WorkerProcess] = (), *, reference: bool = True, workers: int = 1) -> Verdict:
        """I1 to I4. `workers`: of the undisturbed deployment."""
        self.quiesce(running, PATIENT_S if reference else QUIET_S)
        mine = Published.read(self.world.bootstrap, self.world.topic, f"{self.world.topic}.a")
        assert len(mine.input) == self.feeder.sent + self.feeder.besides
        verdict = check(mine, accounting=Accounting(STEP_MS))
        if reference and not verdict.problems:
            undisturbed = [self.world.start(self.config(f"u{each}", "undisturbed")) for each in range(workers)]
            watched = Arrivals(self.world.bootstrap, f"{self.world.topic}.undisturbed.forecasts", self.world.partitions)
            assert watched.wait_for(self.feeder.sent, 2 * PATIENT_S), self.logs()
            watched.stop()
            time.sleep(1)
            for worker in undisturbed:
                stop_well(worker)
            prefix = f"{self.world.topic}.undisturbed"
            compare_forecasts(mine, Published.read(self.world.bootstrap, self.world.topic, prefix), verdict)
            compare_states(self.world, self.config("one"), self.config("u0", "undisturbed"), verdict)
        return verdict

    def numbers(self, verdict: Verdict) -> dict[str, Any]:
        """For report.py."""
        return {
            "seed": self.seed,
            "delivery": self.delivery,
            "records": verdict.counts["records"],
            "faults": self.faults,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "recoveries_s": [round(each, 3) for each in self.recoveries],
            "rss_growth_mb": round(self.memory.growth_bytes() / 2**20, 1) if self.memory.samples else None,
        }
