"""Every metric of the worker, in one table: docs/METRICS.md, the panels and what alerts may name are made from it.

Base units (seconds, bytes, ratios), and no label that grows with the number of series.
"""

from dataclasses import dataclass
from typing import Literal

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
