"""`tidecast train` without its terminal: history from a topic or a file → a judged bundle in the registry.

It runs in a process of its own and shares nothing with a worker but the registry.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from model_core.bundle import Bundle, version_of
from model_core.errors import CoreError, NotEnoughHistory
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.train import Trained, train
from stream_app.errors import TidecastError
from stream_app.kafka.topic_history import Portion, read_topic
from stream_app.models.registry import ModelRegistry
from stream_app.tables import Table, TableFile

if TYPE_CHECKING:
    from stream_app.settings import Settings

TABLE_CHUNK = 50_000  # readings of a file that are fed at once

OnProgress = Callable[[str, float], None]  # (what is being done, share of it that is done)


@dataclass(frozen=True)
class Read:
    """What was read."""

    readings: int
    unusable: int  # records that would be dead letters, or readings that came too late
    history: CellHistory


@dataclass(frozen=True)
class Result:
    """What came of it."""

    trained: Trained
    version: str
    promoted: bool
    read: Read
    note: str | None  # what a person should know of the model that was in charge


def read_history(
    settings: Settings, spec: StreamSpec, file: TableFile | None, until_ms: int | None, on_progress: OnProgress
) -> Read:
    """All readings before `until_ms` as settled cells."""
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    readings = unusable = 0
    for portion in from_table(spec, file.read()) if file else read_topic(settings, spec):
        unusable += portion.unusable
        for partition, columns in portion.readings.items():
            kept = columns if until_ms is None else _before(columns, until_ms)
            readings += len(kept)
            feed.take(partition, kept)
        on_progress("reading", portion.done / portion.total)
    feed.finish()
    if not readings:
        source = str(file.path) if file else f"topic {spec.topic!r}"
        raise TidecastError(
            f"No usable reading in {source} ({unusable} unusable). Check format, fields and include of the stream, and "
            "--until."
        )
    return Read(readings, unusable + feed.rejected, history)


def run(
    settings: Settings,
    stream: str,
    *,
    file: TableFile | None = None,
    until_ms: int | None = None,
    followed: Callable[[OnProgress], Read] | None = None,
    promote: bool = True,
    false_alarms_per_million: float = 100.0,
    on_progress: OnProgress = lambda _what, _share: None,
) -> Result:
    """Train, publish, and promote what passed. TidecastError when there is nothing to learn from.

    `followed` reads in place of a whole topic or file: what is new since it read last (followed_history.py).
    """
    spec = settings.streams[stream]
    registry = ModelRegistry(settings.models.registry)
    registry.require_writable(stream)
    now = datetime.now(UTC)  # what asks for training from here on is not answered by this one
    read = followed(on_progress) if followed else read_history(settings, spec, file, until_ms, on_progress)
    champion, note = _champion(registry, stream, spec)
    try:
        trained = train(
            read.history,
            spec,
            version=version_of(now, secrets.token_hex(3)),
            created_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            champion=champion,
            attempts=registry.attempts(stream),
            clock=time.perf_counter,
            false_alarms_per_million=false_alarms_per_million,
            device=settings.device,
            progress=on_progress,
        )
    except NotEnoughHistory as error:
        raise TidecastError(f"stream {stream}: {error}.") from error
    registry.record(stream, trained.verdict.attempt)
    version = registry.publish(stream, trained.bundle, trained.report)
    shadowed = settings.models.promotion == "shadow" and champion is not None
    promoted = promote and trained.verdict.passed and not shadowed
    if promoted:
        registry.promote(stream, version)
    return Result(trained, version, promoted, read, note)


def _champion(registry: ModelRegistry, stream: str, spec: StreamSpec) -> tuple[Bundle | None, str | None]:
    """The model in charge, if it can serve this stream; otherwise why it counts as none."""
    try:
        version = registry.champion(stream)
        bundle = registry.load(stream, version) if version else None
    except CoreError as error:
        return None, f"the champion cannot be read and counts as none: {error}"
    misfit = bundle.misfit(spec) if bundle else None
    return (None, f"the champion counts as none: {misfit}") if misfit else (bundle, None)


def from_table(spec: StreamSpec, table: Table) -> Iterator[Portion]:
    """A file as one partition, in event-time order."""
    included = np.array([spec.includes(name) for name in table.series_ids], bool)
    names = np.array(table.series_ids, object)
    for start in range(0, len(table), TABLE_CHUNK):
        part = slice(start, start + TABLE_CHUNK)
        kept = included[table.series[part]]
        series, times, values = table.series[part][kept], table.timestamps_ms[part][kept], table.values[part][kept]
        readings = Readings(names[series].tolist(), times, values, np.arange(start, start + len(kept))[kept])
        yield Portion({0: readings}, 0, min(start + TABLE_CHUNK, len(table)), len(table))


def _before(readings: Readings, until_ms: int) -> Readings:
    kept = np.flatnonzero(readings.timestamps_ms < until_ms)
    if len(kept) == len(readings):
        return readings
    return replace(
        readings,
        series_ids=[readings.series_ids[i] for i in kept.tolist()],
        timestamps_ms=readings.timestamps_ms[kept],
        values=readings.values[kept],
        offsets=readings.offsets[kept],
    )
