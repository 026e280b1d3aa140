"""What a candidate in the shadow costs: W1 with and without one, side by side.

    python -m benchmarks.shadow                     writes docs/benchmarks/shadow.json
    python -m benchmarks.shadow --rounds 1 --ticks 40 --out /tmp/shadow.json

The same topic is drained by turns, with `models.shadow_series_max` above the series of a partition and with 0. The
candidate is the champion under another name, so that both forecast the same. Each figure is the median of its rounds;
processor seconds say the same as the rate and are disturbed less by what else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.deployment import STREAM, Deployment, Shapes
from benchmarks.drain import Drained, drain
from benchmarks.stage import REPOSITORY, Stage, alone
from benchmarks.workload import Workload, create_topics, produce
from model_core.bundle import Bundle
from stream_app.models.registry import ModelRegistry

KINDS = {"without": 0, "with": 10_000}  # series of a partition in the shadow, at most
LOSS_MAX = 0.1  # of the rate, as was promised


def publish_candidate(registry: ModelRegistry) -> None:
    """The champion once more, as another version."""
    version = registry.champion(STREAM)
    assert version is not None, "trained before"
    bundle = registry.load(STREAM, version)
    made = {name: getattr(bundle.manifest, name) for name in type(bundle.manifest).model_fields}
    fields = {name: value for name, value in made.items() if name not in ("tensors", "sha256", "version")}
    registry.publish(STREAM, Bundle.sealed(bundle.tensors, **fields, version="candidate"), {})


def measure(stage: Stage, workload: Workload, chosen: argparse.Namespace) -> dict[str, list[Drained]]:
    found: dict[str, list[Drained]] = {kind: [] for kind in KINDS}
    shapes = Shapes(forecast_every=chosen.forecast_every)
    for round_ in range(chosen.rounds + 1):  # the first warms the page cache, and trains
        for kind, series in KINDS.items():
            models = f"shadow_series_max = {series}"
            name = f"{kind}-{round_}"
            deployment = Deployment(stage, name, workload, chosen.delivery, shapes, models=models)
            drained = drain(deployment)
            if round_ == 0 and kind == "without":
                publish_candidate(ModelRegistry(str(deployment.registry)))
            if round_:
                found[kind].append(drained)
                print(line(kind, drained), flush=True)
    return found


def line(kind: str, drained: Drained) -> str:
    shadow = drained.stages_us.get("shadow", 0.0)
    return (
        f"{kind:<8} {drained.rate:10,.0f} readings/s {1e6 * drained.cpu_seconds / drained.readings:7.3f} core-µs a "
        f"reading, of it on the pipeline's thread for the shadow {shadow:.3f} µs; {drained.rss_bytes / 1e6:.0f} MB"
    )


def report(found: dict[str, list[Drained]], workload: Workload, chosen: argparse.Namespace) -> dict[str, Any]:
    def median(kind: str, name: str) -> float:
        return statistics.median(getattr(each, name) for each in found[kind])

    sides = {
        kind: {
            "readings_per_second": median(kind, "rate"),
            "core_us_per_reading": 1e6 * median(kind, "cpu_seconds") / workload.readings,
            "rss_mb": median(kind, "rss_bytes") / 1e6,
        }
        for kind in KINDS
    }
    return {
        "series": workload.series,
        "readings": workload.readings,
        "delivery": chosen.delivery,
        "forecast_every": chosen.forecast_every,
        "rounds": chosen.rounds,
        **sides,
        "shadow_us_per_reading": statistics.median(each.stages_us["shadow"] for each in found["with"]),
        "rate_ratio": sides["with"]["readings_per_second"] / sides["without"]["readings_per_second"],
        "core_ratio": sides["with"]["core_us_per_reading"] / sides["without"]["core_us_per_reading"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forecast-every", type=int, default=12)
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="exactly_once")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "benchmarks" / "shadow.json")
    chosen = parser.parse_args()
    workload = Workload("w1-shadow", chosen.series, chosen.ticks)
    with alone(), Stage() as stage:
        create_topics(stage.bootstrap, [workload.topic], workload.partitions)
        produce(stage.bootstrap, workload)
        said = report(measure(stage, workload, chosen), workload, chosen)
    chosen.out.write_text(json.dumps(said, indent=1) + "\n")
    verdict = "within" if said["rate_ratio"] >= 1 - LOSS_MAX else "beyond"
    print(
        f"with a shadow {said['rate_ratio']:.1%} of the rate ({verdict} {LOSS_MAX:.0%}), {said['core_ratio']:.1%} of "
        "the processor time"
    )


if __name__ == "__main__":
    main()
