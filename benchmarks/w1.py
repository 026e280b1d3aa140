"""W1 alone: `python -m benchmarks.w1 --series 10000 --ticks 100 --profile`. Prints one line a round.

A quick look while something is being made faster; `make bench` puts the same run beside the others.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import STAGES, Drained, drain
from benchmarks.stage import Stage, alone
from benchmarks.workload import Workload, create_topics, produce


def main() -> None:
    chosen = _arguments()
    shapes = Shapes(context=chosen.context, horizon=chosen.horizon, forecast_every=chosen.forecast_every)
    workload = Workload(f"w1-{chosen.shape}", chosen.series, chosen.ticks, chosen.shape, chosen.partitions)
    with alone(), Stage() as stage:
        create_topics(stage.bootstrap, [workload.topic], workload.partitions)
        produce(stage.bootstrap, workload)
        print(f"{workload.readings:,} readings in {workload.messages:,} messages", flush=True)
        rates = []
        for round_ in range(chosen.rounds):
            name = f"{chosen.delivery}-{round_}"
            deployment = Deployment(stage, name, workload, chosen.delivery, shapes, chosen.interval_ms, chosen.limits)
            drained = drain(deployment, count=not chosen.uncounted)
            rates.append(drained.rate)
            print(_line(drained), flush=True)
            if chosen.profile:
                print(profile_text(drained), flush=True)
        print(f"median {statistics.median(rates):,.0f} readings/s", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.w1", description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--shape", choices=("single", "packed", "staggered"), default="single")
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="at_least_once")
    parser.add_argument("--context", type=int, default=96)
    parser.add_argument("--horizon", type=int, default=12)
    parser.add_argument("--forecast-every", type=int, default=12)
    parser.add_argument("--interval-ms", type=int, default=100, help="transaction_interval")
    parser.add_argument("--limits", default="", help="more lines of [limits], such as 'poll_batch_max = 10000'")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="µs a reading by stage, processor seconds by thread")
    parser.add_argument(
        "--uncounted", action="store_true", help="do not check the outputs: never for a published figure"
    )
    return parser.parse_args()


def _line(drained: Drained) -> str:
    return (
        f"{drained.rate:,.0f} readings/s ({drained.seconds:.2f} s, {drained.cpu_seconds:.1f} core-s, assigned after "
        f"{drained.start_seconds:.1f} s, {drained.rss_bytes / 1e6:.0f} MB, "
        f"{drained.redis_commands / drained.readings:.5f} Redis commands a reading) {drained.counts}"
    )


def profile_text(drained: Drained) -> str:
    """Two small tables: where a reading's time goes, and which threads used the processor."""
    lines = [f"  {'wall clock':<12} {1e6 * drained.seconds / drained.readings:7.3f} µs a reading"]
    lines += [f"  {stage:<12} {us:7.3f} µs on the {STAGES[stage][1]} thread" for stage, us in drained.stages_us.items()]
    lines += [f"  {name:<32} {seconds:6.2f} core-s" for name, seconds in drained.threads_s.items() if seconds >= 0.05]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
