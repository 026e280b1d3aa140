"""Fault 15: all of it at random, for half an hour by default (--soak-minutes).

Of what the other runs do one at a time, this leaves out what changes which result is right (a model that raises or is
promoted), and what a person has to mend (a log that was cut, an added partition, a missing right).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import redis

from stream_app.local_services.ports import free_port
from tests.app.running_worker import START_MS, STEP_MS, WorkerProcess, World
from tests.chaos.broken_world import IMPATIENT_KAFKA, BrokenServers
from tests.chaos.disturbed import PATIENT_S, Disturbed
from tests.chaos.killing_worker import PLACES
from tests.chaos.poison import good, poisons
from tests.chaos.quorum import Quorum
from tests.chaos.tcp_proxy import API_KEYS, TcpProxy
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from stream_app.local_services import LocalServices

STEPS = list(PLACES)
WORKERS = 2
GROWTH_MAX_MB = 150  # I6: of one process, after its warm-up
ENDLESS = "while true do end"
DAY_MS = 86_400_000
POISON_BYTES_MAX = 200_000  # what the broker takes of one message is 1 MB
# Each has a name of its own. The client sends a heartbeat without a member id when it has lost its session in the midst
# of joining again, and the broker takes it for a namesake: whoever started the worker is to start it again.
FENCED = "another one has joined with the same"
HARMLESS = {"poison", "lose a piece"}  # nobody has to recover from it
Prove = Callable[[str, list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokenServers]:
    """With a controller that outlives the broker: this one is killed while the machine is busy."""
    with (
        TcpProxy(lambda: running.kafka.ports["proxied"], kafka=True) as kafka,
        TcpProxy(lambda: running.valkey.port) as store,
    ):
        running = Quorum(
            tmp_path_factory.mktemp("services"),
            free_ports=True,
            downloads=REPOSITORY / ".tidecast" / "kafka-jars",
            kafka_proxy_port=kafka.port,
        )
        with running:
            yield BrokenServers(running, kafka, store)


@pytest.fixture(scope="module")
def services(servers: BrokenServers) -> LocalServices:
    return servers.services


class Proxied(Disturbed):
    """Its workers reach both servers through the proxies; its twin and its judge do not."""

    def __init__(self, world: World, servers: BrokenServers, **named: Any) -> None:
        self.servers = servers
        super().__init__(world, **named)

    def config(self, instance: str, name: str = "a") -> Path:
        path = super().config(instance, name)
        if name == "a":
            text = path.read_text().replace(self.world.bootstrap, self.servers.kafka_proxy.address)
            text = text.replace(self.world.redis_url, f"redis://{self.servers.redis_proxy.address}/0")
            path.write_text(text + IMPATIENT_KAFKA)
        return path


class Trouble:
    """Does something to a deployment each time it is asked, by its own dice."""

    def __init__(self, run: Proxied, seed: int) -> None:
        self.run, self.servers, self.services = run, run.servers, run.servers.services
        self.rng = np.random.default_rng(seed)
        self.running: list[WorkerProcess] = []
        self.number = 0
        self.to_come: list[str] = []
        self.done: dict[str, int] = {}
        self.slept: list[WorkerProcess] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "kill": self.kill,
            "stop": self.stop,
            "sleep": self.sleep,
            "kill at a step": self.kill_at_a_step,
            "one more": self.one_more,
            "broker restart": self.restart_broker,
            "store restart": self.restart_store,
            "store empty": self.empty_store,
            "store full": self.fill_store,
            "store a replica": self.make_replica,
            "store busy": self.run_endless_script,
            "lose a piece": self.lose_a_piece,
            "kafka slow": lambda: self.disturb(self.servers.kafka_proxy, "latency_s", 0.2),
            "kafka reset": lambda: self.reset(self.servers.kafka_proxy),
            "kafka swallows all": lambda: self.disturb(self.servers.kafka_proxy, "black_hole", True),
            "kafka half open": lambda: self.disturb(self.servers.kafka_proxy, "half_open", True),
            "kafka ends unanswered": self.drop_ends,
            "redis slow": lambda: self.disturb(self.servers.redis_proxy, "latency_s", 0.2),
            "redis reset": lambda: self.reset(self.servers.redis_proxy),
            "redis swallows all": lambda: self.disturb(self.servers.redis_proxy, "black_hole", True),
            "redis half open": lambda: self.disturb(self.servers.redis_proxy, "half_open", True),
            "poison": self.poison,
        }

    def top_up(self) -> None:
        """As many workers as there should be; whoever has ended is replaced."""
        self.running = [worker for worker in self.running if worker.process.poll() is None]
        while len(self.running) < WORKERS:
            self.number += 1
            self.running.append(self.run.start(f"w{self.number}"))

    def one(self) -> WorkerProcess:
        return self.running[int(self.rng.integers(len(self.running)))]

    def cause(self) -> str:
        """Each kind once before any comes again, in an order of its own each time."""
        if not self.to_come:
            self.to_come = [str(kind) for kind in self.rng.permutation(list(self.kinds))]
        kind = self.to_come.pop()
        self.done[kind] = self.done.get(kind, 0) + 1
        print(f"{len(self.run.arrivals.cells)} forecasts, then: {kind}", flush=True)
        self.kinds[kind]()
        return kind

    def wait(self, longest_s: float) -> None:
        time.sleep(float(self.rng.uniform(0, longest_s)))

    # --- workers ------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        self.one().kill()

    def stop(self) -> None:
        self.one().process.send_signal(signal.SIGTERM)

    def sleep(self) -> None:
        worker = self.one()
        self.slept.append(worker)
        worker.process.send_signal(signal.SIGSTOP)  # one that was told to stop may have ended just now
        time.sleep(1)
        self.wait(11)
        worker.process.send_signal(signal.SIGCONT)

    def kill_at_a_step(self) -> None:
        self.number += 1
        step, nth = str(self.rng.choice(STEPS)), int(self.rng.integers(5, 60))
        self.running.append(self.run.start(f"w{self.number}", at=step, nth=nth))

    def one_more(self) -> None:
        self.number += 1
        self.running.append(self.run.start(f"w{self.number}"))

    # --- servers ------------------------------------------------------------------------------------------------------

    def restart_broker(self) -> None:
        self.services.kafka.kill()
        self.wait(5)
        self.services.kafka.start()

    def restart_store(self) -> None:
        self.services.valkey.kill()
        self.wait(5)
        self.services.valkey.start()

    def empty_store(self) -> None:
        self.services.valkey.kill()
        shutil.rmtree(self.services.valkey.directory / "valkey")
        self.wait(5)
        self.services.valkey.start()

    def store(self) -> redis.Redis:
        return redis.Redis.from_url(self.run.world.redis_url, socket_timeout=20)

    def fill_store(self) -> None:
        with self.store() as client:
            client.config_set("maxmemory", 1)
            self.wait(8)
            client.config_set("maxmemory", 0)

    def make_replica(self) -> None:
        with self.store() as client:
            client.replicaof("127.0.0.1", free_port())  # type: ignore[no-untyped-call]
            self.wait(8)
            client.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]

    def run_endless_script(self) -> None:
        def run() -> None:
            with self.store() as client, contextlib.suppress(redis.RedisError):
                client.eval(ENDLESS, 0)

        thread = threading.Thread(target=run, daemon=True)
        with self.store() as client:
            client.config_set("lua-time-limit", 50)
            thread.start()
            time.sleep(0.5)  # it runs
            self.wait(8)
            client.script_kill()
        thread.join(20)

    def lose_a_piece(self) -> None:
        with self.store() as client:
            names = client.scan_iter(match=f"*{self.run.world.topic}.a:tides:*", count=1000)
            pieces = sorted(name for name in names if not name.endswith((b":owner", b":header", b":keys")))
            if pieces:  # an emptied store has none for a moment
                client.delete(pieces[int(self.rng.integers(len(pieces)))])

    # --- what lies between --------------------------------------------------------------------------------------------

    def disturb(self, proxy: TcpProxy, fault: str, value: Any) -> None:
        setattr(proxy, fault, value)
        self.wait(12)
        proxy.heal()

    def reset(self, proxy: TcpProxy) -> None:
        for _ in range(int(self.rng.integers(1, 6))):
            proxy.reset()
            self.wait(1)

    def drop_ends(self) -> None:
        self.servers.kafka_proxy.drop_replies = frozenset({API_KEYS["EndTxn"]})
        self.wait(8)
        self.servers.kafka_proxy.heal()

    # --- messages -----------------------------------------------------------------------------------------------------

    def poison(self) -> None:
        """What no producer should send; readings of the past, some of them again; one of the day after tomorrow."""
        feeder, at = self.run.feeder, START_MS + self.run.feeder.ticks * STEP_MS
        bad = [("s0", value) for value, _ in poisons(at) if len(value) < POISON_BYTES_MAX]
        some: list[tuple[str | None, Any]] = [bad[each] for each in self.rng.choice(len(bad), 6, replace=False)]
        some += [("s1", self.rng.bytes(40)), (None, good("s2", at, 1.0)), (None, None)]
        for back in self.rng.integers(1, 20, 4).tolist():
            name = f"s{int(self.rng.integers(feeder.series))}"
            some.append((name, good(name, at - back * STEP_MS, 5.0)))
        later_ms = time.time_ns() // 1_000_000 + 2 * DAY_MS
        some.append(("s3", json.dumps({"series_id": "s3", "timestamp": later_ms, "value": 1.0})))
        feeder.send_besides(some)


def in_trouble(world: World, servers: BrokenServers, seed: int, *, seconds: float) -> tuple[Proxied, Trouble]:
    run = Proxied(world, servers, seed=seed, every_s=0.1, limits='redis_timeout = "1s"')
    trouble = Trouble(run, seed)
    trouble.top_up()
    run.wait_until_forecasting(time.monotonic())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        moment = time.monotonic()
        kind = trouble.cause()
        calm_from = time.monotonic() + float(trouble.rng.uniform(0, 3))
        while time.monotonic() < calm_from or run.arrivals.after(moment) is None:
            trouble.top_up()
            run.memory.sample(trouble.running)
            assert time.monotonic() < moment + PATIENT_S, run.logs()
            time.sleep(0.2)
        if kind in HARMLESS:
            run.faults += 1
        else:
            run.recovered(moment, 1)
    trouble.top_up()
    run.survivors = trouble.running
    return run, trouble


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_everything_at_random(
    world: World, servers: BrokenServers, seed: int, prove: Prove, request: pytest.FixtureRequest
) -> None:
    minutes = request.config.getoption("--soak-minutes")
    run, trouble = in_trouble(world, servers, seed, seconds=60 * minutes)
    for worker in run.survivors:  # one may still be on its way to its own end
        worker.process.send_signal(signal.SIGTERM)
    run.survivors = []
    last = run.start("last")
    run.wait_until_forecasting(time.monotonic())
    verdict = run.judge([last], workers=2)
    prove("everything_at_random", [run.numbers(verdict)])
    print(trouble.done)
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
    gave_up = {
        worker.log_path.name: line["error"]
        for worker in world.workers
        for line in worker.lines()
        if line["event"] == "worker ends" and worker not in trouble.slept and FENCED not in line["error"]
    }
    assert not gave_up, "who was not asleep is to recover by itself"
    assert run.memory.growth_bytes() < GROWTH_MAX_MB * 2**20
