"""What is on which dashboard: the overview here, the others beside it. Nothing here knows Grafana's format."""

from __future__ import annotations

from deploy.grafana.forecasting import DATA, DRIFT, QUALITY
from deploy.grafana.machinery import MACHINE, SERVERS
from deploy.grafana.panels import (
    COVERAGE,
    DEAD_SHARE,
    FALLBACKS,
    HELD,
    LAG,
    SKILL,
    TRANSACTION,
    WAITING,
    WAITS_FOR,
    WORKERS,
    Dashboard,
    Q,
    Row,
    lines,
    one,
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

DASHBOARDS = (OVERVIEW, QUALITY, DRIFT, DATA, SERVERS, MACHINE)
# What happened, drawn over every panel: a new version in charge, partitions that change hands, workers that begin.
EVENTS = {
    "model swaps": f"{Q.gauge('count', 'model_info', 'stream', 'version')} unless "
    f"{Q.gauge('count', 'model_info', 'stream', 'version').replace('})', '} offset 1m)')}",
    "rebalances": 'changes(tidecast_partitions_assigned{instance=~"$instance"}[1m]) > 0',
    "starts and deploys": 'changes(process_start_time_seconds{instance=~"$instance"}[1m]) > 0',
}
