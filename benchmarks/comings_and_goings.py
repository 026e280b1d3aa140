"""A backlog drained by workers of which one comes or goes every two seconds, against one that is left in peace.

Between one worker and two more than there are partitions; who comes and who goes is drawn. Each that comes imports and
loads on the same cores, each that goes commits and hands its partitions on. Counted as everywhere: each output that is
due, once.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment
from benchmarks.drain import DRAIN_MIN_S, SLOWEST
from benchmarks.figure import Asked, Figure, Row
from benchmarks.side_by_side import WARM_UP, Rounds, filled
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker
from benchmarks.workload import Workload

EVERY_S = 2.0
PARTITIONS = 4
SEED = 10
MUST = 0.5  # of the rate in peace


@dataclass
class Crew:
    """The workers of a deployment that are there at the moment."""

    deployment: Deployment
    rng: np.random.Generator
    workers: list[Worker] = field(default_factory=list)
    came: int = 0
    went: int = 0

    def come(self) -> Worker:
        config = self.deployment.config(f"w{self.came}")
        # No instance_id, as where replicas come and go: a static member that leaves is waited for.
        config.write_text(re.sub(r"^instance_id = .*\n", "", config.read_text(), flags=re.MULTILINE))
        self.workers.append(Worker(config))
        self.came += 1
        return self.workers[-1]

    def begun(self) -> list[Worker]:
        """Those that can be told to stop: one that still imports ends by the signal itself."""
        return [worker for worker in self.workers if worker.events("started")]

    def come_or_go(self) -> None:
        most = self.deployment.workload.partitions + 2
        begun = self.begun()
        if len(self.workers) < most and (len(begun) == 1 or self.rng.random() < 0.5):
            self.come()
        elif len(begun) > 1:
            goes = begun[int(self.rng.integers(len(begun)))]
            self.workers.remove(goes)
            goes.stop()
            self.went += 1

    def check(self) -> None:
        for worker in self.workers:
            worker.child.require_running()

    def stop(self) -> None:
        for worker in self.begun():
            self.workers.remove(worker)
            worker.stop()
        self.end()

    def end(self) -> None:
        """Whatever has happened."""
        for worker in self.workers:
            worker.child.stop()


def measure_comings_and_goings(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    workload = Workload("comings", sizes.series, sizes.comings_ticks, partitions=PARTITIONS)
    rounds, changes = Rounds(asked), []

    def take(round_: int, *, in_peace: bool) -> float:
        name = f"comings-{'peace' if in_peace else 'changing'}-{round_ - WARM_UP}"
        deployment = Deployment(stage, name, workload, "exactly_once", interval_ms=sizes.interval_ms)
        crew = Crew(deployment, np.random.default_rng([SEED, round_ - WARM_UP]))
        rate = _drained(crew, in_peace=in_peace)
        if not in_peace:
            changes.append((crew.came, crew.went))
        return rate

    with filled(stage, workload):
        rounds.add("in peace", lambda round_: take(round_, in_peace=True))
        rounds.add("changing", lambda round_: take(round_, in_peace=False))
        rounds.run(min(2, sizes.rounds))
    peace, changing = (Row.of("", rounds.rates[name], "").value for name in ("in peace", "changing"))
    came, went = np.sum(changes[1:], axis=0) if len(changes) > 1 else (0, 0)
    note = (
        f"{changing / peace:.2f} of one left in peace ({peace:,.0f}); {came} came, {went} went"
        if changing and peace
        else ""
    )
    what = f"backlog of {workload.readings:,} readings while a worker comes or goes every {EVERY_S:g} s, exactly once"
    figure.rows.append(rounds.row("changing", what, must=f"{MUST} of undisturbed", note=note))
    figure.raw |= {"rates": dict(rounds.rates), "came_and_went": changes}
    figure.error = "; ".join(rounds.failed.values()) or None


def _drained(crew: Crew, *, in_peace: bool) -> float:
    """Readings/s from the first worker's partitions to the last commit, whoever makes it."""
    deployment, workload = crew.deployment, crew.deployment.workload
    deployment.create()
    progress = GroupProgress(deployment.stage.bootstrap, deployment.name, workload.topic, workload.partitions)
    try:
        began = crew.come().assigned(workload.partitions)["at"]
        due = time.monotonic() + EVERY_S

        def look() -> None:
            nonlocal due
            crew.check()
            if not in_peace and time.monotonic() >= due:
                crew.come_or_go()
                due = time.monotonic() + EVERY_S

        ended = progress.wait(workload.messages, DRAIN_MIN_S + workload.readings / SLOWEST, look)
        crew.stop()
        check_counts(deployment)
    finally:
        crew.end()
        progress.close()
        deployment.delete()
    return workload.readings / (ended - began)
