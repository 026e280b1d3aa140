"""Servers of a test's own, which it may break, behind proxies; and the verdict on a deployment after the faults.

A deployment reads and writes through the proxies (`world.through`); its undisturbed twin, started after all faults over
the same log, and the checker talk to the servers themselves.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import redis
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from tests.app.running_worker import WorkerProcess, World, readings, wait_until
from tests.chaos import checker
from tests.chaos.saved import compare_states
from tests.chaos.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from stream_app.local_services import LocalServices

JARS = Path(__file__).parents[2] / ".tidecast" / "kafka-jars"
PATIENT_S = 120.0  # the machine may be busy; nothing here is about time
SERIES = 3
# Seconds instead of half a minute until a client notices that nobody answers.
IMPATIENT_KAFKA = """
[kafka.client]
"socket.timeout.ms" = 10000
"""
IMPATIENT = 'redis_timeout = "500ms"\ncommit_deadline = "3s"\npublish_deadline = "5s"\nkafka_timeout = "3s"'


@dataclass
class BrokenWorld(World):
    """One deployment in the midst of faults, named "a"; its readings are drawn once, in event-time order."""

    services: LocalServices | None = None
    kafka_proxy: TcpProxy | None = None
    redis_proxy: TcpProxy | None = None
    data: np.ndarray | None = None
    sent: int = 0  # ticks

    def configure(self, name: str = "a", *, limits: str = IMPATIENT, proxied: bool = True) -> Path:
        path = self.deployment(name, limits=limits, instance=f"{name}-1")
        text = path.read_text() + IMPATIENT_KAFKA
        if proxied:
            assert self.kafka_proxy is not None
            assert self.redis_proxy is not None
            text = text.replace(self.bootstrap, self.kafka_proxy.address)
            text = text.replace(self.redis_url, f"redis://{self.redis_proxy.address}/0")
        path.write_text(text)
        return path

    def begin(self, ticks: int, *, limits: str = IMPATIENT) -> tuple[Path, WorkerProcess]:
        """(configuration, worker) of the deployment, when so many ticks have been forecast."""
        config = self.configure(limits=limits)
        worker = self.start(config)
        self.send_ticks(ticks)
        self.answered()
        return config, worker

    def send_ticks(self, count: int) -> None:
        """The next ones of all series."""
        assert self.data is not None
        some = self.data[self.sent : self.sent + count].tolist()
        self.send(readings(some, first=self.sent))
        self.sent += count

    def answered(self, name: str = "a") -> None:
        """All readings so far have become forecasts, as a reader of committed messages sees them."""
        self.wait_for_forecasts(name, self.sent * SERIES, PATIENT_S)

    def judge(self, config: Path, *, name: str = "a") -> checker.Verdict:
        """I1 to I4 after `name` has stopped, against an undisturbed twin over the same log."""
        twin = self.configure(f"{name}-twin", proxied=False)
        worker = self.start(twin)
        self.answered(f"{name}-twin")
        assert worker.stop(PATIENT_S) == 0, worker.log_path.read_text()
        mine = checker.Published.read(self.bootstrap, self.topic, f"{self.topic}.{name}")
        reference = checker.Published.read(self.bootstrap, self.topic, f"{self.topic}.{name}-twin")
        verdict = checker.check(mine)
        checker.compare_forecasts(mine, reference, verdict)
        compare_states(self, config, twin, verdict)
        assert verdict.counts["compared forecasts"] == self.sent * SERIES
        assert verdict.counts["compared series"] >= SERIES
        return verdict

    def stop_and_judge(self, worker: WorkerProcess, config: Path) -> None:
        assert worker.stop(PATIENT_S) == 0, worker.log_path.read_text()
        verdict = self.judge(config)
        assert not verdict.violations, f"{verdict}\n{worker.log_path.read_text()}"

    def go_on_and_judge(self, worker: WorkerProcess, config: Path) -> None:
        """After the fault: what was sent is answered, the worker is ready and forecasts on, and all of it is right."""
        self.answered()
        ready(worker)
        self.send_ticks(10)
        self.answered()
        self.stop_and_judge(worker, config)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=20)

    def keys(self, kind: str, *, name: str = "a") -> list[bytes]:
        """Redis keys of the deployment's partition that hold `kind`."""
        prefix = f"{{{self.topic}.{name}:tides:0}}:"
        return sorted(key for key in self.redis().scan_iter(count=1000) if key.decode().startswith(prefix + kind))

    def is_given_up(self, name: str = "a") -> bool:
        """The group has no member any more. A worker with an instance_id stays one until its session is over."""
        group = f"{self.topic}.{name}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        return not admin.describe_consumer_groups([group])[group].result(30).members

    def committed(self, name: str = "a") -> int:
        """Offset of the only partition that Kafka has for the deployment's group; -1 for none."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        group = f"{self.topic}.{name}"
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
        return max((each.offset for each in answer.topic_partitions), default=-1)


def ready(worker: WorkerProcess) -> None:
    wait_until(lambda: worker.readyz()[0] == 200, PATIENT_S, f"ready, in\n{worker.log_path.read_text()}")


def unready(worker: WorkerProcess, name: str, word: str = "") -> str:
    """The reason of that name with that word, once it is one with which /readyz answers 503."""

    def reason() -> str | None:
        status, reasons = worker.readyz()
        return reasons.get(name) if status == 503 and word in reasons.get(name, "") else None

    return str(wait_until(reason, PATIENT_S, f"unready because of {name}, {word!r} in the reason"))


def count_of(worker: WorkerProcess, event: str) -> int:
    return sum(line["event"] == event for line in worker.lines())


@dataclass(frozen=True)
class BrokenServers:
    """A broker and a store, each behind a proxy."""

    services: LocalServices
    kafka_proxy: TcpProxy
    redis_proxy: TcpProxy


@contextlib.contextmanager
def broken_servers(folder: Path, *, kafka_properties: Mapping[str, str] | None = None) -> Iterator[BrokenServers]:
    from stream_app.local_services import LocalServices

    with (
        TcpProxy(lambda: services.kafka.ports["proxied"], kafka=True) as kafka_proxy,
        TcpProxy(lambda: services.valkey.port) as redis_proxy,
    ):
        services = LocalServices(
            folder,
            free_ports=True,
            downloads=JARS,
            kafka_proxy_port=kafka_proxy.port,
            kafka_properties=kafka_properties,
        )
        with services:
            yield BrokenServers(services, kafka_proxy, redis_proxy)


@contextlib.contextmanager
def broken_world(
    servers: BrokenServers, folder: Path, rng: np.random.Generator, *, topic_is_there: bool = True, ticks: int = 400
) -> Iterator[BrokenWorld]:
    """Nothing is broken when it begins: both servers run, the store is empty, the topic is new."""
    for proxy in (servers.kafka_proxy, servers.redis_proxy):
        proxy.heal()
    servers.services.kafka.start()
    servers.services.valkey.kill()
    shutil.rmtree(servers.services.valkey.directory / "valkey", ignore_errors=True)
    servers.services.valkey.start()
    world = BrokenWorld(
        servers.services.kafka_bootstrap,
        servers.services.redis_url,
        f"in-{uuid.uuid4().hex[:8]}",
        1,
        folder,
        services=servers.services,
        kafka_proxy=servers.kafka_proxy,
        redis_proxy=servers.redis_proxy,
        data=np.round(10 + rng.normal(0, 1, (ticks, SERIES)), 3),
    )
    try:
        if topic_is_there:
            world.create(world.topic)
        yield world
    finally:
        for worker in world.workers:
            worker.kill()
