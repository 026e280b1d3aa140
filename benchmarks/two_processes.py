"""Two worker processes in one group against one, on the same backlog.

The workers are stopped (SIGSTOP) while the backlog is written, each with its partitions already, and continued
together: so neither starting nor sharing out partitions is in the time.
"""

from __future__ import annotations

import signal
import statistics
import time

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment
from benchmarks.drain import DRAIN_MIN_S, SLOWEST
from benchmarks.figure import Asked, Figure, Row
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker, wait_until
from benchmarks.workload import Workload, create_topics, delete_topics, produce

SHARE_OUT_S = 90
ROUNDS_MAX = 2  # each needs a backlog of its own


def measure_two_processes(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    rates: dict[int, list[float]] = {1: [], 2: []}
    for round_ in range(min(ROUNDS_MAX, sizes.rounds)):
        for count, found in rates.items():
            workload = Workload(f"w1-{count}-processes-{round_}", sizes.series, sizes.ticks)
            found.append(_rate(stage, workload, count, sizes.interval_ms))
            asked.say(f"    round {round_ + 1}: {count} process(es): {found[-1]:,.0f} readings/s")
    gain = statistics.median(rates[2]) / statistics.median(rates[1])
    note = f"{gain:.2f} × one process ({statistics.median(rates[1]):,.0f}) on this machine's cores"
    figure.rows.append(Row.of("two processes, exactly once", rates[2], "readings/s", must="1.6 × one", note=note))
    figure.raw["rates"] = rates


def _rate(stage: Stage, workload: Workload, count: int, interval_ms: int) -> float:
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
        began = time.time()
        for worker in workers:
            worker.send(signal.SIGCONT)

        def check() -> None:
            for worker in workers:
                worker.child.require_running()

        ended = progress.wait(workload.messages, DRAIN_MIN_S + workload.readings / SLOWEST, check)
        for worker in workers:
            worker.stop()
        check_counts(deployment)
    finally:
        for worker in workers:
            worker.child.stop()
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [workload.topic])
    return workload.readings / (ended - began)


def _shared_out(workers: list[Worker], partitions: int) -> bool:
    """Each has its share, by its own metrics."""
    shares = []
    for worker in workers:
        worker.child.require_running()
        if not worker.events("assigned"):
            return False
        shares.append(sum(worker.metrics()["tidecast_partitions_assigned"].values()))
    return sum(shares) == partitions and min(shares) == partitions // len(workers)
