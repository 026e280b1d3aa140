"""PromQL out of the table of metrics: a name or label that does not exist raises when a query is made."""

from __future__ import annotations

from stream_app.observability.metric_table import TABLE, Metric


def selector(attribute: str, matchers: str = "", *, suffix: str = "", kind: str | None = None) -> str:
    """`name{matchers}` of a row of the table; `kind`: what it must be for what is done with it."""
    metric = TABLE[attribute]
    if kind is not None and metric.kind != kind:
        raise ValueError(f"{metric.name} is a {metric.kind}, expected a {kind}")
    return f"{metric.name}{suffix}{{{matchers}}}" if matchers else f"{metric.name}{suffix}"


def by(attribute: str, labels: tuple[str, ...]) -> str:
    """` by (…)`; ValueError for a label that the metric does not have (`instance` is Prometheus' own)."""
    metric: Metric = TABLE[attribute]
    if unknown := set(labels) - {*metric.labels, "instance"}:
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {sorted(unknown)}")
    return f" by ({', '.join(labels)})" if labels else ""


class Queries:
    """Aggregated queries: over `window`, of the streams and instances that `streams` and `instances` match."""

    def __init__(self, window: str, streams: str = "", instances: str = "") -> None:
        self._window = window
        self._streams = streams
        self._instances = instances

    def matchers(self, attribute: str, more: str = "") -> str:
        of_stream = self._streams if "stream" in TABLE[attribute].labels else ""
        return ",".join(part for part in (of_stream, self._instances, more) if part)

    def rate(self, attribute: str, *labels: str, where: str = "") -> str:
        """Of a counter, a second."""
        chosen = selector(attribute, self.matchers(attribute, where), kind="counter")
        return f"sum{by(attribute, labels)} (rate({chosen}[{self._window}]))"

    def increase(self, attribute: str, *labels: str, where: str = "", window: str = "") -> str:
        chosen = selector(attribute, self.matchers(attribute, where), kind="counter")
        return f"sum{by(attribute, labels)} (increase({chosen}[{window or self._window}]))"

    def gauge(self, how: str, attribute: str, *labels: str, where: str = "") -> str:
        """`how`: sum, max, avg, count …"""
        chosen = selector(attribute, self.matchers(attribute, where), kind="gauge")
        return f"{how}{by(attribute, labels)} ({chosen})"

    def quantile(self, q: float, attribute: str, *labels: str) -> str:
        """Of a histogram; nothing, instead of NaN, while nothing of it happens."""
        chosen = selector(attribute, self.matchers(attribute), suffix="_bucket", kind="histogram")
        by(attribute, labels)
        kept = ", ".join((*labels, "le"))
        return f"histogram_quantile({q}, sum by ({kept}) (rate({chosen}[{self._window}]))) >= 0"

    def busy(self, attribute: str, *labels: str) -> str:
        """Of a histogram of seconds: seconds a second. Of one of sizes: units a second."""
        chosen = selector(attribute, self.matchers(attribute), suffix="_sum", kind="histogram")
        return f"sum{by(attribute, labels)} (rate({chosen}[{self._window}]))"
