"""How cost grows: readings/s and memory by number of series, horizon, context and partitions, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.deployment import Deployment, Shapes
from benchmarks.drain import Drained, drain
from benchmarks.figure import Asked, Figure, Sizes
from benchmarks.side_by_side import filled
from benchmarks.stage import Stage
from benchmarks.workload import Workload

BASE_SERIES = 5_000


@dataclass(frozen=True)
class Point:
    axis: str
    x: int
    workload: Workload
    shapes: Shapes


def measure_scaling(stage: Stage, asked: Asked, figure: Figure) -> None:
    found: list[tuple[Point, Drained]] = []
    failures = []
    for point in _points(asked.sizes):
        name = f"grow-{point.axis}-{point.x}"
        deployment = Deployment(
            stage, name, point.workload, "exactly_once", point.shapes, interval_ms=asked.sizes.interval_ms
        )
        try:
            with filled(stage, point.workload):
                drained = drain(deployment)
        except Exception as error:  # noqa: BLE001 - the other points are measured all the same
            failures.append(f"{point.axis} {point.x}: {type(error).__name__}: {error}")
            asked.say(f"    {failures[-1][:400]}")
            continue
        found.append((point, drained))
        asked.say(f"    {point.axis} {point.x:,}: {drained.rate:,.0f} readings/s, {drained.rss_bytes / 1e6:,.0f} MB")
    for axis in dict.fromkeys(point.axis for point, _ in found):
        mine = [(point, drained) for point, drained in found if point.axis == axis]
        rates = [(point.x, drained.rate) for point, drained in mine]
        memory = [(point.x, drained.rss_bytes / 1e6) for point, drained in mine]
        figure.plots.append({"title": f"Rate by {axis}", "axis": axis, "unit": "readings/s", "points": rates})
        figure.plots.append({"title": f"Memory by {axis}", "axis": axis, "unit": "RSS, MB", "points": memory})
    figure.raw["points"] = [
        {"axis": point.axis, "x": point.x, "readings": drained.readings, **drained.as_dict()}
        for point, drained in found
    ]
    figure.error = "; ".join(failures) or None


def _points(sizes: Sizes) -> list[Point]:
    """Everything but one axis stays as in W1, with fewer series."""
    base = min(BASE_SERIES, max(sizes.scaling_series))
    ticks = max(24, sizes.scaling_readings // base)
    points = [
        Point(
            "series",
            series,
            Workload(f"grow-series-{series}", series, max(24, sizes.scaling_readings // series)),
            Shapes(),
        )
        for series in sizes.scaling_series
    ]
    points += [
        Point("horizon", horizon, Workload(f"grow-horizon-{horizon}", base, ticks), Shapes(horizon=horizon))
        for horizon in sizes.scaling_horizons
    ]
    points += [
        Point("context", context, Workload(f"grow-context-{context}", base, ticks), Shapes(context=context))
        for context in sizes.scaling_contexts
    ]
    points += [
        Point("partitions", count, Workload(f"grow-partitions-{count}", base, ticks, partitions=count), Shapes())
        for count in sizes.scaling_partitions
    ]
    return points
