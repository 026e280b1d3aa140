"""Views → answers. Each function holds the view's lock briefly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.durations import format_duration
from stream_app.api import answers
from stream_app.api.fetching import Fetcher
from stream_app.api.view import DRIFT, STATUSES, StreamView
from stream_app.wire.published import as_json

MEAN_OVER_MAX = 2_000  # series; of more, every so many
Sort = Literal["name", "status", "coverage", "skill", "drift", "last_value"]


class NotThere(Exception):
    """Becomes a 404. The message is one sentence."""


def stream_answer(view: StreamView) -> answers.Stream:
    spec = view.spec
    with view.lock:
        counts = np.bincount(view.status_codes()[view.roster.by_name()], minlength=len(STATUSES)).tolist()
        drifting = int((view.drifts[: len(view.roster.names)] == DRIFT.index("drift")).sum())
        return answers.Stream(
            stream=view.name,
            topic=spec.topic,
            step_ms=spec.step_ms,
            horizon=spec.horizon,
            quantile_levels=list(spec.quantile_levels),
            series=len(view.roster),
            series_max=view.roster.series_max,
            is_full=view.roster.is_full,
            statuses=dict(zip(STATUSES, counts, strict=True)),
            drifting=drifting,
            newest_reading=moment(view, view.newest_tick),
            newest_origin=moment(view, view.newest_origin),
            interval=view.interval,
            coverage=view.mean(view.coverage),
            skill=view.mean(view.skill),
            fallback_share=view.fallback_share(),
            dead_letters=dict(view.dead_reasons),
        )


def series_page(
    view: StreamView, *, search: str, status: str | None, sort: Sort, descending: bool, offset: int, limit: int
) -> answers.SeriesPage:
    with view.lock:
        statuses = view.status_codes()
        columns = _found(view, search, statuses, status)
        columns = columns[_order(view, columns, statuses, sort)]
        if descending:
            columns = columns[::-1]
        shown = columns[offset : offset + limit]
        return answers.SeriesPage(total=len(columns), offset=offset, series=_series(view, shown, statuses))


def one_series(view: StreamView, series_id: str) -> answers.Series:
    with view.lock:
        column = column_of(view, series_id)
        return _series(view, np.array([column]), view.status_codes())[0]


def values_answer(view: StreamView, series_id: str, limit: int) -> answers.Values:
    with view.lock:
        ticks, values = recent_values(view, column_of(view, series_id), limit)
    known = np.isfinite(values)
    times = [moment_of(view, tick) for tick in ticks[known].tolist()]
    return answers.Values(series_id=series_id, times=times, values=values[known].tolist())


def recent_values(view: StreamView, column: int, limit: int) -> tuple[IntArray, FloatArray]:
    """Ticks up to the newest, and their values, NaN where nothing was read. The caller holds the lock."""
    newest = int(view.cells.newest[column])
    count = min(limit, view.depths.steps, newest)
    ticks: IntArray = np.arange(newest - count + 1, newest + 1)
    return ticks, view.cells.values(column, ticks)


def accuracy_answer(view: StreamView, series_id: str | None) -> answers.Accuracy:
    with view.lock:
        if series_id is None:
            taken = np.sort(view.roster.by_name())
            keys, rows = view.scores.means(taken[:: 1 + len(taken) // MEAN_OVER_MAX])
            newest = [view.mean(each) for each in (view.coverage, view.skill, view.mase)]
        else:
            column = column_of(view, series_id)
            keys, rows = view.scores.of(column)
            newest = [_number(float(each[column])) for each in (view.coverage, view.skill, view.mase)]
    ticks = (keys * view.depths.score_ticks).tolist()
    points = [
        answers.AccuracyPoint(at=moment_of(view, tick), coverage=_number(coverage), skill=_number(skill))
        for tick, coverage, skill in zip(ticks, rows["coverage"].tolist(), rows["skill"].tolist(), strict=True)
    ]
    coverage, skill, mase = newest
    return answers.Accuracy(
        series_id=series_id, interval=view.interval, coverage=coverage, skill=skill, mase=mase, over_time=points
    )


def drift_answer(view: StreamView, series_id: str | None, limit: int) -> list[answers.DriftEvent]:
    """Newest first, of one series or of all."""
    with view.lock:
        if series_id is not None:
            column_of(view, series_id)
        found = [each for each in view.drift_events if series_id is None or each.series_id == series_id]
    found.sort(key=lambda each: each.at, reverse=True)  # of partitions that were not read in step
    return [
        answers.DriftEvent(**{name: getattr(each, name) for name in answers.DriftEvent.model_fields})
        for each in found[:limit]
    ]


def dead_letters(view: StreamView, limit: int) -> list[answers.DeadLetter]:
    """Newest first."""
    with view.lock:
        found = list(view.dead)
    return [answers.DeadLetter(**asdict(each)) for each in reversed(found[-limit:])]


def forecast_as_of(view: StreamView, fetcher: Fetcher, series_id: str, as_of: datetime | None) -> bytes:
    """The forecast as it was published. Raises NotThere, which says why there is none."""
    spec = view.spec
    with view.lock:
        column = column_of(view, series_id)
        ticks, rows = view.forecasts.of(column)
        partition, newest = int(view.partitions[column]), max(view.newest_tick, view.newest_origin)
    if not len(ticks):
        raise NotThere(f"There is no forecast of {series_id!r} yet: it has too few readings, or nothing came since.")
    place = len(ticks) - 1
    if as_of is not None:
        asked = spec.grid.tick(int(as_of.timestamp() * 1000))
        oldest = newest - spec.grid.steps(view.depths.history_ms)
        if asked < oldest:
            raise NotThere(
                f"as_of {as_of.isoformat()} is before {moment_of(view, oldest).isoformat()}: forecasts can be asked "
                f"for within {format_duration(view.depths.history_ms)} (api.history) of the newest reading."
            )
        place = int(np.searchsorted(ticks, asked, side="right")) - 1
        if place < 0:
            raise NotThere(
                f"The oldest forecast known here of {series_id!r} has the origin "
                f"{moment_of(view, int(ticks[0])).isoformat()}, after {as_of.isoformat()}. Kept are "
                f"{view.depths.forecasts} of a series (api.history, api.points_max), and what was published before "
                "this process read the topic (api.backlog_max) is not known to it."
            )
    return _fetched(view, fetcher, partition, int(rows["offset"][place]))


def fan_forecasts(view: StreamView, fetcher: Fetcher, series_id: str) -> tuple[bytes | None, bytes | None]:
    """The newest forecast, and the newest one whose horizon has ended, if that was recently."""
    with view.lock:
        column = column_of(view, series_id)
        ticks, rows = view.forecasts.of(column)
        partition, last = int(view.partitions[column]), int(view.cells.newest[column])
    if not len(ticks):
        return None, None
    came = last - view.spec.horizon  # an origin
    place = int(np.searchsorted(ticks, came, side="right")) - 1
    lately = place >= 0 and ticks[place] > came - view.spec.horizon - view.spec.forecast_every
    earlier = _fetched(view, fetcher, partition, int(rows["offset"][place])) if lately else None
    return _fetched(view, fetcher, partition, int(rows["offset"][-1])), earlier


def _fetched(view: StreamView, fetcher: Fetcher, partition: int, offset: int) -> bytes:
    topic = view.spec.outputs.topic("forecasts", view.name)
    value = fetcher.fetch(topic, partition, offset)
    if value is None:
        raise NotThere(f"That forecast is no longer in {topic}: the topic's retention or compaction has removed it.")
    return as_json("forecasts", value) or b""


def column_of(view: StreamView, series_id: str) -> int:
    """The caller holds the lock."""
    column = view.roster.find(series_id)
    if column is None:
        more = f" It has more than {view.roster.series_max:,} (api.series_max)." if view.roster.is_full else ""
        raise NotThere(f"Stream {view.name!r} has no series {series_id[:200]!r} that was heard of lately.{more}")
    return column


def moment(view: StreamView, tick: int) -> datetime | None:
    return moment_of(view, tick) if tick else None


def moment_of(view: StreamView, tick: int) -> datetime:
    return _utc(view.spec.grid.start_ms(tick))


def _found(view: StreamView, search: str, statuses: AnyArray, status: str | None) -> IntArray:
    """The columns of the series that match, ordered by name."""
    columns = view.roster.by_name()
    if wanted := search.casefold():
        names = view.roster.names
        columns = columns[np.array([wanted in (names[each] or "").casefold() for each in columns.tolist()], np.bool_)]
    if status == "drift":
        return columns[view.drifts[columns] == DRIFT.index("drift")]
    return columns if status is None else columns[statuses[columns] == STATUSES.index(status)]


def _order(view: StreamView, columns: IntArray, statuses: AnyArray, sort: Sort) -> IntArray:
    """The order of `columns`, which come by name. Unknown numbers are last, and equal ones stay by name."""
    if sort == "name":
        return np.arange(len(columns))
    numbers: dict[str, Callable[[], AnyArray]] = {
        "coverage": lambda: view.coverage[columns],
        "skill": lambda: view.skill[columns],
        "last_value": lambda: view.cells.last(columns),
        "drift": lambda: -view.drifts[columns].astype(np.int64),
        "status": lambda: -statuses[columns].astype(np.int64),
    }
    order: IntArray = np.argsort(numbers[sort](), kind="stable")
    return order


def _series(view: StreamView, columns: IntArray, statuses: AnyArray) -> list[answers.Series]:
    last, origins = view.cells.last(columns), view.forecasts.newest(columns)
    return [
        answers.Series(
            series_id=view.roster.names[column] or "",
            status=STATUSES[statuses[column]],  # type: ignore[arg-type]
            last_value=_number(float(last[place])),
            last_tick=moment(view, int(view.cells.newest[column])),
            newest_origin=moment(view, int(origins[place])),
            model=view.model_names.texts[view.models[column]],
            reason=view.reason_names.texts[view.reasons[column]],
            coverage=_number(float(view.coverage[column])),
            skill=_number(float(view.skill[column])),
            mase=_number(float(view.mase[column])),
            drift=DRIFT[view.drifts[column]],  # type: ignore[arg-type]
        )
        for place, column in enumerate(columns.tolist())
    ]


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
