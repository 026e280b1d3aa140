"""Forecasts published a second, 512 → 24 × 9, ridge: every reading makes one, so nearly all the work is forecasting."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import DRAIN_MIN_S, stage_profile
from benchmarks.figure import Asked, Figure, Row
from benchmarks.large import LEVELS
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker
from benchmarks.workload import Workload, create_topics, delete_topics, produce

CONTEXT = 512
SLOWEST = 500  # forecasts/s below which it is given up


def measure_published(stage: Stage, asked: Asked, figure: Figure) -> None:
    """A first worker reads the past, a second one the part in which each reading has a forecast."""
    sizes = asked.sizes
    whole = Workload("published", sizes.published_series, CONTEXT - 1 + sizes.published_ticks, "packed")
    past = replace(whole, ticks=CONTEXT - 1)
    new = replace(whole, ticks=sizes.published_ticks, first_tick=CONTEXT - 1)
    shapes = Shapes(CONTEXT, 24, LEVELS, forecast_every=1, min_readings=CONTEXT)
    rates, profiles = [], []
    for round_ in range(max(1, sizes.rounds - 1)):
        name = f"published-{round_}"
        deployment = Deployment(stage, name, replace(whole, topic=name), "exactly_once", shapes, sizes.interval_ms)
        create_topics(stage.bootstrap, [name], whole.partitions)
        deployment.create()
        progress = GroupProgress(stage.bootstrap, name, name, whole.partitions)
        try:
            _run(deployment, replace(past, topic=name), progress, past.messages)
            seconds, profile = _run(deployment, replace(new, topic=name), progress, whole.messages)
            counts = check_counts(deployment)
        finally:
            progress.close()
            deployment.delete()
            delete_topics(stage.bootstrap, [name])
        rates.append(new.readings / seconds)
        profiles.append(profile)
        asked.say(f"    round {round_ + 1}: {rates[-1]:,.0f} forecasts/s {counts}")
    note = "with their accuracy records; the largest part must not be encoding"
    figure.rows.append(
        Row.of("forecasts published, 512 → 24 × 9, ridge, exactly once", rates, "forecasts/s", note=note)
    )
    lines = [f"{stage_:<12} {us:8.1f} µs a forecast" for stage_, us in profiles[-1].items()]
    figure.texts.append("\n".join([f"{'wall clock':<12} {1e6 / rates[-1]:8.1f} µs a forecast", *lines]))
    figure.raw |= {"rates": rates, "profiles": profiles}


def _run(
    deployment: Deployment, part: Workload, progress: GroupProgress, messages: int
) -> tuple[float, dict[str, float]]:
    produce(deployment.stage.bootstrap, part)
    worker = Worker(deployment.config())
    try:
        began = worker.assigned(part.partitions)["at"]
        timeout_s = DRAIN_MIN_S + part.readings / SLOWEST
        ended = progress.wait(messages, timeout_s, worker.child.require_running)
        profile = stage_profile(worker.metrics(), part.readings)
        worker.stop()
    finally:
        worker.child.stop()
    return ended - began, profile
