"""What a dashboard consists of, and the panels that several have. Queries come from the table of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.promql import Queries

Q = Queries("$__rate_interval", 'stream=~"$stream"', 'instance=~"$instance"')
Kind = Literal["lines", "stacked", "number"]


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`unit` as Grafana names it. `span` of 24 columns. `good`: (threshold, which side of it is good)."""

    title: str
    unit: str
    about: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    span: int = 8
    bounds: tuple[float | None, float | None] = (0, None)


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]


def one(title: str, unit: str, about: str, expr: str, **more: object) -> Panel:
    """A single number."""
    return Panel(title, unit, about, (Query(expr),), kind="number", span=4, **more)  # type: ignore[arg-type]


def lines(title: str, unit: str, about: str, *queries: tuple[str, str], **more: object) -> Panel:
    return Panel(title, unit, about, tuple(Query(*query) for query in queries), **more)  # type: ignore[arg-type]


def share(part: str, whole: str) -> str:
    """Nothing, not NaN, where there is no whole."""
    return f"{part} / ({whole} > 0)"


def of_workers(expr: str) -> str:
    """Of processes that are workers: others have such metrics as well."""
    return f"{expr} and on (instance) tidecast_partitions_assigned"


FALLBACK = share(Q.rate("forecasts", "stream", where='rung!="model"'), Q.rate("forecasts", "stream"))
DEAD = share(Q.rate("dead_letters", "stream"), Q.busy("poll_batch_messages", "stream"))
COVERAGE = lines(
    "Coverage of the intervals",
    "percentunit",
    "Share of actual values inside each central interval, running; the name is what it should be.",
    (Q.gauge("avg", "coverage", "stream", "interval"), "{{stream}} {{interval}}"),
    bounds=(0, 1),
)
SKILL = lines(
    "Skill",
    "percentunit",
    "1 − pinball / that of the better naive forecast. Above 0 the model earns its keep.",
    (Q.gauge("avg", "skill", "stream"), "{{stream}}"),
    bounds=(None, 1),
)
FALLBACKS = lines(
    "Fallback share",
    "percentunit",
    "Forecasts that another rung than the model answered.",
    (FALLBACK, "{{stream}}"),
    bounds=(0, 1),
)
DEAD_SHARE = lines(
    "Dead-letter share", "percentunit", "Messages that could not be used, of all.", (DEAD, "{{stream}}"), bounds=(0, 1)
)
LAG = lines("Lag", "short", "Messages in the log not processed yet.", (Q.gauge("sum", "lag", "stream"), "{{stream}}"))
TRANSACTION = lines(
    "Transactions",
    "s",
    "From a cut to its acknowledged offsets: produce, flush, commit.",
    (Q.quantile(0.5, "transaction_seconds"), "half"),
    (Q.quantile(0.99, "transaction_seconds"), "99 %"),
)
MODEL = lines(
    "Model in charge",
    "short",
    "Workers that answer with this version. Two at once are a swap on its way.",
    (Q.gauge("sum", "model_info", "stream", "model", "version"), "{{stream}} {{model}} {{version}}"),
    kind="stacked",
)
WAITING = one(
    "Waiting",
    "short",
    "Workers that are not ready; *Waits for* says for what, /readyz in a sentence.",
    f"count({Q.gauge('max', 'not_ready', 'instance')} == 1) or vector(0)",
)
HELD = one(
    "Held",
    "short",
    "Partitions held for malformed input: `tidecast dead-letters accept`.",
    f"{Q.gauge('sum', 'held')} or vector(0)",
)
WAITS_FOR = lines(
    "Waits for",
    "short",
    "Workers, by what they wait for. publisher: Kafka takes no outputs. kafka: it lets no start in, lacks a "
    "topic, or gives no offsets. store: Redis. held: malformed input. assignment: no partition, as with more workers "
    "than partitions. start, restore: beside them stands what they need.",
    (Q.gauge("sum", "not_ready", "reason"), "{{reason}}"),
    kind="stacked",
    span=20,
)
WORKERS = one("Workers", "short", "Workers that are scraped.", f"{Q.gauge('count', 'partitions')} or vector(0)")
