"""Every metric of the worker, in one table: docs/METRICS.md is made from it.

Base units (seconds, bytes, ratios), and no label that grows with the number of series. The numbers live in a registry
of their own; nothing is shared between two `Metrics`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from model_core.drift.alarms import NAMES as ALARMS
from model_core.gate.attempt import Attempt
from model_core.ladder import REASON_NAMES, RUNG_NAMES
from model_core.outcomes import STORMS, DriftRecord, Observed, Outcome, Summaries
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.models.registry import made_at
from stream_app.observability.health import BLOCKING, Readiness
from stream_app.wire.decoded import REASONS, DecodedPoll

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


@dataclass(frozen=True)
class Metric:
    """`name` as Prometheus sees it; a counter's ends in _total."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


# Attribute of Metrics → what it is. Labels in the order in which `labels(…)` takes them.
TABLE: dict[str, Metric] = {
    # input
    "poll_batches": Metric("counter", "tidecast_poll_batches_total", "Poll batches processed.", ("stream",)),
    "poll_batch_messages": Metric(
        "histogram", "tidecast_poll_batch_messages", "Messages in a poll batch.", ("stream",), SIZES
    ),
    "readings": Metric(
        "counter",
        "tidecast_readings_total",
        "Readings by what became of them: accepted, corrected, late, duplicate, unconfirmed, out_of_range, excluded.",
        ("stream", "verdict"),
    ),
    "dead_letters": Metric(
        "counter", "tidecast_dead_letters_total", "Messages that could not be used, by reason.", ("stream", "reason")
    ),
    "cells": Metric(
        "counter", "tidecast_cells_total", "Cells settled, by whether they were observed.", ("stream", "state")
    ),
    "deletions": Metric("counter", "tidecast_series_deleted_total", "Series deleted by a tombstone.", ("stream",)),
    # output
    "forecasts": Metric(
        "counter",
        "tidecast_forecasts_total",
        "Forecasts issued, by the rung that answered and why no higher one did.",
        ("stream", "rung", "reason"),
    ),
    "revisions": Metric(
        "counter", "tidecast_forecast_revisions_total", "Forecasts re-issued after a correction.", ("stream",)
    ),
    "warming_up": Metric(
        "counter", "tidecast_warming_up_total", "Forecasts due but not made: too few readings yet.", ("stream",)
    ),
    "records_published": Metric(
        "counter", "tidecast_records_published_total", "Records handed to the publisher.", ("stream", "output")
    ),
    # stages of the way from a reading to a forecast
    "decode_seconds": Metric("histogram", "tidecast_decode_seconds", "Decoding of one poll batch."),
    "observe_seconds": Metric("histogram", "tidecast_observe_seconds", "Placing and remembering one poll batch."),
    "forecast_seconds": Metric("histogram", "tidecast_forecast_seconds", "The model on one forecast batch."),
    "forecast_batch_windows": Metric(
        "histogram", "tidecast_forecast_batch_windows", "Windows in a forecast batch.", (), SIZES
    ),
    "settle_seconds": Metric(
        "histogram", "tidecast_settle_seconds", "Scoring, calibrating, issuing of one poll batch."
    ),
    "shadow_seconds": Metric("histogram", "tidecast_shadow_seconds", "The candidate beside one poll batch."),
    "encode_seconds": Metric("histogram", "tidecast_encode_seconds", "Columns to messages, of one poll batch."),
    "transaction_seconds": Metric(
        "histogram", "tidecast_transaction_seconds", "From a cut to its acknowledged offsets: produce, flush, commit."
    ),
    "rewinds": Metric(
        "counter", "tidecast_rewinds_total", "Times that everything went back to its checkpoints, work being redone."
    ),
    "publish_failures": Metric(
        "counter", "tidecast_publish_failures_total", "Producers thrown away because a cut was not acknowledged."
    ),
    # state
    "checkpoint_seconds": Metric("histogram", "tidecast_checkpoint_seconds", "Writing one checkpoint to Redis."),
    "checkpoint_bytes": Metric("counter", "tidecast_checkpoint_bytes_total", "Bytes written to Redis."),
    "checkpoint_failures": Metric(
        "counter", "tidecast_checkpoint_failures_total", "Checkpoints that Redis did not take."
    ),
    "state_bytes": Metric("gauge", "tidecast_state_bytes", "Bytes of state in memory.", ("stream", "partition")),
    "not_ready": Metric(
        "gauge", "tidecast_not_ready", "1 while the worker waits, as /readyz says: for what.", ("reason",)
    ),
    "series": Metric("gauge", "tidecast_series", "Series in the state.", ("stream", "partition")),
    "partitions": Metric("gauge", "tidecast_partitions_assigned", "Partitions that this worker owns."),
    "replaying": Metric(
        "gauge", "tidecast_replaying", "1 while a partition's state is rebuilt from the log.", ("stream", "partition")
    ),
    "held": Metric(
        "gauge", "tidecast_partition_held", "1 while a partition is held for malformed input.", ("stream", "partition")
    ),
    "lag": Metric("gauge", "tidecast_lag_messages", "Messages in the log not processed yet.", ("stream", "partition")),
    "watermark_delay": Metric(
        "gauge",
        "tidecast_watermark_delay_seconds",
        "How far the watermark is behind the worker's clock.",
        ("stream", "partition"),
    ),
    # quality
    "coverage": Metric(
        "gauge",
        "tidecast_coverage_ratio",
        "Running coverage of the central intervals, mean over series last reported; `interval` is the nominal one.",
        ("stream", "interval"),
    ),
    "pinball": Metric(
        "gauge", "tidecast_pinball", "Running pinball loss, in units of the data, mean over series.", ("stream",)
    ),
    "skill": Metric(
        "gauge",
        "tidecast_skill_ratio",
        "1 − pinball / that of the better naive forecast, running, mean over series; above 0 the model earns its keep.",
        ("stream",),
    ),
    "drift_alarms": Metric(
        "counter",
        "tidecast_drift_alarms_total",
        "Alarms of single series, also those kept back in a storm.",
        ("stream", "detector"),
    ),
    "drift_storms": Metric(
        "counter",
        "tidecast_drift_storms_total",
        "Cohort storms that began: of forecasts that are off (storm), of data that fail (outage).",
        ("stream", "detector"),
    ),
    # models
    "model_info": Metric("gauge", "tidecast_model_info", "1 for the model in charge.", ("stream", "model", "version")),
    "model_created": Metric(
        "gauge",
        "tidecast_model_created_timestamp_seconds",
        "When the model in charge was made, as its version says; seconds since the epoch.",
        ("stream",),
    ),
    "models_refused": Metric(
        "counter", "tidecast_models_refused_total", "Models that could not be loaded.", ("stream",)
    ),
    "champion_refused": Metric(
        "gauge",
        "tidecast_champion_refused",
        "1 while the registry or the champion that it names cannot be read, or does not fit: another model serves.",
        ("stream",),
    ),
    "shadow_scored": Metric(
        "counter", "tidecast_shadow_scored_total", "Cells on which candidate and champion were scored.", ("stream",)
    ),
    "shadow_ratio": Metric(
        "gauge",
        "tidecast_shadow_pinball_ratio",
        "Candidate's pinball / champion's on the ticks scored last; below 1 the candidate is better.",
        ("stream",),
    ),
    "training_attempts": Metric(
        "gauge", "tidecast_training_attempts", "Candidates that were judged, as the registry remembers.", ("stream",)
    ),
    "training_refused": Metric(
        "gauge",
        "tidecast_training_refused_in_a_row",
        "Candidates that the gate has refused since one passed.",
        ("stream",),
    ),
    "training_tried": Metric(
        "gauge",
        "tidecast_training_last_attempt_timestamp_seconds",
        "When a candidate was judged last; seconds since the epoch.",
        ("stream",),
    ),
    "training_passed": Metric(
        "gauge",
        "tidecast_training_last_success_timestamp_seconds",
        "When a candidate passed the gate last; seconds since the epoch.",
        ("stream",),
    ),
    "device_fallbacks": Metric(
        "counter", "tidecast_device_fallbacks_total", "Falls to a smaller batch or to the CPU.", ("stream",)
    ),
}


class Spent:
    """Time spent on the stages of one poll batch, added up: a histogram for each partition and pass would cost more."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - started

    def take(self) -> dict[str, float]:
        """Stage → seconds since it was asked last."""
        taken, self._seconds = self._seconds, {}
        return taken


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
        """What may happen all at once stands at zero before: Prometheus sees no increase in a counter that appears."""
        self.count("models_refused", stream, by=0)
        self.count("device_fallbacks", stream, by=0)
        for detector in ALARMS:
            self.count("drift_alarms", stream, detector, by=0)
        for detector in STORMS:
            self.count("drift_storms", stream, detector, by=0)
        for reason in REASONS:
            self.count("dead_letters", stream, reason, by=0)

    def show_readiness(self, readiness: Readiness) -> None:
        """Looked up when somebody asks for the metrics."""
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
        """Dead letters are counted where they leave, because those of a replay do not."""
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
        """The model in charge from now on; the one before disappears."""
        if stream in self._models:
            self.model_info.remove(stream, *self._models[stream])
            self.model_created.remove(stream)
        self._models[stream] = (model or "none", version or "none")
        self.model_info.labels(stream, *self._models[stream]).set(1)
        if (at := made_at(version)) is not None:
            self.model_created.labels(stream).set(at)

    def show_training(self, stream: str, attempts: Sequence[Attempt]) -> None:
        """What became of the candidates so far, oldest first."""
        self.training_attempts.labels(stream).set(len(attempts))
        refused = takewhile(lambda attempt: attempt.passed is False, reversed(attempts))
        self.training_refused.labels(stream).set(sum(1 for _ in refused))
        passed = [attempt for attempt in attempts if attempt.passed]
        for gauge, some in ((self.training_tried, attempts), (self.training_passed, passed)):
            if some and (at := made_at(some[-1].version)) is not None:
                gauge.labels(stream).set(at)

    def forget_partition(self, stream: str, partition: int) -> None:
        """Its gauges disappear: another worker shows them now."""
        for attribute, metric in TABLE.items():
            if metric.labels == ("stream", "partition"):
                getattr(self, attribute).remove(stream, str(partition))


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)
