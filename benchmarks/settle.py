"""What happens between a gathered window and the bytes of a message: `python -m benchmarks.settle`.

Processor time of one thread, in µs: settling and issuing a reading, the model a window, encoding a record. No broker
and no store; the shapes are those of W1 (a forecast every twelfth tick) and of long windows with a forecast a tick.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from model_core.outcomes import Outcome
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from stream_app.models.speed import untrained
from stream_app.wire import messages
from stream_app.wire.writer import Issuer

STEP_MS, FIRST_TICK = 600_000, 2_953_000 // 12 * 12
COMMON = {"topic": "t", "freq": "10min", "readings_per_step": 1}
W1 = {"context_length": 96, "horizon": 12, "quantile_levels": (0.1, 0.5, 0.9), "forecast_every": 12}
PUBLISHED = "512 → 24 × 9, every tick"
SHAPES: dict[str, dict[str, Any]] = {
    "W1, records": W1 | {"accuracy": "records"},
    "W1, summary": W1,
    PUBLISHED: {"context_length": 512, "horizon": 24, "accuracy": "records"},
}
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settle", description=__doc__)
    parser.add_argument("--series", type=int, default=1250, help="of the partition")
    parser.add_argument("--ticks", type=int, default=48, help="measured, after the windows are full")
    parser.add_argument("--ticks-a-poll", type=int, default=4)
    chosen = parser.parse_args()
    for name, shape in SHAPES.items():
        spec = StreamSpec.model_validate(COMMON | shape)
        print(f"{name}; {chosen.series} series, {chosen.ticks_a_poll} ticks a poll")
        print(Stopwatch(spec, chosen.series).run(chosen.ticks, chosen.ticks_a_poll).table())


class Stopwatch:
    """One partition of regular series, driven as the pipeline drives it."""

    def __init__(self, spec: StreamSpec, series: int) -> None:
        bundle = untrained(spec)
        self._spec, self._facts = spec, bundle.facts()
        self._state = PartitionState(spec, 0, self._facts)
        self._predictor = Predictor(spec, bundle, device="cpu", strict=True)
        self._ids = [f"meter-{number:06d}.kwh" for number in range(series)]
        self._rng, self._values, self._tick = np.random.default_rng(1), np.zeros(series), FIRST_TICK
        self._seconds: dict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def run(self, ticks: int, ticks_a_poll: int) -> Stopwatch:
        for _ in range(0, self._spec.context_length + 2 * self._spec.horizon, ticks_a_poll):
            self._poll(ticks_a_poll)
        self._seconds.clear(), self._counts.clear()
        for _ in range(0, ticks, ticks_a_poll):
            self._poll(ticks_a_poll)
        return self

    def each_us(self, stage: str) -> float:
        """Processor time of what `stage` handles one of."""
        return 1e6 * self._seconds[stage] / max(1, self._counts[stage])

    def table(self) -> str:
        readings = self._counts["readings"]
        lines = []
        for stage, seconds in self._seconds.items():
            all_ = 1e6 * seconds / readings
            lines.append(
                f"  {stage:<22} {self.each_us(stage):9.3f} µs of {self._counts[stage]:>7,}   {all_:7.3f} µs a reading"
            )
        return "\n".join(lines)

    def _poll(self, ticks: int) -> None:
        series = len(self._ids)
        self._values = self._values + self._rng.normal(size=(ticks, series)).cumsum(axis=0)[-1]
        values = (self._values + self._rng.normal(size=(ticks, series))).reshape(-1)
        at = np.repeat(np.arange(self._tick, self._tick + ticks), series)
        offsets = np.arange(len(at)) + self._state.next_offset
        self._tick += ticks
        readings = Readings(self._ids * ticks, at * STEP_MS, values, offsets)
        for observed in self._state.observe(readings):
            raw = None
            if observed.windows is not None:
                windows = observed.windows
                raw = self._timed("predictor.raw", len(windows), lambda w=windows: self._predictor.raw(w))
            settled = sum(len(wave.columns) for wave in observed.waves)
            outcome = self._timed(
                "settle_and_issue", settled, lambda o=observed, r=raw: self._state.settle_and_issue(o, r)
            )
            self._counts["readings"] += settled
            self._encode(outcome)

    def _encode(self, outcome: Outcome) -> None:
        spec, made = self._spec, outcome.forecasts
        issuer = Issuer(self._facts.name, self._facts.version, issued_at="2026-03-01T10:00:00Z")
        self._timed("encode_forecasts", len(made), lambda: messages.encode_forecasts(spec, "meters", 0, made, issuer))
        scored, summaries = outcome.scored, outcome.summaries
        if scored is not None and spec.accuracy == "records":
            count = len(scored.series_ids)
            self._timed("encode_accuracy", count, lambda: messages.encode_accuracy(spec, "meters", 0, scored))
        if summaries is not None:
            count = len(summaries.series_ids)
            self._timed("encode_summaries", count, lambda: messages.encode_summaries(spec, "meters", 0, summaries))

    def _timed(self, stage: str, count: int, step: Callable[[], Result]) -> Result:
        started = time.thread_time()
        result = step()
        self._seconds[stage] += time.thread_time() - started
        self._counts[stage] += count
        return result


if __name__ == "__main__":
    main()
