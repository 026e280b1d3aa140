"""Two worker processes in one group against one, on the same backlog.

The workers are stopped (SIGSTOP) while the backlog is written, each with its partitions already, and continued
together: so neither starting nor sharing out partitions is in the time.
"""

from __future__ import annotations

import signal
import statistics
import time

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


def measure_two_processes(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    rates: dict[int, list[float]] = {1: [], 2: []}
    busy: dict[int, list[float]] = {1: [], 2: []}
    for round_ in range(WARM_UP, min(ROUNDS_MAX, sizes.rounds)):
        for count in rates:
            workload = Workload(f"w1-{count}-processes-{round_ - WARM_UP}", sizes.series, sizes.ticks)
            rate, cores = _rate(stage, workload, count, sizes.interval_ms)
            asked.say(f"    round {round_ + 1}: {count} process(es): {rate:,.0f} readings/s, {cores:.2f} cores busy")
            if round_ != WARM_UP:
                rates[count].append(rate)
                busy[count].append(cores)
    gain = statistics.median(rates[2]) / statistics.median(rates[1])
    note = (
        f"{gain:.2f} × one process ({statistics.median(rates[1]):,.0f}), which with its broker keeps "
        f"{statistics.median(busy[1]):.2f} of {psutil.cpu_count()} cores busy already"
    )
    figure.rows.append(Row.of("two processes, exactly once", rates[2], "readings/s", must="1.6 × one", note=note))
    figure.raw |= {"rates": rates, "cores_busy": busy}


def _rate(stage: Stage, workload: Workload, count: int, interval_ms: int) -> tuple[float, float]:
    """Readings/s, and how many of the machine's cores were busy meanwhile, whoever kept them so."""
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    deployment = Deployment(stage, f"{workload.topic}-out", workload, "exactly_once", interval_ms=interval_ms)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    workers = [Worker(deployment.config(f"worker-{number}")) for number in range(count)]
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
