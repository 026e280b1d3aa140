"""Two worker processes in one group against one, on the same backlog.

The workers are stopped (SIGSTOP) while the backlog is written, each with its partitions already, and continued
together: so neither starting nor sharing out partitions is in the time.

Both ways are told. With a core each (sched_setaffinity(2)) it is seen what a further process on a core of its own
brings; the broker and the store run wherever the system lets them, beside one process as beside two. Without, one
process may take what cores there are for its threads, and a second one finds what is left.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment
from benchmarks.drain import DRAIN_MIN_S, SLOWEST
from benchmarks.figure import Asked, Figure, Row
from benchmarks.side_by_side import WARM_UP
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker, wait_until
from benchmarks.workload import Workload, create_topics, delete_topics, produce

SHARE_OUT_S = 90
ROUNDS_MAX = 2  # each needs a backlog of its own


@dataclass
class Case:
    """So many processes; `own_core`: each of them on a core, and on no other."""

    count: int
    own_core: bool
    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # cores of the machine meanwhile, whoever kept them so

    def __str__(self) -> str:
        return f"{self.count} process(es), {'a core each' if self.own_core else 'any core'}"

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def measure_two_processes(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    cases = [Case(count, own_core) for own_core in (True, False) for count in (1, 2)]
    for round_ in range(WARM_UP, min(ROUNDS_MAX, sizes.rounds)):
        for number, case in enumerate(cases):
            workload = Workload(f"w1-{number}-processes-{round_ - WARM_UP}", sizes.series, sizes.ticks)
            rate, busy = _rate(stage, workload, case, sizes.interval_ms)
            asked.say(f"    round {round_ + 1}: {case}: {rate:,.0f} readings/s, {busy:.2f} cores busy")
            if round_ != WARM_UP:
                case.rates.append(rate)
                case.busy.append(busy)
    pinned, two_pinned, one, two = cases
    figure.rows.append(Row.of("one process on one core, exactly once", pinned.rates, "readings/s"))
    cores = len(os.sched_getaffinity(0))
    gain = (
        f"{two_pinned.rate / pinned.rate:.2f} × one process on one core; broker, store and this program share {cores}"
    )
    figure.rows.append(
        Row.of("two processes, a core each, exactly once", two_pinned.rates, "readings/s", must="1.6 × one", note=gain)
    )
    note = (
        f"{two.rate / one.rate:.2f} × one process ({one.rate:,.0f}), which with its broker keeps "
        f"{statistics.median(one.busy):.2f} of the machine's {psutil.cpu_count()} cores busy already"
    )
    figure.rows.append(Row.of("two processes on any core, exactly once", two.rates, "readings/s", note=note))
    figure.raw |= {str(case): {"rates": case.rates, "cores_busy": case.busy} for case in cases}


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started in here runs on these alone; children inherit it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _started(deployment: Deployment, case: Case) -> list[Worker]:
    workers = []
    cores = sorted(os.sched_getaffinity(0))
    for number in range(case.count):
        with _on({cores[number % len(cores)]} if case.own_core else set(cores)):
            workers.append(Worker(deployment.config(f"worker-{number}")))
    return workers


def _rate(stage: Stage, workload: Workload, case: Case, interval_ms: int) -> tuple[float, float]:
    """Readings/s, and how many of the machine's cores were busy meanwhile, whoever kept them so."""
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    deployment = Deployment(stage, f"{workload.topic}-out", workload, "exactly_once", interval_ms=interval_ms)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    workers = _started(deployment, case)
    try:
        wait_until(lambda: _shared_out(workers, workload.partitions), SHARE_OUT_S, "the partitions to be shared out")
        time.sleep(2)  # the first commit and checkpoint of each
        for worker in workers:
            worker.send(signal.SIGSTOP)
        produce(stage.bootstrap, workload)
        began, busy = time.time(), _busy_s()
        for worker in workers:
            worker.send(signal.SIGCONT)

        def check() -> None:
            for worker in workers:
                worker.child.require_running()

        ended = progress.wait(workload.messages, DRAIN_MIN_S + workload.readings / SLOWEST, check)
        busy = _busy_s() - busy
        for worker in workers:
            worker.stop()
        check_counts(deployment)
    finally:
        for worker in workers:
            worker.child.stop()
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [workload.topic])
    return workload.readings / (ended - began), busy / (ended - began)


def _busy_s() -> float:
    """Core-seconds that the machine has worked since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _shared_out(workers: list[Worker], partitions: int) -> bool:
    """Each has its share, by its own metrics."""
    shares = []
    for worker in workers:
        worker.child.require_running()
        if not worker.events("assigned"):
            return False
        shares.append(sum(worker.metrics()["tidecast_partitions_assigned"].values()))
    return sum(shares) == partitions and min(shares) == partitions // len(workers)
