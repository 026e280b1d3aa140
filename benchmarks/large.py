"""100,000 series × 512: what they cost in memory, by part, and how soon a killed worker forecasts again.

kill -9, then the next readings, then a start under the same instance_id; time runs from the start of the process,
imports included, to the first new forecast in a read_committed consumer's hands.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace

from benchmarks.deployment import Deployment, Shapes
from benchmarks.figure import Asked, Figure, Row
from benchmarks.filled import filled, first_tick
from benchmarks.latency import Receiver
from benchmarks.stage import Stage
from benchmarks.worker_process import Worker, wait_until
from benchmarks.workload import Workload, produce
from model_core.partition import PartitionState
from stream_app.settings import Settings

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EVERY = 8
QUIET_S = 4.0  # for the last checkpoint
FIRST_FORECAST_S = CAUGHT_UP_S = 120


def measure_large(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    # The readings after the kill are of a tick at which forecasts are due.
    first = first_tick(sizes.large_ticks, EVERY)
    fill = Workload("large", sizes.large_series, sizes.large_ticks, "packed", first_tick=first)
    shapes = Shapes(512, 24, LEVELS, EVERY, min_readings=sizes.large_ticks - EVERY)
    restarts = []
    with filled(stage, asked, fill, shapes) as running:
        time.sleep(QUIET_S)
        _memory(running.deployment, running.worker, figure)
        next_ = replace(fill, first_tick=first + fill.ticks, ticks=1)
        for round_ in range(sizes.rounds):
            running.worker, found = _kill_and_restart(running.deployment, running.worker, next_)
            running.produced += next_.messages
            restarts.append(found)
            asked.say(f"    round {round_ + 1}: {found}")
            running.feed(replace(next_, first_tick=next_.first_tick + 1, ticks=EVERY - 1), CAUGHT_UP_S)
            time.sleep(QUIET_S)
            next_ = replace(next_, first_tick=next_.first_tick + EVERY)
    _recovery_rows(figure, fill.series, restarts)


def _kill_and_restart(deployment: Deployment, worker: Worker, next_: Workload) -> tuple[Worker, dict[str, float]]:
    topic = f"{deployment.name}.forecasts"
    worker.send(signal.SIGKILL)
    worker.child.stop()
    produce(deployment.stage.bootstrap, next_)
    receiver = Receiver(deployment.stage.bootstrap, topic, next_.partitions)
    new = Worker(deployment.config())
    try:

        def there() -> bool:
            new.child.require_running()
            return bool(receiver.found)

        wait_until(there, FIRST_FORECAST_S, "a new forecast")
        first = receiver.found[0][0]
        assigned = new.assigned(next_.partitions)
    except BaseException:
        new.child.stop()
        raise
    finally:
        receiver.stop()
    return new, {
        "first_forecast_s": first - new.started_at,
        "assigned_s": assigned["at"] - new.started_at,
        "state_load_s": sum(line["seconds"] for line in new.events("assigned")),
        "readings_replayed": sum(sum(line["to_replay"].values()) for line in new.events("assigned")),
    }


def _recovery_rows(figure: Figure, series: int, restarts: list[dict[str, float]]) -> None:
    what = f"kill -9 → first new forecast, {series:,} series × 512, same instance_id"
    total = [each["first_forecast_s"] for each in restarts]
    note = f"assigned after {restarts[-1]['assigned_s']:.1f} s" if restarts else ""
    figure.rows.append(Row.of(what, total, "s", must="≤ 5 s from process start", note=note))
    loads = [each["state_load_s"] for each in restarts]
    figure.rows.append(Row.of("of which taking over and loading the state", loads, "s", must="≤ 1.2 s"))
    figure.raw["restarts"] = restarts


def _memory(deployment: Deployment, worker: Worker, figure: Figure) -> None:
    """Bytes a series, field by field as the state declares them, beside what the process really holds."""
    spec = next(iter(Settings.load(deployment.config()).streams.values()))
    fields = PartitionState(spec, 0).columns.fields
    parts = {name: field.rows * field.row_bytes / 256 for name, field in fields.items()}
    series = deployment.workload.series
    total, rss = sum(parts.values()), worker.rss_bytes()
    held = sum(worker.metrics()["tidecast_state_bytes"].values())
    redis_bytes = int(deployment.stage.redis.info("memory")["used_memory"])
    bound = 1.3 * total * series + 300e6
    what = f"memory, {series:,} series × 512, Q 9, H 24"
    note = f"{total * series / 1e6:,.0f} MB of state by its fields, {held / 1e6:,.0f} MB by the worker's own metric"
    must = f"≤ 1.3 × their sum + 300 MB = {bound / 1e6:,.0f} MB"
    figure.rows.append(Row(what, total, "bytes a series", note=note))
    figure.rows.append(Row("RSS of that worker", rss / 1e6, "MB", must=must))
    figure.rows.append(Row("memory of Valkey for it", redis_bytes / 1e6, "MB"))
    largest = sorted(parts.items(), key=lambda item: -item[1])
    figure.texts.append("\n".join(f"{name:<24} {size:10,.1f} bytes a series" for name, size in largest if size >= 1))
    figure.raw["memory"] = {"parts": parts, "rss": rss, "state_bytes": held, "redis_bytes": redis_bytes}
