"""A backlog that is longer than W1: does the rate hold, and does the worker's memory?

Both are drained in turns. Memory is the resident set of the process, looked at all the time: the most of it in the
first fifth of the drain, and the most afterwards.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks.deployment import Deployment
from benchmarks.drain import drain
from benchmarks.figure import Asked, Figure, Row
from benchmarks.side_by_side import WARM_UP, Rounds, filled
from benchmarks.stage import Stage
from benchmarks.worker_process import Worker
from benchmarks.workload import Workload

FIRST = 0.2  # of the time
MUST = 0.8  # of W1's rate


@dataclass
class Memory:
    """Looks at a worker while it drains: (time.time(), bytes)."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def look(self, worker: Worker) -> None:
        self.seen.append((time.time(), worker.rss_bytes()))

    def most(self) -> tuple[int, int]:
        """Bytes in the first fifth, and after it."""
        began, ended = self.seen[0][0], self.seen[-1][0]
        until = began + FIRST * (ended - began)
        return (
            max(held for at, held in self.seen if at <= until),
            max((held for at, held in self.seen if at > until), default=0),
        )


def measure_backlog(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    short = Workload("backlog-w1", sizes.series, sizes.ticks)
    long = Workload("backlog", sizes.series, sizes.backlog_ticks)
    rounds = Rounds(asked)
    memory: list[tuple[int, int]] = []

    def take(round_: int, workload: Workload) -> float:
        name = f"{workload.topic}-{round_ - WARM_UP}"
        held = Memory()
        deployment = Deployment(stage, name, workload, "exactly_once", interval_ms=sizes.interval_ms)
        rate = drain(deployment, look=held.look).rate
        if workload is long and round_ != WARM_UP:
            memory.append(held.most())
        return rate

    with filled(stage, short), filled(stage, long):
        rounds.add("short", lambda round_: take(round_, short))
        rounds.add("long", lambda round_: take(round_, long))
        rounds.run(sizes.rounds)
    one, other = (Row.of("", rounds.rates[name], "").value for name in ("short", "long"))
    note = f"{other / one:.2f} of W1's in the same rounds ({one:,.0f})" if one and other else ""
    what = f"backlog of {long.readings:,} readings, exactly once"
    figure.rows.append(rounds.row("long", what, must=f"{MUST} of W1", note=note))
    first, after = ([each[part] / 1e6 for each in memory] for part in (0, 1))
    grown = [late - early for early, late in zip(first, after, strict=True)]
    note = f"at most {max(first):,.0f} MB in the first fifth, {max(after):,.0f} MB after" if memory else ""
    figure.rows.append(Row.of("its worker's memory after the first fifth: more", grown, "MB", must="flat", note=note))
    figure.raw |= {"rates": dict(rounds.rates), "rss_first_and_after_bytes": memory}
    figure.error = "; ".join(rounds.failed.values()) or None
