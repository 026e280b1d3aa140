"""What is on which dashboard; nothing here knows Grafana's format."""

from __future__ import annotations

from deploy.grafana.panels import (
    COVERAGE,
    DEAD_SHARE,
    FALLBACKS,
    HELD,
    LAG,
    MODEL,
    SKILL,
    TRANSACTION,
    WAITING,
    WAITS_FOR,
    WORKERS,
    Dashboard,
    Q,
    Row,
    lines,
    of_workers,
    one,
    share,
)

OVERVIEW = Dashboard(
    "tidecast-overview",
    "tidecast: overview",
    "Is it healthy, is it late, is it right.",
    (
        Row(
            "Is it healthy",
            (
                WORKERS,
                one("Partitions", "short", "Partitions that a worker owns.", Q.gauge("sum", "partitions")),
                WAITING,
                HELD,
                one(
                    "Replaying", "short", "Partitions whose state is rebuilt from the log.", Q.gauge("sum", "replaying")
                ),
                one("Rewinds", "short", "In the last hour.", Q.increase("rewinds", window="1h")),
                one("Series", "short", "Series in the state.", Q.gauge("sum", "series")),
                WAITS_FOR,
            ),
        ),
        Row(
            "Is it late",
            (
                LAG,
                lines(
                    "Watermark behind the clock",
                    "s",
                    "Event time against wall clock. Of readings of the past (a backfill) it is their age.",
                    (Q.gauge("max", "watermark_delay", "stream"), "{{stream}}"),
                    bounds=(None, None),
                ),
                TRANSACTION,
                lines(
                    "Readings in",
                    "cps",
                    "Readings a second.",
                    (Q.rate("readings", "stream"), "{{stream}}"),
                ),
                lines(
                    "Forecasts out",
                    "cps",
                    "Forecasts a second.",
                    (Q.rate("forecasts", "stream"), "{{stream}}"),
                ),
                lines(
                    "Poll batches",
                    "cps",
                    "Poll batches a second; none while readings come is a worker that stands still.",
                    (Q.rate("poll_batches", "stream"), "{{stream}}"),
                ),
            ),
        ),
        Row("Is it right", (COVERAGE, SKILL, FALLBACKS, DEAD_SHARE)),
    ),
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

SERVERS = Dashboard(
    "tidecast-servers",
    "tidecast: Kafka and Redis",
    "How a worker gets on with its broker and its store.",
    (
        Row(
            "Kafka",
            (
                lines(
                    "Lag by partition",
                    "short",
                    "Messages in the log not processed yet.",
                    (Q.gauge("max", "lag", "stream", "partition"), "{{stream}} {{partition}}"),
                ),
                lines(
                    "Partitions by worker",
                    "short",
                    "A step is a rebalance.",
                    (Q.gauge("max", "partitions", "instance"), "{{instance}}"),
                    kind="stacked",
                ),
                lines(
                    "Messages in a poll batch",
                    "short",
                    "",
                    (Q.quantile(0.5, "poll_batch_messages", "stream"), "{{stream}} half"),
                    (Q.quantile(0.99, "poll_batch_messages", "stream"), "{{stream}} 99 %"),
                ),
                lines(
                    "Records published",
                    "cps",
                    "By output.",
                    (Q.rate("records_published", "stream", "output"), "{{stream}} {{output}}"),
                    kind="stacked",
                ),
                TRANSACTION,
                lines(
                    "Failures",
                    "short",
                    "In an hour: producers thrown away, and rewinds to the checkpoints.",
                    (Q.increase("publish_failures", window="1h"), "producers"),
                    (Q.increase("rewinds", window="1h"), "rewinds"),
                ),
            ),
        ),
        Row(
            "Redis",
            (
                lines(
                    "Writing a checkpoint",
                    "s",
                    "",
                    (Q.quantile(0.5, "checkpoint_seconds"), "half"),
                    (Q.quantile(0.99, "checkpoint_seconds"), "99 %"),
                ),
                lines("Written", "Bps", "Bytes of state to Redis.", (Q.rate("checkpoint_bytes"), "all workers")),
                lines(
                    "Checkpoints that failed",
                    "short",
                    "In an hour. While Redis is away forecasts go on, up to limits.backlog_readings_max.",
                    (Q.increase("checkpoint_failures", window="1h"), "all workers"),
                ),
            ),
        ),
    ),
)

STAGES = ("decode", "observe", "forecast", "settle", "shadow", "encode")
MACHINE = Dashboard(
    "tidecast-machine",
    "tidecast: model and device",
    "Where the time goes, and what the process takes.",
    (
        Row(
            "Stages of a poll batch",
            (
                lines(
                    "Busy",
                    "percentunit",
                    "Seconds that a stage takes in a second, all workers; below the workers' number there is room.",
                    *((Q.busy(f"{stage}_seconds"), stage) for stage in STAGES),
                    kind="stacked",
                    span=12,
                ),
                lines(
                    "Slowest of a hundred",
                    "s",
                    "99 % of the batches took less.",
                    *((Q.quantile(0.99, f"{stage}_seconds"), stage) for stage in STAGES),
                    span=12,
                ),
            ),
        ),
        Row(
            "Model and device",
            (
                lines(
                    "Windows in a forecast batch",
                    "short",
                    "",
                    (Q.quantile(0.5, "forecast_batch_windows"), "half"),
                    (Q.quantile(0.99, "forecast_batch_windows"), "99 %"),
                ),
                MODEL,
                lines(
                    "Trouble",
                    "short",
                    "In an hour: models that could not be loaded, falls to a smaller batch or the CPU.",
                    (Q.increase("models_refused", "stream", window="1h"), "{{stream}} models refused"),
                    (Q.increase("device_fallbacks", "stream", window="1h"), "{{stream}} device fallbacks"),
                ),
                lines(
                    "The candidate in the shadow",
                    "short",
                    "Its pinball over that of the model in charge, on the same cells: below 1 it is better.",
                    (Q.gauge("avg", "shadow_ratio", "stream"), "{{stream}}"),
                ),
                lines(
                    "Cells scored in the shadow",
                    "short",
                    "A second.",
                    (Q.rate("shadow_scored", "stream"), "{{stream}}"),
                ),
                lines(
                    "Training gate",
                    "short",
                    "Candidates that were judged, and how many in a row were refused.",
                    (Q.gauge("max", "training_attempts", "stream"), "{{stream}} judged"),
                    (Q.gauge("max", "training_refused", "stream"), "{{stream}} refused in a row"),
                ),
                lines(
                    "Since a candidate was judged",
                    "s",
                    "And since one passed: the champion may be better all the time, but somebody should try.",
                    (f"time() - {Q.gauge('max', 'training_tried', 'stream')}", "{{stream}} judged"),
                    (f"time() - {Q.gauge('max', 'training_passed', 'stream')}", "{{stream}} passed"),
                ),
            ),
        ),
        Row(
            "Process",
            (
                lines(
                    "State in memory",
                    "bytes",
                    "Of all partitions of a stream.",
                    (Q.gauge("sum", "state_bytes", "stream"), "{{stream}}"),
                ),
                lines(
                    "Memory",
                    "bytes",
                    "Resident, by worker.",
                    (
                        of_workers('process_resident_memory_bytes{instance=~"$instance"}'),
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Processor",
                    "percentunit",
                    "Cores in use, by worker.",
                    (
                        of_workers('rate(process_cpu_seconds_total{instance=~"$instance"}[$__rate_interval])'),
                        "{{instance}}",
                    ),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, QUALITY, DRIFT, DATA, SERVERS, MACHINE)
# What happened, drawn over every panel: a new version in charge, partitions that change hands, workers that begin.
EVENTS = {
    "model swaps": f"{Q.gauge('count', 'model_info', 'stream', 'version')} unless "
    f"{Q.gauge('count', 'model_info', 'stream', 'version').replace('})', '} offset 1m)')}",
    "rebalances": 'changes(tidecast_partitions_assigned{instance=~"$instance"}[1m]) > 0',
    "starts and deploys": 'changes(process_start_time_seconds{instance=~"$instance"}[1m]) > 0',
}
