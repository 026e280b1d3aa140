"""Columns → the published messages, as (key, value) bytes. message_schemas.py says what stands in them.

Numbers go from numpy arrays to text in one call for all messages (orjson prints float32 in its shortest form), and
the text is cut at the brackets: no Python object is made for a number of a forecast.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from model_core.arrays import AnyArray, IntArray
from model_core.ladder import REASON_NAMES, RUNG_NAMES, Reason, Rung
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.wire.message_schemas import SCHEMA_VERSION
from stream_app.wire.timestamps import MAX_MS, MIN_MS

Record = tuple[bytes, bytes]  # (key, value)
CHUNK = 256  # forecasts turned to text at once: about a megabyte, which the caches hold


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
    template = _forecast_template(spec, stream, partition, issued_at, demand=forecasts.mean is not None)
    answered = _answered_by(model, model_version)
    records: list[Record] = []
    for first in range(0, len(forecasts), CHUNK):
        part = slice(first, first + CHUNK)
        values = map(template.__mod__, _forecast_fields(spec, forecasts, part, answered))
        records += zip(map(str.encode, forecasts.series_ids[part]), values, strict=True)
    return records


def _forecast_fields(
    spec: StreamSpec, forecasts: Forecasts, part: slice, answered: Mapping[tuple[int, int], bytes]
) -> Iterable[tuple[Any, ...]]:
    """What the template wants for each forecast of a part."""
    quantiles = forecasts.quantiles[part]  # [n, Q, H]
    pairs = zip(forecasts.rungs[part].tolist(), forecasts.reasons[part].tolist(), strict=True)
    columns: list[Iterable[Any]] = [
        map(orjson.dumps, forecasts.series_ids[part]),
        _times(spec.grid.starts_ms(forecasts.origins[part])),
        _rows(quantiles),
        _rows(quantiles[:, spec.quantile_levels.index(0.5)]),
        *([] if forecasts.mean is None else [_rows(forecasts.mean[part])]),
        [answered[pair] for pair in pairs],
        forecasts.revisions[part].tolist(),
        _rows(forecasts.observed_share[part]),
        forecasts.offsets[part].tolist(),
    ]
    return zip(*columns, strict=True)


def _forecast_template(spec: StreamSpec, stream: str, partition: int, issued_at: str, *, demand: bool) -> bytes:
    """A bytes template; everything in it that is the same in all messages of a call is written out."""
    head = {"schema_version": SCHEMA_VERSION, "stream": stream}
    shape = {"step_ms": spec.step_ms, "horizon": spec.horizon, "quantile_levels": spec.quantile_levels}
    return b"".join(
        (
            _fixed(head),
            b',"series_id":%b,"origin":"%b",',
            _fixed(shape)[1:],
            b',"quantiles":[[%b]],"point":[%b],',
            b'"mean":[%b],' if demand else b"",
            b'%b,"revision":%d,',
            _fixed({"issued_at": issued_at})[1:],
            b',"observed_share":%b,"input":{"partition":',
            str(partition).encode(),
            b',"offset":%d}}',
        )
    )


def _fixed(part: Mapping[str, Any]) -> bytes:
    """An object without its closing brace, to stand in a template."""
    return orjson.dumps(part)[:-1].replace(b"%", b"%%")


def _answered_by(model: str | None, model_version: str | None) -> dict[tuple[int, int], bytes]:
    """(rung, reason) → the fields that say who answered and why not the model."""
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
            answered[rung.value, reason.value] = orjson.dumps(fields)[1:-1]
    return answered


def encode_accuracy(spec: StreamSpec, stream: str, partition: int, scored: Scored) -> list[Record]:
    """One record a forecast, with all its scored horizons. K of them, I central intervals."""
    horizons = np.array(spec.scored_horizons)
    targets = spec.grid.starts_ms((scored.origins[:, None] + horizons[None, :]).reshape(-1))
    count = len(horizons)
    texts = [text.decode() for text in _times(targets)]
    origins = [text.decode() for text in _times(spec.grid.starts_ms(scored.origins))]
    covered = scored.covered.tolist()
    known = np.isfinite(scored.actual).tolist()
    numbers = [array.tolist() for array in (scored.actual, scored.error, scored.pinball, scored.baselines)]
    running = zip(scored.mase.tolist(), scored.coverage.tolist(), scored.skill.tolist(), strict=True)
    records: list[Record] = []
    for row, (series_id, (mase, coverage, skill)) in enumerate(zip(scored.series_ids, running, strict=True)):
        actual, error, pinball, baselines = (column[row] for column in numbers)
        body = _accuracy_head(spec, stream, "record", series_id) | {
            "origin": origins[row],
            "horizons": [
                {
                    "horizon": spec.scored_horizons[k],
                    "target": texts[row * count + k],
                    "actual": actual[k],
                    "error": error[k],
                    "pinball": pinball[k],
                    "covered": covered[row][k] if known[row][k] else [None] * len(covered[row][k]),
                    "baselines": {"seasonal_naive": baselines[k][0], "last_value": baselines[k][1]},
                }
                for k in range(count)
            ],
            "mase": mase,
            "coverage": coverage,
            "skill": skill,
            "input": {"partition": partition, "offset": int(scored.offsets[row])},
        }
        records.append((series_id.encode(), orjson.dumps(body)))
    return records


def encode_summaries(spec: StreamSpec, stream: str, partition: int, summaries: Summaries) -> list[Record]:
    """One a series: its running accuracy."""
    records: list[Record] = []
    at = _times(spec.grid.starts_ms(summaries.ticks))
    for row, series_id in enumerate(summaries.series_ids):
        body = _accuracy_head(spec, stream, "summary", series_id) | {
            "at": at[row].decode(),
            "mase": float(summaries.mase[row]),
            "coverage": summaries.coverage[row].tolist(),
            "pinball": float(summaries.pinball[row]),
            "skill": float(summaries.skill[row]),
            "scored": int(summaries.scored[row]),
            "input": {"partition": partition, "offset": int(summaries.offsets[row])},
        }
        records.append((series_id.encode(), orjson.dumps(body)))
    return records


def _accuracy_head(spec: StreamSpec, stream: str, kind: str, series_id: str) -> dict[str, Any]:
    levels = spec.quantile_levels
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "stream": stream,
        "series_id": series_id,
        "intervals": [round(levels[high] - levels[low], 9) for low, high in central_intervals(levels)],
    }


def encode_drift(spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]) -> list[Record]:
    """Keyed by the series, or by the group that a record is about."""
    since = _times(spec.grid.starts_ms(np.array([record.since for record in drift], np.int64)))
    at = _times(spec.grid.starts_ms(np.array([record.tick for record in drift], np.int64)))
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


def _rows(array: AnyArray) -> list[bytes]:
    """[n, …] → the JSON of each row as float32, without its outer brackets; NaN and infinities are null."""
    depth = array.ndim
    text = orjson.dumps(np.ascontiguousarray(array, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[depth:-depth].split(b"]" * (depth - 1) + b"," + b"[" * (depth - 1))


def _times(times_ms: IntArray) -> list[bytes]:
    """int64 [n] ms → RFC 3339 UTC in whole seconds, or milliseconds where a tick does not start at a second."""
    if not len(times_ms):
        return []
    different, which = np.unique(np.clip(times_ms, MIN_MS, MAX_MS), return_inverse=True)
    unit: Literal["s", "ms"] = "ms" if (different % 1000).any() else "s"
    moments: NDArray[np.datetime64] = different.astype("datetime64[ms]")
    texts = [f"{text}Z".encode() for text in np.datetime_as_string(moments, unit=unit)]
    return [texts[index] for index in which.tolist()]
