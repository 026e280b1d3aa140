"""One measured run: a real worker from a cold group to a drained backlog, its outputs counted before its rate is told.

The clock runs from the worker's log line "assigned" (process start, imports and assignment are not in it; the first
fetch is) until the broker has the commit of the last reading, so everything is published by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment
from benchmarks.worker_process import FigureFailed, GroupProgress, Worker

SLOWEST = 20_000  # readings/s below which a run is given up
DRAIN_MIN_S = 60

# Stage → its histogram's name, and the thread it is on.
STAGES = {
    "decode": ("tidecast_decode_seconds", "pipeline"),
    "observe": ("tidecast_observe_seconds", "pipeline"),
    "forecast": ("tidecast_forecast_seconds", "pipeline"),
    "settle": ("tidecast_settle_seconds", "pipeline"),
    "shadow": ("tidecast_shadow_seconds", "pipeline"),
    "encode": ("tidecast_encode_seconds", "pipeline"),
    "transaction": ("tidecast_transaction_seconds", "publisher"),
    "checkpoint": ("tidecast_checkpoint_seconds", "saver"),
}


@dataclass(frozen=True)
class Drained:
    """What one run showed."""

    readings: int
    seconds: float
    cpu_seconds: float  # of the whole process until drained, imports included
    start_seconds: float  # process start → assigned
    rss_bytes: int
    redis_commands: int
    checkpoint_bytes: int
    counts: dict[str, int]
    stages_us: dict[str, float]  # µs a reading, wall clock of the thread that does it
    threads_s: dict[str, float]

    @property
    def rate(self) -> float:
        return self.readings / self.seconds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rate": self.rate, "redis_commands_per_reading": self.redis_commands / self.readings}


def drain(deployment: Deployment, *, count: bool = True, look: Callable[[Worker], None] = lambda _: None) -> Drained:
    """The workload's topic is there and filled; the deployment's outputs are made and removed here.

    `look` sees the worker again and again while it drains.
    """
    deployment.create()
    try:
        return _drain(deployment, count=count, look=look)
    finally:
        deployment.delete()


def _drain(deployment: Deployment, *, count: bool, look: Callable[[Worker], None]) -> Drained:
    workload, stage = deployment.workload, deployment.stage
    progress = GroupProgress(stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    commands = stage.redis_commands()
    worker = Worker(deployment.config())
    try:
        began = worker.assigned(workload.partitions)["at"]
        timeout_s = DRAIN_MIN_S + workload.readings / SLOWEST

        def check() -> None:
            worker.child.require_running()
            look(worker)

        ended = progress.wait(workload.messages, timeout_s, check)
        cpu_seconds, threads = worker.cpu_seconds(), worker.thread_seconds()
        rss, metrics = worker.rss_bytes(), worker.metrics()
        worker.stop()
    finally:
        worker.child.stop()
        progress.close()
    verdicts = {labels[-1]: int(count) for labels, count in metrics["tidecast_readings_total"].items()}
    if verdicts.get("accepted") != workload.readings:
        raise FigureFailed(f"expected {workload.readings:,} readings to be accepted, found {verdicts}")
    return Drained(
        readings=workload.readings,
        seconds=ended - began,
        cpu_seconds=cpu_seconds,
        start_seconds=began - worker.started_at,
        rss_bytes=rss,
        redis_commands=stage.redis_commands() - commands,
        checkpoint_bytes=int(sum(metrics["tidecast_checkpoint_bytes_total"].values())),
        counts=check_counts(deployment) if count else {},
        stages_us=stage_profile(metrics, workload.readings),
        threads_s=threads,
    )


def stage_profile(metrics: dict[str, dict[tuple[str, ...], float]], readings: int) -> dict[str, float]:
    """µs a reading of each stage, from the worker's own histograms; of the shadow where there is one."""
    spent = {stage: sum(metrics[f"{name}_sum"].values()) for stage, (name, _) in STAGES.items()}
    return {stage: seconds / max(1, readings) * 1e6 for stage, seconds in spent.items() if seconds or stage != "shadow"}
