"""The dashboards about what forecasts run on: Kafka and Redis, model and device."""

from __future__ import annotations

from deploy.grafana.panels import (
    MODEL,
    TRANSACTION,
    Dashboard,
    Q,
    Row,
    lines,
    of_workers,
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
