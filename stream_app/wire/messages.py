"""Columns → the published messages, as (key, value) bytes. message_schemas.py says what stands in them.

Numbers go from numpy arrays to text in one call a column, and the messages of a call are joined at once (lines.py): no
Python code runs for a single number or message.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from model_core.arrays import IntArray
from model_core.ladder import REASON_NAMES, RUNG_NAMES, Reason, Rung
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.wire.lines import Lines, escapes, few, levels, numbers, rows, strings, times
from stream_app.wire.message_schemas import SCHEMA_VERSION

Record = tuple[bytes, bytes]  # (key, value)
CHUNK = 256  # messages turned to text at once: about a megabyte at most, which the caches hold


def encode_forecasts(
    spec: StreamSpec,
    stream: str,
    partition: int,
    forecasts: Forecasts,
    *,
    model: str | None,
    model_version: str | None,
    issued_at: str,
) -> list[Record]:
    """`model` and `model_version` are those in charge; `issued_at` is RFC 3339. In the order of the forecasts."""
    if not len(forecasts):
        return []  # at most ticks, when forecasts are not due at every one
    form = _ForecastForm(spec, stream, partition, model, model_version, issued_at)
    records: list[Record] = []
    for first in range(0, len(forecasts), CHUNK):
        records += form.records(forecasts, slice(first, first + CHUNK))
    return records


class _ForecastForm:
    """What is the same in all forecasts of a call, written out."""

    def __init__(
        self, spec: StreamSpec, stream: str, partition: int, model: str | None, version: str | None, issued_at: str
    ) -> None:
        shape = {"step_ms": spec.step_ms, "horizon": spec.horizon, "quantile_levels": spec.quantile_levels}
        self._spec = spec
        self._head = _open({"schema_version": SCHEMA_VERSION, "stream": stream}) + b',"series_id":"'
        self._shape = b'",' + _open(shape)[1:] + b',"quantiles":['
        self._issued_at = b"," + _open({"issued_at": issued_at})[1:] + b',"observed_share":'
        self._input = _input(partition)
        self._answered = _answered_by(model, version)
        self._median = spec.quantile_levels.index(0.5)

    def records(self, forecasts: Forecasts, part: slice) -> Iterable[Record]:
        names = strings(forecasts.series_ids[part])
        keys = _keys(names, forecasts.series_ids[part])
        lines = Lines()
        lines.fixed(self._head)
        lines.column(names)
        lines.fixed(b'","origin":"')
        lines.chosen(*few(forecasts.origins[part], self._times))
        lines.fixed(self._shape)
        quantiles = levels(forecasts.quantiles[part])
        for level, texts in enumerate(quantiles):
            lines.fixed(b"]" if level else b"")
            lines.column(texts)
        lines.fixed(b']],"point":')
        median = quantiles[self._median]
        lines.column([text[1:] for text in median] if self._median else median)
        if forecasts.mean is not None:
            lines.fixed(b'],"mean":[')
            lines.column(rows(forecasts.mean[part]))
        lines.fixed(b"],")
        pairs = forecasts.rungs[part].astype(np.int64) * len(REASON_NAMES) + forecasts.reasons[part]
        lines.chosen(*few(pairs, lambda codes: [self._answered[code] for code in codes.tolist()]))
        lines.fixed(b',"revision":')
        lines.chosen(*few(forecasts.revisions[part], numbers))
        lines.fixed(self._issued_at)
        lines.column(numbers(forecasts.observed_share[part]))
        lines.fixed(self._input)
        lines.column(numbers(forecasts.offsets[part]))
        return zip(keys, lines.joined(b"}}"), strict=True)

    def _times(self, ticks: IntArray) -> list[bytes]:
        return times(self._spec.grid.starts_ms(ticks))


def _keys(names: list[bytes], series_ids: list[str]) -> list[bytes]:
    """What JSON has not escaped is the key as it is."""
    return list(map(str.encode, series_ids)) if escapes(names) else names


def _open(part: Mapping[str, Any]) -> bytes:
    """An object without its closing brace: more follows."""
    return orjson.dumps(part)[:-1]


def _input(partition: int) -> bytes:
    return b',"input":{"partition":%d,"offset":' % partition


@lru_cache(maxsize=64)
def _answered_by(model: str | None, model_version: str | None) -> dict[int, bytes]:
    """rung · reasons + reason → the fields that say who answered and why not the model."""
    answered = {}
    for rung in Rung:
        for reason in Reason:
            by_model = rung is Rung.MODEL
            fields = {
                "model": (model or RUNG_NAMES[rung]) if by_model else RUNG_NAMES[rung],
                "model_version": model_version if by_model else None,
                "status": "ok" if by_model else "fallback",
                "reason": None if reason is Reason.OK else REASON_NAMES[reason],
            }
            answered[rung.value * len(REASON_NAMES) + reason.value] = orjson.dumps(fields)[1:-1]
    return answered


def encode_accuracy(spec: StreamSpec, stream: str, partition: int, scored: Scored) -> list[Record]:
    """One record a forecast, with all its scored horizons. K of them, I central intervals."""
    records: list[Record] = []
    for first in range(0, len(scored.series_ids), CHUNK):
        records += _accuracy_records(spec, stream, partition, scored, slice(first, first + CHUNK))
    return records


def _accuracy_records(spec: StreamSpec, stream: str, partition: int, scored: Scored, part: slice) -> Iterable[Record]:
    series_ids, origins, grid = scored.series_ids[part], scored.origins[part], spec.grid
    names = strings(series_ids)
    lines = Lines()
    head, intervals = _accuracy_head(spec, stream, "record")
    lines.fixed(head + b'"')
    lines.column(names)
    lines.fixed(b'",' + intervals + b',"origin":"')
    lines.chosen(*few(origins, lambda ticks: times(grid.starts_ms(ticks))))
    lines.fixed(b'","horizons":[')
    for k, horizon in enumerate(spec.scored_horizons):
        lines.fixed((b"}}," if k else b"") + b'{"horizon":%d,"target":"' % horizon)
        lines.chosen(*few(origins + horizon, lambda ticks: times(grid.starts_ms(ticks))))
        lines.fixed(b'","actual":')
        lines.column(numbers(scored.actual[part, k]))
        lines.fixed(b',"error":')
        lines.column(numbers(scored.error[part, k]))
        lines.fixed(b',"pinball":')
        lines.column(numbers(scored.pinball[part, k]))
        lines.fixed(b',"covered":[')
        lines.flags(scored.covered[part, k], np.isfinite(scored.actual[part, k]))
        lines.fixed(b'],"baselines":{"seasonal_naive":')
        lines.column(numbers(scored.baselines[part, k, 0]))
        lines.fixed(b',"last_value":')
        lines.column(numbers(scored.baselines[part, k, 1]))
    lines.fixed(b'}}],"mase":')
    lines.column(numbers(scored.mase[part]))
    lines.fixed(b',"coverage":[')
    lines.column(rows(scored.coverage[part]))
    lines.fixed(b'],"skill":')
    lines.column(numbers(scored.skill[part]))
    lines.fixed(_input(partition))
    lines.column(numbers(scored.offsets[part]))
    return zip(_keys(names, series_ids), lines.joined(b"}}"), strict=True)


def encode_summaries(spec: StreamSpec, stream: str, partition: int, summaries: Summaries) -> list[Record]:
    """One a series: its running accuracy."""
    names = strings(summaries.series_ids)
    lines = Lines()
    head, intervals = _accuracy_head(spec, stream, "summary")
    lines.fixed(head + b'"')
    lines.column(names)
    lines.fixed(b'",' + intervals + b',"at":"')
    lines.chosen(*few(summaries.ticks, lambda ticks: times(spec.grid.starts_ms(ticks))))
    lines.fixed(b'","mase":')
    lines.column(numbers(summaries.mase))
    lines.fixed(b',"coverage":[')
    lines.column(rows(summaries.coverage))
    for name, values in (("pinball", summaries.pinball), ("skill", summaries.skill), ("scored", summaries.scored)):
        lines.fixed((b"]" if name == "pinball" else b"") + b',"%b":' % name.encode())
        lines.column(numbers(values))
    lines.fixed(_input(partition))
    lines.column(numbers(summaries.offsets))
    return list(zip(_keys(names, summaries.series_ids), lines.joined(b"}}"), strict=True))


def _accuracy_head(spec: StreamSpec, stream: str, kind: str) -> tuple[bytes, bytes]:
    """What stands before the series' name, and the intervals, which stand after it."""
    at = spec.quantile_levels
    intervals = [round(at[high] - at[low], 9) for low, high in central_intervals(at)]
    head = _open({"schema_version": SCHEMA_VERSION, "kind": kind, "stream": stream}) + b',"series_id":'
    return head, orjson.dumps({"intervals": intervals})[1:-1]


def encode_drift(spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]) -> list[Record]:
    """Keyed by the series, or by the group that a record is about."""
    since = times(spec.grid.starts_ms(np.array([record.since for record in drift], np.int64)))
    at = times(spec.grid.starts_ms(np.array([record.tick for record in drift], np.int64)))
    records: list[Record] = []
    for row, record in enumerate(drift):
        body = {
            "schema_version": SCHEMA_VERSION,
            "stream": stream,
            "series_id": record.series_id,
            "group": record.group,
            "detector": record.detector,
            "statistic": record.statistic,
            "threshold": record.threshold,
            "state": record.state,
            "since": since[row].decode(),
            "at": at[row].decode(),
            "input": {"partition": partition, "offset": record.offset},
        }
        whom = record.series_id or record.group or stream
        records.append((whom.encode(), orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)))
    return records


def encode_journal(stream: str, partition: int, next_offset: int, decision: Mapping[str, Any]) -> bytes:
    """The value alone: it goes to the partition of the same number, without a key."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "stream": stream,
        "partition": partition,
        "next_offset": next_offset,
        "decision": dict(decision),
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
