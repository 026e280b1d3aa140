"""The dashboards about forecasts and data: forecast quality, drift, data quality and dead letters."""

from __future__ import annotations

from deploy.grafana.panels import (
    COVERAGE,
    DEAD_SHARE,
    FALLBACKS,
    MODEL,
    SKILL,
    Dashboard,
    Q,
    Row,
    lines,
    share,
)

QUALITY = Dashboard(
    "tidecast-quality",
    "tidecast: forecast quality",
    "Coverage, pinball, skill, who answered, model versions.",
    (
        Row(
            "Against what happened",
            (
                COVERAGE,
                lines(
                    "Pinball",
                    "short",
                    "Running pinball loss in units of the data, mean over series.",
                    (Q.gauge("avg", "pinball", "stream"), "{{stream}}"),
                ),
                SKILL,
            ),
        ),
        Row(
            "Who answered",
            (
                lines(
                    "Forecasts by rung",
                    "cps",
                    "The model, or a fallback.",
                    (Q.rate("forecasts", "stream", "rung"), "{{stream}} {{rung}}"),
                    kind="stacked",
                ),
                lines(
                    "Why no higher rung",
                    "cps",
                    "Reasons of the forecasts that the model did not answer.",
                    (Q.rate("forecasts", "stream", "reason", where='reason!="ok"'), "{{stream}} {{reason}}"),
                    kind="stacked",
                ),
                FALLBACKS,
                MODEL,
                lines(
                    "Age of the model",
                    "s",
                    "Since the model in charge was made.",
                    (f"time() - {Q.gauge('max', 'model_created', 'stream')}", "{{stream}}"),
                ),
                lines(
                    "Revisions and warm-up",
                    "cps",
                    "Forecasts re-issued after a correction, and those due but not made: too few readings yet.",
                    (Q.rate("revisions", "stream"), "{{stream}} revised"),
                    (Q.rate("warming_up", "stream"), "{{stream}} warming up"),
                ),
            ),
        ),
    ),
)

DRIFT = Dashboard(
    "tidecast-drift",
    "tidecast: drift",
    "What the detectors say, beside what it does to the forecasts.",
    (
        Row(
            "Detectors",
            (
                lines(
                    "Alarms in an hour",
                    "short",
                    "Of single series, also those kept back in a storm; and storms, each one record.",
                    (Q.increase("drift_alarms", "stream", "detector", window="1h"), "{{stream}} {{detector}}"),
                    (Q.increase("drift_storms", "stream", "detector", window="1h"), "{{stream}} {{detector}} of many"),
                    span=12,
                ),
                lines(
                    "Alarms of all series",
                    "percentunit",
                    "Alarms in an hour over series: near 1 the world has changed, or its sensors.",
                    (
                        share(Q.increase("drift_alarms", "stream", window="1h"), Q.gauge("sum", "series", "stream")),
                        "{{stream}}",
                    ),
                    span=12,
                ),
            ),
        ),
        Row("What it does", (SKILL, COVERAGE, FALLBACKS)),
    ),
)

DATA = Dashboard(
    "tidecast-data",
    "tidecast: data quality",
    "What became of the readings, and what could not be used.",
    (
        Row(
            "Readings",
            (
                lines(
                    "By verdict",
                    "cps",
                    "accepted, corrected, late, duplicate, unconfirmed, out_of_range, excluded.",
                    (Q.rate("readings", "stream", "verdict"), "{{stream}} {{verdict}}"),
                    kind="stacked",
                ),
                lines(
                    "Cells",
                    "cps",
                    "Cells settled, observed or missing.",
                    (Q.rate("cells", "stream", "state"), "{{stream}} {{state}}"),
                    kind="stacked",
                ),
                lines(
                    "Deleted series",
                    "short",
                    "In an hour, by a tombstone.",
                    (Q.increase("deletions", "stream", window="1h"), "{{stream}}"),
                ),
            ),
        ),
        Row(
            "Dead letters",
            (
                lines(
                    "By reason",
                    "cps",
                    "Messages that could not be used; they lie in the stream's dead-letter topic.",
                    (Q.rate("dead_letters", "stream", "reason"), "{{stream}} {{reason}}"),
                    kind="stacked",
                ),
                DEAD_SHARE,
                lines(
                    "Held partitions",
                    "short",
                    "1 while a partition waits for `tidecast dead-letters accept`.",
                    (Q.gauge("max", "held", "stream", "partition"), "{{stream}} {{partition}}"),
                ),
            ),
        ),
    ),
)
