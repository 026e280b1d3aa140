"""Columns → the published messages in Avro behind Confluent framing, as (key, value) bytes. messages.py does it in
JSON.

Forecasts are put together from columns: the numbers of all are one array of bytes, the only part in which they differ,
and a message is a handful of pieces. Accuracy and drift records are few, and written by fastavro.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from io import BytesIO
from typing import Any

import fastavro
import numpy as np

from model_core.arrays import AnyArray, IntArray
from model_core.ladder import REASON_NAMES, RUNG_NAMES, Reason, Rung
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.schemas.avro_schemas import SCHEMAS
from stream_app.schemas.message_schemas import SCHEMA_VERSION
from stream_app.wire.framing import MAGIC
from stream_app.wire.messages import each_partition, instants
from stream_app.wire.records import Record
from stream_app.wire.writer import Issuer, Writer

_NULL, _SOME = b"\0", b"\2"  # of a union [null, …]


class AvroMessages(Writer):
    """`schema_ids`: forecasts, accuracy and drift → the id of our schema in the registry."""

    def __init__(self, schema_ids: Mapping[str, int]) -> None:
        self._frames = {output: bytes([MAGIC]) + number.to_bytes(4, "big") for output, number in schema_ids.items()}

    def encode_forecasts(
        self,
        spec: StreamSpec,
        stream: str,
        partition: int | IntArray,
        forecasts: Forecasts,
        issuer: Issuer,
    ) -> list[Record]:
        """As messages.encode_forecasts."""
        count = len(forecasts)
        head = self._frames["forecasts"] + long(SCHEMA_VERSION) + text(stream.encode())
        numbers = _numbers(spec, forecasts)
        width = numbers.shape[1]
        block = numbers.tobytes()
        answered = _answered_by(issuer.model, issuer.model_version)
        codes = (forecasts.rungs.astype(np.int64) * len(REASON_NAMES) + forecasts.reasons).tolist()
        origins = _longs(instants(spec, forecasts.origins))
        issued = long(round(datetime.fromisoformat(issuer.issued_at).timestamp() * 1000))
        shares = forecasts.observed_share.astype("<f4").tobytes()
        revisions = _longs(forecasts.revisions)
        partitions, offsets = _longs(each_partition(partition, count)), _longs(forecasts.offsets)
        records: list[Record] = []
        for index, series_id in enumerate(forecasts.series_ids):
            key = series_id.encode()
            pieces = (
                head,
                text(key),
                origins[index],
                block[index * width : (index + 1) * width],
                answered[codes[index]],
                revisions[index],
                issued,
                shares[4 * index : 4 * index + 4],
                partitions[index],
                offsets[index],
            )
            records.append((key, b"".join(pieces)))
        return records

    def encode_accuracy(self, spec: StreamSpec, stream: str, partition: int | IntArray, scored: Scored) -> list[Record]:
        """As messages.encode_accuracy."""
        count = len(scored.series_ids)
        partitions = each_partition(partition, count).tolist()
        origins = instants(spec, scored.origins).tolist()
        targets = instants(spec, np.add.outer(scored.origins, spec.scored_horizons)).tolist()
        intervals = _intervals(spec)
        records = []
        for index, series_id in enumerate(scored.series_ids):
            horizons = [
                {
                    "horizon": horizon,
                    "target": targets[index][k],
                    "actual": _known(scored.actual[index, k]),
                    "error": _known(scored.error[index, k]),
                    "pinball": _known(scored.pinball[index, k]),
                    "covered": [
                        bool(each) if math.isfinite(scored.actual[index, k]) else None
                        for each in scored.covered[index, k]
                    ],
                    "baselines": {
                        "seasonal_naive": _known(scored.baselines[index, k, 0]),
                        "last_value": _known(scored.baselines[index, k, 1]),
                    },
                }
                for k, horizon in enumerate(spec.scored_horizons)
            ]
            body = _running(stream, "record", series_id, intervals, scored, index, partitions[index])
            records.append(self._record("accuracy", series_id, body | {"origin": origins[index], "horizons": horizons}))
        return records

    def encode_summaries(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, summaries: Summaries
    ) -> list[Record]:
        """As messages.encode_summaries."""
        partitions = each_partition(partition, len(summaries.series_ids)).tolist()
        at, intervals = instants(spec, summaries.ticks).tolist(), _intervals(spec)
        records = []
        for index, series_id in enumerate(summaries.series_ids):
            body = _running(stream, "summary", series_id, intervals, summaries, index, partitions[index])
            body |= {
                "at": at[index],
                "pinball": _known(summaries.pinball[index]),
                "scored": int(summaries.scored[index]),
            }
            records.append(self._record("accuracy", series_id, body))
        return records

    def encode_drift(self, spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]) -> list[Record]:
        """As messages.encode_drift."""
        return [
            self._record(
                "drift",
                record.series_id or f"{record.group}/{record.detector}",
                {
                    "schema_version": SCHEMA_VERSION,
                    "stream": stream,
                    "series_id": record.series_id,
                    "group": record.group,
                    "detector": record.detector,
                    "statistic": _known(record.statistic),
                    "threshold": _known(record.threshold),
                    "scale": _known(record.scale),
                    "bias": _known(record.bias),
                    "state": record.state,
                    "since": spec.grid.start_ms(record.since),
                    "at": spec.grid.start_ms(record.tick),
                    "input": {"partition": partition, "offset": record.offset},
                },
            )
            for record in drift
        ]

    def _record(self, output: str, key: str, body: dict[str, Any]) -> Record:
        out = BytesIO()
        out.write(self._frames[output])
        fastavro.schemaless_writer(out, parsed_schema(output), body)
        return key.encode(), out.getvalue()


@cache
def parsed_schema(output: str) -> Any:
    """Our own schema, parsed for fastavro."""
    return fastavro.parse_schema(SCHEMAS[output])


def long(number: int) -> bytes:
    """Avro's zigzag number of variable length."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def text(data: bytes) -> bytes:
    return long(len(data)) + data


def _longs(numbers: IntArray) -> list[bytes]:
    """Each number as an Avro long; most forecasts of a poll have the same origin."""
    values = numbers.tolist()
    written = {number: long(number) for number in set(values)}
    return [written[number] for number in values]


def _numbers(spec: StreamSpec, forecasts: Forecasts) -> AnyArray:
    """uint8 [n, width]: the bytes from step_ms to mean, which have the same length in all forecasts."""
    levels, horizon = spec.quantile_levels, spec.horizon
    template = bytearray(long(spec.step_ms) + long(horizon) + long(len(levels)))
    template += np.array(levels, "<f8").tobytes() + b"\0"
    parts: list[tuple[int, AnyArray]] = []

    def array(values: AnyArray) -> None:  # float32 [n, H]
        template.extend(long(horizon))
        parts.append((len(template), values))
        template.extend(bytes(4 * horizon + 1))  # and the end of the array

    template += long(len(levels))
    for level in range(len(levels)):
        array(forecasts.quantiles[:, level])
    template += b"\0"
    array(forecasts.quantiles[:, levels.index(0.5)])
    template += _NULL if forecasts.mean is None else _SOME
    if forecasts.mean is not None:
        array(forecasts.mean)
    rows = np.tile(np.frombuffer(bytes(template), np.uint8), (len(forecasts), 1))
    for start, values in parts:
        little = np.ascontiguousarray(values, "<f4")
        rows[:, start : start + 4 * horizon] = little.view(np.uint8).reshape(len(forecasts), 4 * horizon)
    return rows


@cache
def _answered_by(model: str | None, model_version: str | None) -> list[bytes]:
    """rung · reasons + reason → model, model_version, status, reason."""
    answered = []
    for rung in sorted(Rung):
        for reason in range(len(REASON_NAMES)):
            by_model = rung is Rung.MODEL
            version = model_version if by_model else None
            name = (model or RUNG_NAMES[rung]) if by_model else RUNG_NAMES[rung]
            answered.append(
                text(name.encode())
                + (_NULL if version is None else _SOME + text(version.encode()))
                + text(b"ok" if by_model else b"fallback")
                + (_NULL if reason == Reason.OK else _SOME + text(REASON_NAMES[reason].encode()))
            )
    return answered


def _running(
    stream: str, kind: str, series_id: str, intervals: list[float], rows: Scored | Summaries, index: int, partition: int
) -> dict[str, Any]:
    """The running accuracy, which is in records and summaries alike."""
    return {
        "schema_version": SCHEMA_VERSION,
        "stream": stream,
        "kind": kind,
        "series_id": series_id,
        "intervals": intervals,
        "origin": None,
        "horizons": [],
        "at": None,
        "pinball": None,
        "scored": None,
        "mase": _known(rows.mase[index]),
        "coverage": [_known(each) for each in rows.coverage[index]],
        "skill": _known(rows.skill[index]),
        "input": {"partition": partition, "offset": int(rows.offsets[index])},
    }


def _intervals(spec: StreamSpec) -> list[float]:
    at = spec.quantile_levels
    return [round(at[high] - at[low], 9) for low, high in central_intervals(at)]


def _known(number: Any) -> float | None:
    return float(number) if math.isfinite(number) else None
