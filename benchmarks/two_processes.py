"""Two worker processes in one group against one, on the same backlog.

The workers are stopped (SIGSTOP) while the backlog is written, each with its partitions already, and continued
together: so neither starting nor sharing out partitions is in the time.

A core more and a process more (sched_setaffinity(2)): broker, store and one worker share one core, then broker, store
and two workers share two. Beside them one worker that has the two cores, which its threads and the broker keep busy
already, and, for machines with cores to spare, workers with a core each while broker and store run anywhere.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """So many workers on so many cores, with all else in there too; None: a core each, and all else anywhere."""

    workers: int
    cores: int | None
    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # cores of the machine meanwhile, whoever kept them so

    def __str__(self) -> str:
        workers = "one process" if self.workers == 1 else f"{self.workers} processes"
        if self.cores is None:
            own = "a core of its own" if self.workers == 1 else "a core each"
            return f"{workers}, {own}, broker and store on any"
        return f"{workers} on {self.cores} core{'s' if self.cores > 1 else ''}, broker and store included"

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def measure_two_processes(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    cases = [Case(1, 1), Case(2, 2), Case(1, 2), Case(1, None), Case(2, None)]
    for round_ in range(WARM_UP, min(ROUNDS_MAX, sizes.rounds)):
        for number, case in enumerate(cases):
            workload = Workload(f"w1-{number}-processes-{round_ - WARM_UP}", sizes.series, sizes.ticks)
            rate, busy = _rate(stage, workload, case, sizes.interval_ms)
            asked.say(f"    round {round_ + 1}: {case}: {rate:,.0f} readings/s, {busy:.2f} cores busy")
            if round_ != WARM_UP:
                case.rates.append(rate)
                case.busy.append(busy)
    one, two, wide, apart, two_apart = cases
    share = f"{two.rate / one.rate:.2f} × one process on one core, {two.rate / wide.rate:.2f} × one on two cores"
    kept = f"it keeps {statistics.median(wide.busy):.2f} cores busy with its broker"
    gain = f"{two_apart.rate / apart.rate:.2f} × one process on a core; {psutil.cpu_count()} cores for all of it"
    for case, must, note in (
        (one, "", ""),
        (two, "1.6 × one", share),
        (wide, "", kept),
        (apart, "", ""),
        (two_apart, "", gain),
    ):
        figure.rows.append(Row.of(f"{case}, exactly once", case.rates, "readings/s", must=must, note=note))
    figure.raw |= {str(case): {"rates": case.rates, "cores_busy": case.busy} for case in cases}


def _keep_on(pid: int, cores: set[int]) -> None:
    """Every thread of a process that runs; those that it starts later inherit it."""
    for thread in psutil.Process(pid).threads():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(thread.id, cores)


@contextmanager
def _placed(stage: Stage, case: Case) -> Iterator[list[set[int]]]:
    """The cores of each worker. Broker, store and this program have theirs in here, and all of them afterwards."""
    every = os.sched_getaffinity(0)
    cores = sorted(every)
    shared = every if case.cores is None else set(cores[: case.cores])
    others = [os.getpid(), *stage.pids()]
    try:
        for pid in others:
            _keep_on(pid, shared)
        yield [{cores[number % len(cores)]} if case.cores is None else shared for number in range(case.workers)]
    finally:
        for pid in others:
            _keep_on(pid, every)


def _rate(stage: Stage, workload: Workload, case: Case, interval_ms: int) -> tuple[float, float]:
    """Readings/s, and how many of the machine's cores were busy meanwhile, whoever kept them so."""
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    deployment = Deployment(stage, f"{workload.topic}-out", workload, "exactly_once", interval_ms=interval_ms)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    workers = [Worker(deployment.config(f"worker-{number}")) for number in range(case.workers)]
    try:
        wait_until(lambda: _shared_out(workers, workload.partitions), SHARE_OUT_S, "the partitions to be shared out")
        time.sleep(2)  # the first commit and checkpoint of each
        for worker in workers:
            worker.send(signal.SIGSTOP)
        produce(stage.bootstrap, workload)
        with _placed(stage, case) as places:
            for worker, cores in zip(workers, places, strict=True):
                _keep_on(worker.child.pid, cores)
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
