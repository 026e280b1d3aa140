"""What a candidate in the shadow costs: W1 with and without one, in turns.

The same topic is drained by turns, with `models.shadow_series_max` above the series of a partition and with 0. The
candidate is the champion under another name, so that both forecast the same. Processor seconds say the same as the
rate and are disturbed less by what else runs on the machine.
"""

from __future__ import annotations

import statistics

from benchmarks.deployment import STREAM, Deployment
from benchmarks.drain import Drained, drain
from benchmarks.figure import Asked, Figure, Row
from benchmarks.stage import Stage
from benchmarks.workload import Workload, create_topics, delete_topics, produce
from model_core.bundle import Bundle
from stream_app.models.registry import ModelRegistry

KINDS = {"without": 0, "with": 10_000}  # series of a partition in the shadow, at most
LOSS_MAX = 0.1  # of the rate, as was promised


def measure_shadow(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    workload = Workload("w1-shadow", sizes.series, sizes.ticks)
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    produce(stage.bootstrap, workload)
    found: dict[str, list[Drained]] = {kind: [] for kind in KINDS}
    for round_ in range(sizes.rounds + 1):  # the first warms the page cache, and trains
        for kind, series in KINDS.items():
            models = f"shadow_series_max = {series}"
            deployment = Deployment(
                stage, f"{kind}-{round_}", workload, "exactly_once", interval_ms=sizes.interval_ms, models=models
            )
            drained = drain(deployment)
            if round_ == 0 and kind == "without":
                publish_candidate(ModelRegistry(str(deployment.registry)))
            if round_:
                found[kind].append(drained)
                asked.say(f"    round {round_}: {_line(kind, drained)}")
    delete_topics(stage.bootstrap, [workload.topic])
    figure.rows.append(row_of(found))
    figure.raw |= {kind: [each.as_dict() for each in runs] for kind, runs in found.items()}


def publish_candidate(registry: ModelRegistry) -> None:
    """The champion once more, as another version."""
    version = registry.champion(STREAM)
    assert version is not None, "trained before"
    bundle = registry.load(STREAM, version)
    made = {name: getattr(bundle.manifest, name) for name in type(bundle.manifest).model_fields}
    fields = {name: value for name, value in made.items() if name not in ("tensors", "sha256", "version")}
    registry.publish(STREAM, Bundle.sealed(bundle.tensors, **fields, version="candidate"), {})


def row_of(found: dict[str, list[Drained]]) -> Row:
    """The line of the table: rates with a shadow, and beside them what it takes."""

    def median(kind: str, name: str) -> float:
        return statistics.median(getattr(each, name) for each in found[kind])

    rates = {kind: median(kind, "rate") for kind in KINDS}
    work = median("with", "cpu_seconds") / median("without", "cpu_seconds")
    shadow = statistics.median(each.stages_us["shadow"] for each in found["with"])
    note = (
        f"{rates['with'] / rates['without']:.2f} × without ({rates['without']:,.0f}), {work:.2f} × its processor time; "
        f"{shadow:.2f} µs a reading on the pipeline's thread, all series in the shadow"
    )
    what = "with a candidate in the shadow, exactly once"
    must = f"{1 - LOSS_MAX:.1f} × without"
    return Row.of(what, [each.rate for each in found["with"]], "readings/s", must=must, note=note)


def _line(kind: str, drained: Drained) -> str:
    shadow = drained.stages_us.get("shadow", 0.0)
    return (
        f"{kind:<8} {drained.rate:10,.0f} readings/s, {1e6 * drained.cpu_seconds / drained.readings:.3f} core-µs a "
        f"reading, {shadow:.3f} µs of the shadow; {drained.rss_bytes / 1e6:.0f} MB"
    )
