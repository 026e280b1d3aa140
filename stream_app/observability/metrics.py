"""The metrics of metric_table.py as objects, and how the steps of the pipeline are counted.

The numbers live in a registry of their own; two `Metrics` share nothing.
"""

import time
from collections.abc import Sequence
from functools import partial
from itertools import takewhile

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from model_core.bundle import made_at
from model_core.drift.alarms import NAMES as ALARMS
from model_core.gate.attempt import Attempt
from model_core.ladder import REASON_NAMES, RUNG_NAMES
from model_core.outcomes import STORMS, DriftRecord, Observed, Outcome, Summaries
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.observability.health import BLOCKING, Readiness
from stream_app.observability.metric_table import TABLE, Metric
from stream_app.wire.decoded import REASONS, DecodedPoll


class Spent:
    """Time spent on the stages of one poll batch, added up: a histogram for each partition and pass would cost more."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def on(self, stage: str) -> "_Lap":
        return _Lap(self._seconds, stage)

    def take(self) -> dict[str, float]:
        """Seconds of each stage since the last call."""
        taken, self._seconds = self._seconds, {}
        return taken


class _Lap:
    """A `with` of its own class: it is entered some sixty times a poll batch, and a generator costs three times it."""

    __slots__ = ("_seconds", "_stage", "_started")

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + time.perf_counter() - self._started


class Metrics:
    """The table as objects, and how values of the story are counted."""

    poll_batches: Counter
    poll_batch_messages: Histogram
    readings: Counter
    dead_letters: Counter
    cells: Counter
    deletions: Counter
    forecasts: Counter
    revisions: Counter
    warming_up: Counter
    records_published: Counter
    decode_seconds: Histogram
    observe_seconds: Histogram
    forecast_seconds: Histogram
    forecast_batch_windows: Histogram
    settle_seconds: Histogram
    shadow_seconds: Histogram
    encode_seconds: Histogram
    transaction_seconds: Histogram
    rewinds: Counter
    publish_failures: Counter
    checkpoint_seconds: Histogram
    checkpoint_bytes: Counter
    checkpoint_failures: Counter
    state_bytes: Gauge
    not_ready: Gauge
    series: Gauge
    partitions: Gauge
    replaying: Gauge
    held: Gauge
    lag: Gauge
    watermark_delay: Gauge
    coverage: Gauge
    pinball: Gauge
    skill: Gauge
    drift_alarms: Counter
    drift_storms: Counter
    model_info: Gauge
    model_created: Gauge
    models_refused: Counter
    champion_refused: Gauge
    shadow_scored: Counter
    shadow_ratio: Gauge
    training_attempts: Gauge
    training_refused: Gauge
    training_tried: Gauge
    training_passed: Gauge
    device_fallbacks: Counter

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for attribute, metric in TABLE.items():
            setattr(self, attribute, _made(metric, self.registry))
        ProcessCollector(registry=self.registry)  # memory, CPU, files, start: process_…, as everywhere
        self._models: dict[str, tuple[str, str]] = {}  # stream → labels of its model_info
        self._counters: dict[tuple[str, ...], Counter] = {}  # attribute and labels → the counter itself

    def begin(self, stream: str) -> None:
        """Set counters to zero: Prometheus sees no increase in a counter that appears with its first event."""
        self.count("models_refused", stream, by=0)
        self.count("device_fallbacks", stream, by=0)
        for detector in ALARMS:
            self.count("drift_alarms", stream, detector, by=0)
        for detector in STORMS:
            self.count("drift_storms", stream, detector, by=0)
        for reason in REASONS:
            self.count("dead_letters", stream, reason, by=0)

    def show_readiness(self, readiness: Readiness) -> None:
        """The reasons of readiness, looked up whenever the metrics are scraped."""
        for name in BLOCKING:
            self.not_ready.labels(name).set_function(partial(readiness.is_blocked, name))

    def count(self, counter: str, *labels: str, by: float = 1) -> None:
        """Add to a counter of the table. Looking it up by its labels each time would cost more than to count."""
        found = self._counters.get((counter, *labels))
        if found is None:
            found = self._counters[counter, *labels] = getattr(self, counter).labels(*labels)
        found.inc(by)

    def show_spent(self, spent: Spent) -> None:
        """The stages of one poll batch."""
        for stage, seconds in spent.take().items():
            getattr(self, f"{stage}_seconds").observe(seconds)

    def count_decoded(self, stream: str, poll: DecodedPoll) -> None:
        """Count a decoded poll. Dead letters are counted where they leave, because those of a replay do not leave."""
        self.count("poll_batches", stream)
        self.poll_batch_messages.labels(stream).observe(sum(map(len, poll.malformed.values())))
        if poll.excluded:
            self.count("readings", stream, "excluded", by=poll.excluded)

    def count_observed(self, stream: str, observed: Observed) -> None:
        counts = dict(observed.counts)
        settled, missing = counts.pop("settled", 0), counts.pop("missing", 0)
        warming_up = counts.pop("warming_up", 0)
        for verdict, count in counts.items():
            if count:
                self.count("readings", stream, verdict, by=count)
        if settled:
            self.count("cells", stream, "observed", by=settled - missing)
            self.count("cells", stream, "missing", by=missing)
        if warming_up:
            self.count("warming_up", stream, by=warming_up)

    def count_outcome(self, stream: str, outcome: Outcome, spec: StreamSpec | None = None) -> None:
        """`spec` names the intervals of the coverage gauges; without it they are left out."""
        forecasts = outcome.forecasts
        if len(forecasts):
            pairs = forecasts.rungs.astype(np.int64) * len(REASON_NAMES) + forecasts.reasons
            for pair, count in enumerate(np.bincount(pairs).tolist()):
                if count:
                    rung, reason = divmod(pair, len(REASON_NAMES))
                    self.count("forecasts", stream, RUNG_NAMES[rung], REASON_NAMES[reason], by=count)
            self.count("revisions", stream, by=int((forecasts.revisions > 0).sum()))
        if outcome.deleted:
            self.count("deletions", stream, by=len(outcome.deleted))
        if outcome.summaries is not None:
            self._show_quality(stream, outcome.summaries, spec)
        for detector, count in outcome.alarms.items():
            self.count("drift_alarms", stream, detector, by=count)
        self._count_storms(stream, outcome.drift)

    def _show_quality(self, stream: str, summaries: Summaries, spec: StreamSpec | None) -> None:
        for gauge, values in ((self.pinball, summaries.pinball), (self.skill, summaries.skill)):
            if len(known := values[np.isfinite(values)]):  # nanmean takes ten times as long, each poll
                gauge.labels(stream).set(float(known.mean()))
        levels = () if spec is None else spec.quantile_levels
        for position, (low, high) in enumerate(central_intervals(levels)):
            covered = summaries.coverage[:, position]
            if len(known := covered[np.isfinite(covered)]):
                interval = f"{levels[high] - levels[low]:.4g}"
                self.coverage.labels(stream, interval).set(float(known.mean()))

    def _count_storms(self, stream: str, drift: list[DriftRecord]) -> None:
        for record in drift:
            if record.state == "drift" and record.detector in STORMS:
                self.drift_storms.labels(stream, record.detector).inc()

    def show_model(self, stream: str, model: str | None, version: str | None) -> None:
        """Show the model in charge from now on; the one before disappears."""
        if stream in self._models:
            self.model_info.remove(stream, *self._models[stream])
            self.model_created.remove(stream)
        self._models[stream] = (model or "none", version or "none")
        self.model_info.labels(stream, *self._models[stream]).set(1)
        if (at := made_at(version)) is not None:
            self.model_created.labels(stream).set(at)

    def show_training(self, stream: str, attempts: Sequence[Attempt]) -> None:
        """Show what became of the candidates so far, oldest first."""
        self.training_attempts.labels(stream).set(len(attempts))
        refused = takewhile(lambda attempt: attempt.passed is False, reversed(attempts))
        self.training_refused.labels(stream).set(sum(1 for _ in refused))
        passed = [attempt for attempt in attempts if attempt.passed]
        for gauge, some in ((self.training_tried, attempts), (self.training_passed, passed)):
            if some and (at := made_at(some[-1].version)) is not None:
                gauge.labels(stream).set(at)

    def forget_partition(self, stream: str, partition: int) -> None:
        """Remove the gauges of a partition: another worker shows them now."""
        for attribute, metric in TABLE.items():
            if metric.labels == ("stream", "partition"):
                getattr(self, attribute).remove(stream, str(partition))


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)
