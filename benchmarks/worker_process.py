"""A real `tidecast worker` in a process of its own, seen from outside: log, /metrics, processor time, offsets."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stream_app.demo.processes import Child

LOOK_S = 0.02
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 60


class FigureFailed(Exception):
    """A figure that is not to be trusted: it is reported as failed, with this text."""


class Worker:
    """Dies with this program whatever ends it (on Linux)."""

    def __init__(self, config: Path) -> None:
        self.started_at = time.time()
        self.log_path = config.with_suffix(f".{time.monotonic_ns()}.log")
        self.child = Child("worker", ["worker", "--config", str(config)], self.log_path)
        self._url: str | None = None

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log_path.read_text(errors="replace").rpartition("\n")[0].splitlines()  # whole ones
        return [each for line in lines if line.startswith("{") and (each := json.loads(line))["event"] == name]

    def assigned(self, partitions: int, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The log line of the assignment after which it owns that many; `at` is its time (time.time())."""

        def found() -> dict[str, Any] | None:
            self.child.require_running()
            owned: set[str] = set()
            for line in self.events("assigned"):
                owned |= set(line["partitions"])
                if len(owned) >= partitions:
                    return line | {"at": datetime.fromisoformat(line["timestamp"]).timestamp()}
            return None

        return wait_until(found, timeout_s, f"{partitions} partitions to be assigned")

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """sample name → label values → value"""
        if self._url is None:
            self._url = self.events("started")[0]["http"]
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=30) as answer:
            text = str(answer.read(), "utf-8")
        found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name][tuple(sample.labels.values())] = sample.value
        return found

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.child.pid).cpu_times()
        return times.user + times.system

    def thread_seconds(self) -> dict[str, float]:
        """Processor seconds by the name that the system has for a thread; Python's own have the process's name."""
        seconds: dict[str, float] = defaultdict(float)
        for thread in psutil.Process(self.child.pid).threads():
            try:
                name = Path(f"/proc/{self.child.pid}/task/{thread.id}/comm").read_text().strip()
            except OSError:
                continue
            own = "python main" if thread.id == self.child.pid else f"python thread {thread.id - self.child.pid}"
            name = f"librdkafka {name[4:]}" if name.startswith("rdk:") else own
            seconds[name] += thread.user_time + thread.system_time
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))

    def rss_bytes(self) -> int:
        return int(psutil.Process(self.child.pid).memory_info().rss)

    def stop(self) -> None:
        """SIGTERM; it has to end with 0."""
        self.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.child.ended() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        code = self.child.ended()
        self.child.stop()
        if code != 0:
            raise FigureFailed(f"expected the worker to stop with exit code 0, found {code}: {self.child.log_tail()}")

    def send(self, number: int) -> None:
        os.kill(self.child.pid, number)


class GroupProgress:
    """Offsets that a group has committed, asked of the broker by a client that is no member of it."""

    def __init__(self, bootstrap: str, group: str, topic: str, partitions: int) -> None:
        # read_uncommitted: a transaction that is open does not make the answer wait
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted"}
        )
        self._places = [TopicPartition(topic, each) for each in range(partitions)]

    def committed(self) -> int:
        """Messages, summed over partitions; 0 while nobody knows."""
        try:
            return sum(max(0, each.offset) for each in self._consumer.committed(self._places, timeout=30))
        except KafkaException:  # a coordinator that is not there yet: who waits has a deadline
            return 0

    def wait(self, messages: int, timeout_s: float, check: Callable[[], object] = lambda: None) -> float:
        """time.time() when that many are committed."""

        def reached() -> float | None:
            check()
            return time.time() if self.committed() >= messages else None

        return wait_until(reached, timeout_s, f"{messages:,} messages to be committed")

    def close(self) -> None:
        self._consumer.close()


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(LOOK_S)
    raise FigureFailed(f"expected {what} within {timeout_s:g} s")
