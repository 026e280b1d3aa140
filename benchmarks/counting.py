"""What a worker published, read with read_committed and held against what is due: no figure without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from benchmarks.deployment import REPORT_TICKS, Deployment
from benchmarks.worker_process import FigureFailed
from benchmarks.workload import STEP_S
from model_core.outcomes import STORMS

READ_TIMEOUT_S = 300


class Forecast(msgspec.Struct, gc=False):
    series_id: str
    origin: str
    revision: int
    model: str


class Accuracy(msgspec.Struct, gc=False):
    kind: str
    series_id: str
    origin: str = ""
    at: str = ""


class Drift(msgspec.Struct, gc=False):
    detector: str
    since: str
    series_id: str | None = None
    group: str | None = None
    at: str = ""


def check_counts(deployment: Deployment) -> dict[str, int]:
    """FigureFailed unless each due output is there exactly once. Returns how many there are of each kind."""
    workload, shapes = deployment.workload, deployment.shapes
    due = _due_forecasts(deployment)
    forecasts = _read(deployment, "forecasts", Forecast)
    _expect("forecasts", due, _keys(deployment, [(each.series_id, each.origin) for each in forecasts]))
    if any(each.revision for each in forecasts):
        raise FigureFailed("expected no forecast to be revised")
    accuracy = _read(deployment, "accuracy", Accuracy)
    records = [(each.series_id, each.origin) for each in accuracy if each.kind == "record"]
    settled = due[due % _SPAN + shapes.horizon <= np.repeat(workload.last_ticks, _per_series(due, workload.series))]
    _expect("accuracy records", settled, _keys(deployment, records))
    summaries = [(each.series_id, each.at) for each in accuracy if each.kind == "summary"]
    _expect("accuracy summaries", _due_summaries(deployment, due), _keys(deployment, summaries))
    drift = _read(deployment, "drift", Drift)
    reports = [each for each in drift if each.series_id is None and each.detector not in STORMS]
    _expect_reports(deployment, reports)
    dead = sum(1 for _ in _messages(deployment, "dead-letters"))
    if dead:
        raise FigureFailed(f"expected no dead letters, found {dead}")
    return {
        "forecasts": len(forecasts),
        "answered_by_ridge": sum(each.model == "ridge" for each in forecasts),
        "accuracy_records": len(records),
        "accuracy_summaries": len(summaries),
        "drift_reports": len(reports),
        "drift_alarms": len(drift) - len(reports),
    }


Row = TypeVar("Row")
_SPAN = 1 << 32  # a key is series · span + tick


def _per_series(keys: np.ndarray, series: int) -> np.ndarray:
    return np.bincount(keys // _SPAN, minlength=series)


def _due_forecasts(deployment: Deployment) -> np.ndarray:
    """Keys, rising: each multiple of forecast_every from the reading on that makes min_readings."""
    workload, every = deployment.workload, deployment.shapes.forecast_every
    first = workload.first_ticks + deployment.shapes.min_readings - 1
    counts = np.maximum(0, workload.last_ticks // every - (first - 1) // every)
    series = np.repeat(np.arange(workload.series), counts)
    position = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
    ticks = ((first + every - 1) // every * every)[series] + position * every
    return series * _SPAN + ticks


def _due_summaries(deployment: Deployment, due: np.ndarray) -> np.ndarray:
    """Once a season, at ticks at which a forecast's scored target settles; a model's season is a multiple here."""
    workload, shapes = deployment.workload, deployment.shapes
    period = max(deployment.season(), shapes.forecast_every)
    scored = (1, 2, 3, 6, 12, 24, 48, 96)
    steps = sorted({step for step in scored if step < shapes.horizon} | {shapes.horizon})
    targets = np.unique(np.concatenate([due + step for step in steps]))
    targets = targets[targets % _SPAN % period == 0]
    return targets[targets % _SPAN <= workload.last_ticks[targets // _SPAN]]


def _keys(deployment: Deployment, found: list[tuple[str, str]]) -> np.ndarray:
    """(series id, RFC 3339) → keys."""
    if not found:
        return np.zeros(0, np.int64)
    series = np.array([int(name[1:]) for name, _ in found], np.int64)
    moments = np.array([moment.rstrip("Z") for _, moment in found], "datetime64[s]").astype(np.int64)
    return series * _SPAN + moments // STEP_S


def _expect(what: str, due: np.ndarray, found: np.ndarray) -> None:
    unique, times = np.unique(found, return_counts=True)
    missing, strange = np.setdiff1d(due, unique), np.setdiff1d(unique, due)
    doubled = int((times > 1).sum())
    if len(missing) or len(strange) or doubled:
        example = [(int(key // _SPAN), int(key % _SPAN)) for key in (*missing[:2], *strange[:2])]
        raise FigureFailed(
            f"expected {len(due):,} {what}, each once; {len(missing):,} are missing, {doubled:,} came twice, "
            f"{len(strange):,} were not due; such as (series, tick) {example}"
        )


def _expect_reports(deployment: Deployment, reports: list[Drift]) -> None:
    """One a detector and partition for each report period after its first."""
    workload = deployment.workload
    found = sorted((each.group or "", each.detector, each.at or each.since) for each in reports)
    if len(set(found)) != len(found):
        raise FigureFailed(f"expected each drift report once, {len(found) - len(set(found))} came twice")
    first, last = int(workload.first_ticks.min()), int(workload.last_ticks.max())
    periods = last // REPORT_TICKS - first // REPORT_TICKS
    groups, detectors = ({each[place] for each in found} for place in (0, 1))
    # The watermark is behind the newest tick, so the last period, and the one that counts as first, may differ by one.
    least = len(detectors) * len(groups) * max(0, periods - 1)
    most = len(detectors) * workload.partitions * (periods + 1)
    if not least <= len(found) <= most or (periods > 1 and not groups):
        raise FigureFailed(f"expected {least} to {most} drift reports, found {len(found)}")


def _read(deployment: Deployment, kind: str, row: type[Row]) -> list[Row]:
    decode = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
    rows: list[Row] = []
    for values in _messages(deployment, kind):
        rows += decode(b"[" + b",".join(values) + b"]")
    return rows


def _messages(deployment: Deployment, kind: str) -> Iterator[list[bytes]]:
    """Committed values, some thousands at a time."""
    topic, partitions = f"{deployment.name}.{kind}", deployment.workload.partitions
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.stage.bootstrap,
            "group.id": "benchmarks",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(partitions)])
    ended, deadline = 0, time.monotonic() + READ_TIMEOUT_S
    try:
        while ended < partitions:
            if time.monotonic() > deadline:
                raise FigureFailed(f"expected to have read {topic} within {READ_TIMEOUT_S} s")
            values = []
            for message in consumer.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    values.append(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
                else:
                    raise FigureFailed(f"reading {topic}: {error.str()}")
            if values:
                yield values
    finally:
        consumer.close()
