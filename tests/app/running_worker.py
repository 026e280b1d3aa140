"""A real `tidecast worker` in a process of its own, and the topics around it, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.app.forks import TIDECAST, Fork, begin, begin_anew

STEP_MS = 600_000
START_MS = 1_770_000_000_000 // STEP_MS * STEP_MS
OUTPUTS = ("forecasts", "accuracy", "drift", "dead-letters", "journal", "control")
# What every deployment of a test says of the servers around it.
SURROUNDINGS = """
[http]
port = 0
[kafka]
bootstrap_servers = "{bootstrap}"
[redis]
url = "{redis_url}"
[models]
registry = "{registry}"
poll_interval = "200ms"
"""
CONFIGURATION = (
    """
application_id = "{application_id}"
delivery = "{delivery}"
{instance}
[kafka.consumer]
"session.timeout.ms" = 6000
"""
    + SURROUNDINGS
    + """[limits]
checkpoint_interval = "{checkpoint_interval}"
{limits}
[streams.tides]
topic = "{topic}"
freq = "10min"
context_length = 24
horizon = 6
min_readings = 1
quantile_levels = [0.1, 0.5, 0.9]
readings_per_step = 1
max_out_of_orderness = "0s"
seasonality = ["2h"]
accuracy = "records"
{stream}
[streams.tides.outputs]
prefix = "{prefix}"
"""
)


@dataclass
class World:
    """One input topic and any number of deployments that read it, each with outputs of its own."""

    bootstrap: str
    redis_url: str
    topic: str
    partitions: int
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    def create(self, *names: str, config: Mapping[str, str] | None = None) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        new = [NewTopic(name, self.partitions, 1, config=dict(config or {})) for name in names]
        for made in admin.create_topics(new).values():
            made.result(30)

    def deployment(
        self,
        name: str,
        *,
        stream: str = "",
        limits: str = "",
        instance: str | None = None,
        checkpoint_interval: str = "100ms",
        delivery: str = "exactly_once",
    ) -> Path:
        """The path of its configuration; output topics are created the first time."""
        prefix = f"{self.topic}.{name}"
        if not (self.folder / f"{name}.created").exists():
            self.create(*(f"{prefix}.{kind}" for kind in OUTPUTS))
            (self.folder / f"{name}.created").touch()
        path = self.folder / f"{name}-{instance}.toml"
        path.write_text(
            CONFIGURATION.format(
                application_id=prefix,
                delivery=delivery,
                instance=f'instance_id = "{instance}"' if instance else "",
                bootstrap=self.bootstrap,
                redis_url=self.redis_url,
                registry=self.folder / "models",
                topic=self.topic,
                prefix=prefix,
                stream=stream,
                limits=limits,
                checkpoint_interval=checkpoint_interval,
            )
        )
        return path

    def start(
        self, config: Path, command: Sequence[str] = (TIDECAST, "worker"), *, forked: bool = True
    ) -> WorkerProcess:
        worker = WorkerProcess(config, command, forked=forked)
        self.workers.append(worker)
        return worker

    def send(self, records: Iterable[tuple[str | None, bytes | str | None]]) -> int:
        own = {"partitioner": "murmur2_random", "linger.ms": 1, "enable.idempotence": True}  # it keeps the order
        producer = Producer({"bootstrap.servers": self.bootstrap, **own})
        count = 0
        for key, value in records:
            producer.produce(self.topic, value, key)
            producer.poll(0)
            count += 1
        assert producer.flush(30) == 0
        return count

    def published(self, name: str, kind: str) -> list[Any]:
        """All messages of one output of a deployment."""
        topic = f"{self.topic}.{name}.{kind}"
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "test",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(self.partitions)])
        ended, messages = 0, []
        while ended < self.partitions:
            for message in consumer.consume(10_000, 0.2):
                if message.error() is None:
                    messages.append(message)
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended += 1
        consumer.close()
        return messages

    def forecasts(self, name: str) -> dict[tuple[str, str, int], dict[str, Any]]:
        """(series, origin, revision) → the newest such forecast."""
        found = [json.loads(message.value()) for message in self.published(name, "forecasts") if message.value()]
        return {(each["series_id"], each["origin"], each["revision"]): each for each in found}

    def wait_for_forecasts(self, name: str, count: int, timeout_s: float = 40) -> dict[Any, dict[str, Any]]:
        return wait_until(
            lambda: len(found := self.forecasts(name)) >= count and found, timeout_s, f"{count} forecasts"
        )


class WorkerProcess:
    """One process. Its log lines are JSON objects in `log_path`."""

    process: Fork | subprocess.Popen[bytes]

    def __init__(self, config: Path, command: Sequence[str] = (TIDECAST, "worker"), *, forked: bool = True) -> None:
        """Not `forked`: begun by the system, imports and all, as users do."""
        self.log_path = config.with_suffix(f".{time.monotonic_ns()}.log")
        self.process = (begin if forked else begin_anew)([*command, "--config", str(config)], self.log_path)

    def lines(self) -> list[dict[str, Any]]:
        whole = self.log_path.read_text().rpartition("\n")[0]  # the last one may still be written
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait_for(self, event: str, timeout_s: float = 40) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            assert self.process.poll() is None or self._has(event), self.log_path.read_text()
            return next((line for line in self.lines() if line["event"] == event), None)

        return wait_until(found, timeout_s, f"{event!r} in\n{self.log_path.read_text()}")

    def _has(self, event: str) -> bool:
        return any(line["event"] == event for line in self.lines())

    def readyz(self) -> tuple[int, dict[str, str]]:
        """(status, reasons)"""
        try:
            with urllib.request.urlopen(self.wait_for("started")["http"] + "/readyz", timeout=5) as answer:
                return answer.status, json.load(answer)["reasons"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["reasons"]

    def metrics(self) -> str:
        with urllib.request.urlopen(self.wait_for("started")["http"] + "/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def readings(values: Sequence[Sequence[float]], *, first: int = 0) -> list[tuple[str, str]]:
    """values[tick][series] → messages in event-time order, keyed by series."""
    return [
        (
            f"s{series}",
            json.dumps({"series_id": f"s{series}", "timestamp": START_MS + (first + tick) * STEP_MS, "value": value}),
        )
        for tick, row in enumerate(values)
        for series, value in enumerate(row)
    ]


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str | Callable[[], str]) -> Any:
    """`what`: a callable says it as it is when the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}")
