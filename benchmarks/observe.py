"""CPU time of phase A and of a checkpoint's copy, on readings shaped like W1: one partition of it, no Kafka, no Redis.

    python benchmarks/observe.py [--series 1250] [--ticks 192] [--profile]

Prints µs a reading for aligned arrival (all series of a tick one after the other), staggered (each series starts at a
random tick and sends at its own phase within the step), jittered (staggered, and out of order by up to a third of a
step) and packed (one offset for 100 readings).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import numpy as np

from model_core.partition import PartitionState
from model_core.readings import Readings
from model_core.spec import StreamSpec

STEP_MS = 600_000
START_MS = 1_774_000_200_000
POLL = 20_000
W1 = StreamSpec(
    topic="readings",
    freq=STEP_MS,
    readings_per_step=1,
    context_length=96,
    horizon=12,
    quantile_levels=(0.1, 0.5, 0.9),
    forecast_every=12,
    accuracy="records",
)
ARRIVALS = ("aligned", "staggered", "jittered", "packed")


def log_of(arrival: str, series: int, ticks: int, rng: np.random.Generator) -> Readings:
    """One partition's log in arrival order."""
    of = np.tile(np.arange(series), ticks)
    tick = np.repeat(np.arange(ticks), series)
    stamps = START_MS + tick * STEP_MS
    arrived = stamps.astype(np.float64)
    if arrival in ("staggered", "jittered"):
        stamps += rng.integers(0, STEP_MS, series)[of]
        arrived = stamps + (rng.random(len(of)) * STEP_MS / 3 if arrival == "jittered" else 0.0)
        kept = tick >= rng.integers(0, ticks // 4, series)[of]
        of, tick, stamps, arrived = of[kept], tick[kept], stamps[kept], arrived[kept]
    order = np.argsort(arrived, kind="stable")
    of, tick, stamps = of[order], tick[order], stamps[order]
    values = 20 + np.sin(tick / 20 + of) + rng.normal(size=len(of)) * 0.1
    offsets = np.arange(len(of)) // (100 if arrival == "packed" else 1)
    names = [f"sensor-{i:06d}" for i in range(series)]
    return Readings([names[i] for i in of.tolist()], stamps.astype(np.int64), values, offsets.astype(np.int64))


def observe(state: PartitionState, readings: Readings, poll: int = POLL) -> int:
    """Phase A alone; returns the number of windows that were due."""
    due = 0
    for start in range(0, len(readings), poll):
        for observed in state.observe(readings.part(start, min(start + poll, len(readings)))):
            due += len(observed.windows) if observed.windows is not None else 0
    return due


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1250, help="of the partition")
    parser.add_argument("--ticks", type=int, default=192)
    parser.add_argument("--poll", type=int, default=POLL, help="readings of the partition in a poll batch")
    parser.add_argument("--rounds", type=int, default=7, help="the best of so many is printed: others use the machine")
    parser.add_argument("--profile", action="store_true", help="functions by their own time, for each arrival")
    parser.add_argument("--arrival", choices=ARRIVALS, action="append", help="only these")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for arrival in options.arrival or ARRIVALS:
        rng = np.random.default_rng(options.seed)
        log = log_of(arrival, options.series, options.ticks, rng)
        half = len(log) // 2
        first, rest = log.part(0, half), log.part(half, len(log))
        figures, due = [], 0
        for _ in range(options.rounds):
            state = PartitionState(W1, 0)
            for part in (first, rest):
                started = time.process_time()
                due = observe(state, part, options.poll)
                figures.append((time.process_time() - started) / len(part) * 1e6)
        best = [min(figures[i::2]) for i in (0, 1)]
        print(f"{arrival:10} first half {best[0]:6.3f}   second half {best[1]:6.3f} µs a reading, {due} windows due")
        if options.profile:
            profile = cProfile.Profile()
            state = PartitionState(W1, 0)
            observe(state, first, options.poll)
            profile.runcall(observe, state, rest, options.poll)
            pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
