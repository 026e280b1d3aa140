"""1,000,000 series in one process, one tick a minute: the processor time that a tick costs.

Ticks are sent one at a time and waited for, checkpoint included, rather than one a minute: the work is the same, and
the figure is processor seconds. Of twelve ticks one makes forecasts, so the mean weighs it accordingly.
"""

from __future__ import annotations

import time
from dataclasses import replace

import psutil

from benchmarks.deployment import Shapes
from benchmarks.figure import Asked, Figure, Row
from benchmarks.filled import Filled, filled, first_tick
from benchmarks.stage import Stage
from benchmarks.worker_process import FigureFailed
from benchmarks.workload import Workload

EVERY = 12
PLAIN_TICKS = 3
QUIET_S = 3.0  # for the checkpoint of a tick
BYTES_A_SERIES = 13_000  # worker and store together: less memory than that is not enough
TICK_TIMEOUT_S = 180


def measure_million(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    what = f"{sizes.million:,} series, one process, a tick a minute"
    available = psutil.virtual_memory().available
    if available < sizes.million * BYTES_A_SERIES:
        note = f"not run: needs {sizes.million * BYTES_A_SERIES / 1e9:.0f} GB, {available / 1e9:.0f} GB are free"
        figure.rows.append(Row(what, None, "core-s a tick", note=note))
        return
    first = first_tick(sizes.million_ticks, EVERY)
    fill = Workload("million", sizes.million, sizes.million_ticks, "packed", first_tick=first)
    with filled(stage, asked, fill, Shapes()) as running:
        time.sleep(4 * QUIET_S)
        costs = [_tick(running, fill, tick, asked) for tick in range(1 + PLAIN_TICKS)]
        rss = running.worker.rss_bytes()
    forecast, plain = costs[0][0], sum(cpu for cpu, _ in costs[1:]) / PLAIN_TICKS
    mean = (forecast + (EVERY - 1) * plain) / EVERY
    note = (
        f"a tick without forecasts {plain:.1f}, the one of {EVERY} with a forecast each {forecast:.1f} core-s "
        f"and {costs[0][1]:.0f} s of wall clock; RSS {rss / 1e9:.1f} GB"
    )
    figure.rows.append(Row(what, mean, "core-s a tick", must="< 30", note=note))
    figure.raw |= {"core_seconds": costs, "rss": rss, "fill_rate": running.rate}


def _tick(running: Filled, fill: Workload, tick: int, asked: Asked) -> tuple[float, float]:
    """(processor seconds, seconds until its last reading is committed)"""
    one = replace(fill, first_tick=fill.first_tick + fill.ticks + tick, ticks=1)
    before, started = running.worker.cpu_seconds(), time.time()
    ended = running.feed(one, TICK_TIMEOUT_S)
    time.sleep(QUIET_S)
    cost = running.worker.cpu_seconds() - before
    if cost <= 0:
        raise FigureFailed(f"expected a tick to cost processor time, found {cost}")
    asked.say(f"    tick {tick}: {cost:.1f} core-s, {ended - started:.1f} s")
    return cost, ended - started
