"""Columns → the published messages, as (key, value) bytes. schemas/message_schemas.py describes their contents.

The messages of a call are written at once (lines.py): no Python code runs for a single number or message. `partition`
is the input partition that all of them come from, or int64 [n], that of each.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from model_core.arrays import IntArray
from model_core.ladder import REASON_NAMES, RUNG_NAMES, Reason, Rung
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.quantiles import central_intervals
from model_core.shadow import ShadowScore
from model_core.spec import StreamSpec
from stream_app.schemas.message_schemas import SCHEMA_VERSION
from stream_app.wire.lines import Form, escapes, strings
from stream_app.wire.records import Record, Records, TextColumn
from stream_app.wire.timestamps import MAX_MS, MIN_MS, rfc3339
from stream_app.wire.writer import Issuer

CHUNK = 1024  # messages turned to text at once: about a megabyte, which the caches hold


def encode_forecasts(
    spec: StreamSpec, stream: str, partition: int | IntArray, forecasts: Forecasts, issuer: Issuer
) -> Records:
    """The records of forecasts, in the same order."""
    form = _forecast_form(stream, spec.step_ms, spec.horizon, spec.quantile_levels, forecasts.mean is not None)
    answered = _answered_by(issuer.model, issuer.model_version)
    partitions = each_partition(partition, len(forecasts))
    parts: list[Records] = []
    for first in range(0, len(forecasts), CHUNK):
        part = slice(first, first + CHUNK)
        codes = forecasts.rungs[part].astype(np.int64) * len(REASON_NAMES) + forecasts.reasons[part]
        columns: dict[str, Any] = {
            "origin": instants(spec, forecasts.origins[part]),
            "quantiles": forecasts.quantiles[part],
            "mean": None if forecasts.mean is None else forecasts.mean[part],
            "answered": (answered, codes),
            "revision": forecasts.revisions[part],
            "issued_at": orjson.dumps(issuer.issued_at),
            "observed_share": forecasts.observed_share[part],
            "partition": partitions[part],
            "offset": forecasts.offsets[part],
        }
        parts.append(_records(form, forecasts.series_ids[part], columns))
    return Records.concatenate(parts)


@lru_cache(maxsize=64)
def _forecast_form(stream: str, step_ms: int, horizon: int, quantile_levels: tuple[float, ...], demand: bool) -> Form:
    form = Form()
    form.fixed(_open({"schema_version": SCHEMA_VERSION, "stream": stream}) + b',"series_id":"')
    form.texts("series_id")
    form.fixed(b'","origin":"')
    form.instants("origin")
    form.fixed(b'",' + _open({"step_ms": step_ms, "horizon": horizon, "quantile_levels": quantile_levels})[1:])
    parts = []
    for level in range(len(quantile_levels)):
        form.fixed(b"],[" if level else b',"quantiles":[[')
        parts.append(form.numbers("quantiles", level * horizon, horizon))
    form.fixed(b']],"point":[')
    form.same(parts[quantile_levels.index(0.5)])
    if demand:
        form.fixed(b'],"mean":[')
        form.numbers("mean", 0, horizon)
    form.fixed(b"],")
    form.chosen("answered")
    form.fixed(b',"revision":')
    form.numbers("revision")
    form.fixed(b',"issued_at":')
    form.once("issued_at")
    form.fixed(b',"observed_share":')
    form.numbers("observed_share")
    return _ended(form)


def _ended(form: Form) -> Form:
    """The form with the place in the input that led to the message."""
    form.fixed(b',"input":{"partition":')
    form.numbers("partition")
    form.fixed(b',"offset":')
    form.numbers("offset")
    form.fixed(b"}}")
    return form


def each_partition(partition: int | IntArray, count: int) -> IntArray:
    return np.full(count, partition, np.int64) if isinstance(partition, int) else partition


def _records(form: Form, series_ids: list[str], columns: dict[str, Any]) -> Records:
    names = strings(series_ids)
    texts = TextColumn.of(names)
    # What JSON has not escaped is the key as it is.
    keys = TextColumn.of(list(map(str.encode, series_ids))) if escapes(names) else texts
    return Records(keys, form.written(len(names), columns | {"series_id": texts}))


def instants(spec: StreamSpec, ticks: IntArray) -> IntArray:
    """int64 [n, …] → ms, within the years that RFC 3339 can say."""
    return np.clip(spec.grid.starts_ms(ticks), MIN_MS, MAX_MS)


def _open(part: Mapping[str, Any]) -> bytes:
    """A JSON object without its closing brace, because more follows."""
    return orjson.dumps(part)[:-1]


@lru_cache(maxsize=64)
def _answered_by(model: str | None, model_version: str | None) -> TextColumn:
    """rung · reasons + reason → the fields that say who answered and why not the model."""
    answered = []
    for rung in sorted(Rung):
        for reason in range(len(REASON_NAMES)):
            by_model = rung is Rung.MODEL
            fields = {
                "model": (model or RUNG_NAMES[rung]) if by_model else RUNG_NAMES[rung],
                "model_version": model_version if by_model else None,
                "status": "ok" if by_model else "fallback",
                "reason": None if reason == Reason.OK else REASON_NAMES[reason],
            }
            answered.append(orjson.dumps(fields)[1:-1])
    return TextColumn.of(answered)


def encode_accuracy(spec: StreamSpec, stream: str, partition: int | IntArray, scored: Scored) -> Records:
    """One record a forecast, with all its scored horizons. K of them, I central intervals."""
    form = _accuracy_form(stream, spec.quantile_levels, spec.scored_horizons)
    partitions = each_partition(partition, len(scored.series_ids))
    parts: list[Records] = []
    for first in range(0, len(scored.series_ids), CHUNK):
        part = slice(first, first + CHUNK)
        known = np.isfinite(scored.actual[part])
        columns: dict[str, Any] = {
            "origin": instants(spec, scored.origins[part]),
            "target": instants(spec, np.add.outer(scored.origins[part], spec.scored_horizons)),
            "covered": np.where(known[:, :, None], scored.covered[part], np.int8(2)),
            "partition": partitions[part],
            "offset": scored.offsets[part],
        }
        for name in ("actual", "error", "pinball", "baselines", "mase", "coverage", "skill"):
            columns[name] = getattr(scored, name)[part]
        parts.append(_records(form, scored.series_ids[part], columns))
    return Records.concatenate(parts)


@lru_cache(maxsize=64)
def _accuracy_form(stream: str, quantile_levels: tuple[float, ...], horizons: tuple[int, ...]) -> Form:
    form = _accuracy_begun(stream, quantile_levels, "record")
    intervals = len(central_intervals(quantile_levels))
    form.fixed(b',"origin":"')
    form.instants("origin")
    form.fixed(b'","horizons":[')
    for k, horizon in enumerate(horizons):
        form.fixed((b"}}," if k else b"") + b'{"horizon":%d,"target":"' % horizon)
        form.instants("target", k)
        form.fixed(b'","actual":')
        form.numbers("actual", k)
        form.fixed(b',"error":')
        form.numbers("error", k)
        form.fixed(b',"pinball":')
        form.numbers("pinball", k)
        form.fixed(b',"covered":[')
        form.flags("covered", k * intervals, intervals)
        form.fixed(b'],"baselines":{"seasonal_naive":')
        form.numbers("baselines", 2 * k)
        form.fixed(b',"last_value":')
        form.numbers("baselines", 2 * k + 1)
    form.fixed(b'}}],"mase":')
    form.numbers("mase")
    form.fixed(b',"coverage":[')
    form.numbers("coverage", 0, intervals)
    form.fixed(b'],"skill":')
    form.numbers("skill")
    return _ended(form)


def encode_summaries(spec: StreamSpec, stream: str, partition: int | IntArray, summaries: Summaries) -> Records:
    """One a series: its running accuracy."""
    columns: dict[str, Any] = {
        "at": instants(spec, summaries.ticks),
        "partition": each_partition(partition, len(summaries.series_ids)),
        "offset": summaries.offsets,
    }
    for name in ("mase", "coverage", "pinball", "skill", "scored"):
        columns[name] = getattr(summaries, name)
    return _records(_summary_form(stream, spec.quantile_levels), summaries.series_ids, columns)


@lru_cache(maxsize=64)
def _summary_form(stream: str, quantile_levels: tuple[float, ...]) -> Form:
    form = _accuracy_begun(stream, quantile_levels, "summary")
    form.fixed(b',"at":"')
    form.instants("at")
    form.fixed(b'","mase":')
    form.numbers("mase")
    form.fixed(b',"coverage":[')
    form.numbers("coverage", 0, len(central_intervals(quantile_levels)))
    for name in ("pinball", "skill", "scored"):
        form.fixed((b"]" if name == "pinball" else b"") + b',"%b":' % name.encode())
        form.numbers(name)
    return _ended(form)


def _accuracy_begun(stream: str, at: tuple[float, ...], kind: str) -> Form:
    """The beginning of records and summaries: whose accuracy it is, and of which intervals."""
    form = Form()
    form.fixed(_open({"schema_version": SCHEMA_VERSION, "kind": kind, "stream": stream}) + b',"series_id":"')
    form.texts("series_id")
    intervals = [round(at[high] - at[low], 9) for low, high in central_intervals(at)]
    form.fixed(b'",' + orjson.dumps({"intervals": intervals})[1:-1])
    return form


def encode_drift(spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]) -> list[Record]:
    """Keyed by the series, or by the group and the detector: so a compacted topic keeps every line of a report."""
    records: list[Record] = []
    for record in drift:
        body = {
            "schema_version": SCHEMA_VERSION,
            "stream": stream,
            "series_id": record.series_id,
            "group": record.group,
            "detector": record.detector,
            "statistic": record.statistic,
            "threshold": record.threshold,
            "state": record.state,
            "scale": record.scale,
            "bias": record.bias,
            "since": rfc3339(spec.grid.start_ms(record.since)),
            "at": rfc3339(spec.grid.start_ms(record.tick)),
            "input": {"partition": partition, "offset": record.offset},
        }
        whom = record.series_id or f"{record.group}/{record.detector}"
        records.append((whom.encode(), orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)))
    return records


def encode_retrain(spec: StreamSpec, stream: str, partition: int, record: DriftRecord) -> Record:
    """A request for training, made of the record of a storm."""
    assert record.group is not None, "a storm is of a group"
    said = {"kind": "retrain", "detector": record.detector}
    numbers = {"statistic": record.statistic, "threshold": record.threshold}
    return _control(spec, stream, partition, record.group, record.since, record.tick, record.offset, said | numbers)


def encode_shadow_score(
    spec: StreamSpec,
    stream: str,
    partition: int,
    versions: tuple[str, str | None],
    series: int,
    score: ShadowScore,
) -> Record:
    """One bin of a partition; `versions` of candidate and champion."""
    said = {
        "kind": "shadow",
        "candidate": versions[0],
        "champion": versions[1],
        "series": series,
        "scored": score.scored,
        "candidate_pinball": score.candidate,
        "champion_pinball": score.champion,
    }
    group = f"partition-{partition}"
    return _control(spec, stream, partition, group, score.since, score.until, score.offset, said)


def _control(
    spec: StreamSpec, stream: str, partition: int, group: str, since: int, tick: int, offset: int, said: dict[str, Any]
) -> Record:
    body = {
        "schema_version": SCHEMA_VERSION,
        "stream": stream,
        "group": group,
        "since": rfc3339(spec.grid.start_ms(since)),
        "at": rfc3339(spec.grid.start_ms(tick)),
        "input": {"partition": partition, "offset": offset},
        **said,
    }
    return group.encode(), orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_journal(stream: str, partition: int, next_offset: int, decision: Mapping[str, Any]) -> bytes:
    """Only the value: the record has no key and goes to the partition of the same number."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "stream": stream,
        "partition": partition,
        "next_offset": next_offset,
        "decision": dict(decision),
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
