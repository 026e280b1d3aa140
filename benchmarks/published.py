"""Forecasts published a second, 512 → 24 × 9, ridge: every reading makes one, so nearly all the work is forecasting.

Stages are timed by the clock, so that whoever waits for a core or for the interpreter's lock is in them. What encoding
alone takes is therefore also measured as processor time of a process of its own (benchmarks/settle.py), and stands
beside the processor time of the worker's threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.counting import check_counts
from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import DRAIN_MIN_S, stage_profile
from benchmarks.figure import Asked, Figure, Row
from benchmarks.large import LEVELS
from benchmarks.settle import COMMON, PUBLISHED, SHAPES, Stopwatch
from benchmarks.stage import Stage
from benchmarks.worker_process import GroupProgress, Worker
from benchmarks.workload import Workload, create_topics, delete_topics, produce
from model_core.spec import StreamSpec

CONTEXT = 512
ENCODED_SERIES = 1250
SLOWEST = 500  # forecasts/s below which it is given up


@dataclass(frozen=True)
class Round:
    """What one round has told. Of the worker's processor time the threads are in µs a forecast."""

    rate: float  # forecasts/s
    profile: dict[str, float]
    threads: dict[str, float]


def measure_published(stage: Stage, asked: Asked, figure: Figure) -> None:
    rounds = [published(stage, asked, f"published-{number}") for number in range(max(1, asked.sizes.rounds - 1))]
    rates, last = [each.rate for each in rounds], rounds[-1]
    encoding, all_ = _encoding_us(), sum(last.threads.values())
    note = f"with their accuracy records; encoding is {encoding:.1f} of {all_:.1f} µs of processor time"
    must = "the largest part is not encoding"
    figure.rows.append(
        Row.of("forecasts published, 512 → 24 × 9, ridge, exactly once", rates, "forecasts/s", must=must, note=note)
    )
    lines = [f"{stage_:<12} {us:8.1f} µs a forecast" for stage_, us in last.profile.items()]
    lines += [f"{thread:<20} {us:8.1f} µs of a core a forecast" for thread, us in last.threads.items() if us >= 0.1]
    lines.append(f"{'encoding alone':<20} {encoding:8.1f} µs of a core a forecast, with its accuracy record")
    figure.texts.append("\n".join([f"{'wall clock':<12} {1e6 / rates[-1]:8.1f} µs a forecast", *lines]))
    figure.raw |= {"rates": rates, "profiles": [each.profile for each in rounds]}
    figure.raw |= {"threads": [each.threads for each in rounds], "encoding_us": encoding}


def published(
    stage: Stage, asked: Asked, name: str, *, device: Literal["cpu", "cuda"] = "cpu", model: str = "ridge"
) -> Round:
    """A first worker reads the past, a second one the part in which each reading has a forecast."""
    sizes = asked.sizes
    whole = Workload(name, sizes.published_series, CONTEXT - 1 + sizes.published_ticks, "packed")
    past = replace(whole, ticks=CONTEXT - 1)
    new = replace(whole, ticks=sizes.published_ticks, first_tick=CONTEXT - 1)
    shapes = Shapes(CONTEXT, 24, LEVELS, forecast_every=1, min_readings=CONTEXT, device=device, model=model)
    deployment = Deployment(stage, name, whole, "exactly_once", shapes, sizes.interval_ms)
    create_topics(stage.bootstrap, [name], whole.partitions)
    deployment.create()
    progress = GroupProgress(stage.bootstrap, name, name, whole.partitions)
    try:
        _run(deployment, past, progress, past.messages)  # a worker of its own
        seconds, profile, threads = _run(deployment, new, progress, whole.messages)
        counts = check_counts(deployment)
    finally:
        progress.close()
        deployment.delete()
        delete_topics(stage.bootstrap, [name])
    rate = new.readings / seconds
    asked.say(f"    {name}: {rate:,.0f} forecasts/s {counts}")
    return Round(rate, profile, {thread: 1e6 * each / new.readings for thread, each in threads.items()})


def _encoding_us() -> float:
    """Processor time of the text of a forecast and its accuracy record."""
    spec = StreamSpec.model_validate(COMMON | SHAPES[PUBLISHED])
    watch = Stopwatch(spec, ENCODED_SERIES).run(ticks=16, ticks_a_poll=4)
    return watch.each_us("encode_forecasts") + watch.each_us("encode_accuracy")


def _run(
    deployment: Deployment, part: Workload, progress: GroupProgress, messages: int
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Seconds, and the worker's stages and threads."""
    produce(deployment.stage.bootstrap, part)
    worker = Worker(deployment.config())
    try:
        began, before = worker.assigned(part.partitions)["at"], worker.thread_seconds()
        timeout_s = DRAIN_MIN_S + part.readings / SLOWEST
        ended = progress.wait(messages, timeout_s, worker.child.require_running)
        profile = stage_profile(worker.metrics(), part.readings)
        threads = {name: seconds - before.get(name, 0.0) for name, seconds in worker.thread_seconds().items()}
        worker.stop()
    finally:
        worker.child.stop()
    return ended - began, profile, threads
