"""Fault 15: all of it at random, for half an hour by default (--soak-minutes)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.app.running_worker import WorkerProcess, World
from tests.chaos.disturbed import PATIENT_S, Disturbed
from tests.chaos.killing_worker import PLACES
from tests.chaos.quorum import Quorum
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from stream_app.local_services import LocalServices

STEPS = list(PLACES)
WORKERS = 2
GROWTH_MAX_MB = 150  # I6: of one process, after its warm-up
Prove = Callable[[str, list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """With a controller that outlives the broker: this one is killed while the machine is busy."""
    folder = tmp_path_factory.mktemp("services")
    with Quorum(folder, free_ports=True, downloads=REPOSITORY / ".tidecast" / "kafka-jars") as running:
        yield running


class Trouble:
    """Does something to a deployment each time it is asked, by its own dice."""

    def __init__(self, run: Disturbed, services: LocalServices, seed: int) -> None:
        self.run, self.services = run, services
        self.rng = np.random.default_rng(seed)
        self.running: list[WorkerProcess] = []
        self.number = 0
        self.done: dict[str, int] = {}
        self.slept: list[WorkerProcess] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "kill": self.kill,
            "stop": self.stop,
            "sleep": self.sleep,
            "kill at a step": self.kill_at_a_step,
            "broker restart": self.restart_broker,
            "store restart": self.restart_store,
        }

    def top_up(self) -> None:
        """As many workers as there should be; whoever has ended is replaced."""
        self.running = [worker for worker in self.running if worker.process.poll() is None]
        while len(self.running) < WORKERS:
            self.number += 1
            self.running.append(self.run.start(f"w{self.number}"))

    def one(self) -> WorkerProcess:
        return self.running[int(self.rng.integers(len(self.running)))]

    def cause(self) -> None:
        kind = str(self.rng.choice(list(self.kinds)))
        self.done[kind] = self.done.get(kind, 0) + 1
        print(f"{len(self.run.arrivals.cells)} forecasts, then: {kind}", flush=True)
        self.kinds[kind]()

    def kill(self) -> None:
        self.one().kill()

    def stop(self) -> None:
        self.one().process.send_signal(signal.SIGTERM)

    def sleep(self) -> None:
        worker = self.one()
        self.slept.append(worker)
        worker.process.send_signal(signal.SIGSTOP)  # one that was told to stop may have ended just now
        time.sleep(float(self.rng.uniform(1, 12)))
        worker.process.send_signal(signal.SIGCONT)

    def kill_at_a_step(self) -> None:
        self.number += 1
        step, nth = str(self.rng.choice(STEPS)), int(self.rng.integers(5, 60))
        self.running.append(self.run.start(f"w{self.number}", at=step, nth=nth))

    def restart_broker(self) -> None:
        self.services.kafka.kill()
        time.sleep(float(self.rng.uniform(0, 5)))
        self.services.kafka.start()

    def restart_store(self) -> None:
        self.services.valkey.kill()
        time.sleep(float(self.rng.uniform(0, 5)))
        self.services.valkey.start()


def in_trouble(world: World, services: LocalServices, seed: int, *, seconds: float) -> tuple[Disturbed, Trouble]:
    run = Disturbed(world, seed=seed, every_s=0.1, limits='redis_timeout = "1s"')
    trouble = Trouble(run, services, seed)
    trouble.top_up()
    run.wait_until_forecasting(time.monotonic())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        moment = time.monotonic()
        trouble.cause()
        calm_from = time.monotonic() + float(trouble.rng.uniform(0, 3))
        while time.monotonic() < calm_from or run.arrivals.after(moment) is None:
            trouble.top_up()
            run.memory.sample(trouble.running)
            assert time.monotonic() < moment + PATIENT_S, run.logs()
            time.sleep(0.2)
        run.recovered(moment, 1)
    trouble.top_up()
    run.survivors = trouble.running
    return run, trouble


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_everything_at_random(
    world: World, services: LocalServices, seed: int, prove: Prove, request: pytest.FixtureRequest
) -> None:
    minutes = request.config.getoption("--soak-minutes")
    run, trouble = in_trouble(world, services, seed, seconds=60 * minutes)
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
        if line["event"] == "worker ends" and worker not in trouble.slept
    }
    assert not gave_up, "who was not asleep is to recover by itself"
    assert run.memory.growth_bytes() < GROWTH_MAX_MB * 2**20
