"""A worker whose state is full: what the figures about many series begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import DRAIN_MIN_S, SLOWEST
from benchmarks.figure import Asked
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker
from benchmarks.workload import START_S, STEP_S, Workload, create_topics, delete_topics, produce

ASSIGNED_TIMEOUT_S = 180


@dataclass
class Filled:
    """`worker` may be replaced by another one of the deployment; the one that is there at the end is ended."""

    deployment: Deployment
    progress: GroupProgress
    worker: Worker
    produced: int  # messages
    rate: float  # readings/s while it was filled

    def feed(self, workload: Workload, timeout_s: float) -> float:
        """More readings; time.time() when all are committed."""
        produce(self.deployment.stage.bootstrap, workload)
        self.produced += workload.messages
        return self.progress.wait(self.produced, timeout_s, self.worker.child.require_running)


def first_tick(ticks: int, every: int) -> int:
    """Where so many ticks must begin, so that forecasts are due at the one after them."""
    return -(START_S // STEP_S + ticks) % every


@contextmanager
def filled(stage: Stage, asked: Asked, fill: Workload, shapes: Shapes) -> Iterator[Filled]:
    """The worker has committed all of `fill`; its topics and its state are gone afterwards."""
    deployment = Deployment(stage, f"{fill.topic}-out", fill, "exactly_once", shapes, asked.sizes.interval_ms)
    create_topics(stage.bootstrap, [fill.topic], fill.partitions)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, deployment.name, fill.topic, fill.partitions)
    made = None
    try:
        asked.say(f"    writing {fill.readings:,} readings")
        produce(stage.bootstrap, fill)
        made = Filled(deployment, progress, Worker(deployment.config()), fill.messages, 0.0)
        began = made.worker.assigned(fill.partitions, ASSIGNED_TIMEOUT_S)["at"]
        timeout_s = DRAIN_MIN_S + fill.readings / SLOWEST
        ended = progress.wait(fill.messages, timeout_s, made.worker.child.require_running)
        made.rate = fill.readings / (ended - began)
        asked.say(f"    filled at {made.rate:,.0f} readings/s")
        yield made
        made.worker.stop()
    finally:
        if made is not None:
            made.worker.child.stop()
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [fill.topic])
