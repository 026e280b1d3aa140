"""The Avro schemas of the published messages: the same fields as message_schemas.py, with times as timestamp-millis.

An unknown number is null, except in the arrays of a forecast, which have none. All streams share one schema: the
lengths of arrays are not part of it.
"""

import json
from typing import Any

NAMESPACE = "tidecast"
_INSTANT = {"type": "long", "logicalType": "timestamp-millis"}
_MAYBE_NUMBER = ["null", "double"]


def _field(name: str, type_: Any, doc: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_} | ({"doc": doc} if doc else {}) | more


def _maybe(name: str, type_: Any, doc: str = "") -> dict[str, Any]:
    return _field(name, ["null", type_], doc, default=None)


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _record(name: str, *fields: dict[str, Any], doc: str = "") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": NAMESPACE, "doc": doc, "fields": list(fields)}


_INPUT = _field(
    "input",
    _record("Input", _field("partition", "int"), _field("offset", "long"), doc="The reading that caused it."),
)
_FIRST = (_field("schema_version", "int"), _field("stream", "string"))

FORECAST = _record(
    "Forecast",
    *_FIRST,
    _field("series_id", "string"),
    _field("origin", _INSTANT, "The last tick that the forecast saw; its first target is the next one."),
    _field("step_ms", "long"),
    _field("horizon", "int"),
    _field("quantile_levels", _array("double")),
    _field("quantiles", _array(_array("float")), "One list a level, each of `horizon` values."),
    _field("point", _array("float"), "The median."),
    _maybe("mean", _array("float"), "Only for demand: it adds up."),
    _field("model", "string"),
    _maybe("model_version", "string"),
    _field("status", "string", "ok or fallback"),
    _maybe("reason", "string"),
    _field("revision", "int"),
    _field("issued_at", _INSTANT),
    _field("observed_share", "float"),
    _INPUT,
    doc="One forecast of one series. Key: series_id.",
)
_SCORED = _record(
    "ScoredHorizon",
    _field("horizon", "int"),
    _field("target", _INSTANT),
    _field("actual", _MAYBE_NUMBER),
    _field("error", _MAYBE_NUMBER),
    _field("pinball", _MAYBE_NUMBER),
    _field("covered", _array(["null", "boolean"]), "One a central interval."),
    _field("baselines", {"type": "map", "values": _MAYBE_NUMBER}),
)
ACCURACY = _record(
    "Accuracy",
    *_FIRST,
    _field("kind", "string", "record: one forecast, whose scored targets have settled; summary: the series at present"),
    _field("series_id", "string"),
    _field("intervals", _array("double"), "Nominal coverage of the central intervals, widest first."),
    _maybe("origin", _INSTANT, "Of a record."),
    _field("horizons", _array(_SCORED), "Of a record; else empty."),
    _maybe("at", _INSTANT, "Of a summary: start of the newest settled tick."),
    _maybe("pinball", "double", "Of a summary."),
    _maybe("scored", "long", "Of a summary: scored forecasts so far."),
    _field("mase", _MAYBE_NUMBER),
    _field("coverage", _array(_MAYBE_NUMBER)),
    _field("skill", _MAYBE_NUMBER),
    _INPUT,
    doc="How good the forecasts of one series are. Key: series_id.",
)
DRIFT = _record(
    "Drift",
    *_FIRST,
    _maybe("series_id", "string"),
    _maybe("group", "string"),
    _field("detector", "string"),
    _field("statistic", _MAYBE_NUMBER),
    _field("threshold", _MAYBE_NUMBER),
    _maybe("scale", "double", "Of a series: size of its errors of late over their usual size."),
    _maybe("bias", "double", "Of a series: mean of its errors of late over their size."),
    _field("state", "string"),
    _field("since", _INSTANT),
    _field("at", _INSTANT),
    _INPUT,
    doc="A detector changed its state. Key: series_id, or group/detector.",
)
SCHEMAS: dict[str, dict[str, Any]] = {"forecasts": FORECAST, "accuracy": ACCURACY, "drift": DRIFT}


def schema_text(output: str) -> str:
    """As it stands in the registry."""
    return json.dumps(SCHEMAS[output])


def subject(topic: str) -> str:
    """Confluent's TopicNameStrategy."""
    return f"{topic}-value"
