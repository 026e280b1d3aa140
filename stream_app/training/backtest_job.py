"""`tidecast backtest` without its terminal: a log, a moment in it, and every model side by side after that moment.

A model of each kind learns from what had arrived before the moment; versions of the registry are taken as they are, and
the report says how much of the judged time they had already learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from model_core.backtest import NAIVE, Played, play
from model_core.bundle import Bundle
from model_core.durations import format_duration
from model_core.errors import CoreError
from model_core.models import DEMAND
from model_core.quantiles import central_intervals
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.train import train
from stream_app.errors import TidecastError
from stream_app.kafka.topic_history import read_topic
from stream_app.models.registry import ALIASES, ModelRegistry, finite
from stream_app.tables import TableFile
from stream_app.training.train_job import from_table

if TYPE_CHECKING:
    from stream_app.settings import Settings

Kind = Literal["ridge", "patch_mixer"]
KINDS: tuple[Kind, ...] = ("ridge", "patch_mixer")  # what is trained; of demand its own model
TRAINED_NOW = "{}, trained now"
NO_MODEL = "no model"
DRAWN_SERIES, DRAWN_PAST = 6, 3  # series that are drawn, horizons before the forecast

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Contestant:
    """`seen`: the share of the judged ticks that it had learned from."""

    name: str
    bundle: Bundle | None
    seen: float


def run(
    settings: Settings,
    stream: str,
    *,
    file: TableFile | None = None,
    start_ms: int | None = None,
    versions: Iterable[str] = (),
    kinds: Sequence[Kind] = KINDS,
    on_progress: OnProgress = lambda _what, _share: None,
) -> dict[str, Any]:
    """The report, JSON-able. `start_ms`: origins from then on are judged, default the middle; `versions` beside those
    that an alias names; `kinds` of models that are trained. TidecastError when there is nothing to judge."""
    spec = settings.streams[stream]
    logs = _read(settings, spec, file, on_progress)
    times = np.concatenate([log.timestamps_ms for log in logs])
    start_ms = int((times.min() + times.max()) // 2) if start_ms is None else start_ms
    cuts = [_cut(log, start_ms) for log in logs]
    first_origin, last = spec.grid.tick(start_ms), spec.grid.tick(int(times.max()))
    if not any(cuts) or last - first_origin <= spec.horizon:
        raise TidecastError(
            f"backtest: expected readings before --from and more than {spec.horizon} steps (the horizon) after it, "
            f"found {sum(cuts):,} readings before and {max(0, last - first_origin):,} steps after"
        )
    known, everything = (_history(spec, logs, ends) for ends in (cuts, [len(log) for log in logs]))
    span = (first_origin + 1, last)
    trained, not_trained = _trained_now(settings, spec, known, kinds, on_progress)
    contestants = [
        *trained,
        *_registered(settings, stream, spec, span, versions),
    ] or [Contestant(NO_MODEL, None, 0.0)]
    middle = first_origin + (last - first_origin) // 2
    middle -= middle % spec.forecast_every
    played: dict[str, Played] = {}
    for number, each in enumerate(contestants):
        on_progress(f"playing {each.name}", number / len(contestants))
        played[each.name] = play(
            spec,
            zip(logs, cuts, strict=True),
            each.bundle,
            first_origin=first_origin,
            kept_origins=frozenset({middle}),
            device=settings.device,
        )
    on_progress("done", 1.0)
    if not any(tally.counted.any() for each in played.values() for tally in each.series.values()):
        raise TidecastError(
            f"backtest: none of {last - first_origin:,} steps after --from could be judged: of {len(everything):,} "
            f"steps {np.isfinite(everything.values()).mean():.1%} have a reading; check that freq, "
            f"{format_duration(spec.freq)}, is the step of the readings."
        )
    report = _report(stream, spec, start_ms, contestants, played, _steps(spec, known), everything, middle)
    told: dict[str, Any] = finite(report | {"not_trained": not_trained})
    return told


def _read(settings: Settings, spec: StreamSpec, file: TableFile | None, on_progress: OnProgress) -> list[Readings]:
    """The log of each partition, whole."""
    parts: dict[int, list[Readings]] = {}
    for portion in from_table(spec, file.read()) if file else read_topic(settings, spec):
        for partition, readings in portion.readings.items():
            parts.setdefault(partition, []).append(readings)
        on_progress("reading", portion.done / portion.total)
    logs = [Readings.joined(each) for each in parts.values()]
    if not sum(map(len, logs)):
        raise TidecastError(
            f"No usable reading in {file.path if file else spec.topic}. Check format, fields and include of the stream."
        )
    return logs


def _cut(log: Readings, start_ms: int) -> int:
    """The place of the first reading of that time or later: what lies before it had arrived by then."""
    later = np.flatnonzero(log.timestamps_ms >= start_ms)
    return int(later[0]) if len(later) else len(log)


def _history(spec: StreamSpec, logs: list[Readings], ends: list[int]) -> CellHistory:
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    for partition, (log, end) in enumerate(zip(logs, ends, strict=True)):
        feed.take(partition, log.part(0, end))
    feed.finish()
    return history


def _trained_now(
    settings: Settings, spec: StreamSpec, known: CellHistory, kinds: Sequence[Kind], on_progress: OnProgress
) -> tuple[list[Contestant], str | None]:
    """One of each kind; or why there is none: with too little history before the moment the others are judged alone."""
    specs = {DEMAND: spec} if spec.is_demand else {kind: spec.model_copy(update={"model": kind}) for kind in kinds}
    found = []
    for kind, of in specs.items():

        def progress(what: str, share: float, kind: str = kind) -> None:
            on_progress(f"{kind}: {what}", share)

        try:
            trained = train(known, of, version="trained-now", created_at="", device=settings.device, progress=progress)
        except CoreError as error:
            return [], str(error)
        found.append(Contestant(TRAINED_NOW.format(kind), trained.bundle, 0.0))
    return found, None


def _registered(
    settings: Settings, stream: str, spec: StreamSpec, span: tuple[int, int], versions: Iterable[str]
) -> list[Contestant]:
    registry = ModelRegistry(settings.models.registry)
    named = {alias: registry.alias(stream, alias) for alias in ALIASES}
    wanted = dict.fromkeys([version for version in named.values() if version] + list(versions))
    found = []
    for version in wanted:
        try:
            bundle = registry.load(stream, version)
        except CoreError as error:
            raise TidecastError(f"backtest: model {version} of stream {stream}: {error}") from error
        if bundle.misfit(spec) is None:
            called = [alias for alias in ALIASES if named[alias] == version]
            learned = min(bundle.manifest.training.last_tick, span[1]) - span[0] + 1
            name = f"{version} ({', '.join(called)})" if called else version
            found.append(Contestant(name, bundle, max(0.0, learned / (span[1] - span[0] + 1))))
    return found


def _steps(spec: StreamSpec, known: CellHistory) -> dict[str, float]:
    """Mean |y_t − y_{t−m}| of each series before the moment: the unit in which series are averaged."""
    values, m = known.values().astype(np.float64), spec.default_season
    change = np.abs(values[m:] - values[:-m])
    seen = np.isfinite(change)
    mean = np.where(seen, change, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return dict(zip(known.series_ids, mean.tolist(), strict=True))


def _report(
    stream: str,
    spec: StreamSpec,
    start_ms: int,
    contestants: list[Contestant],
    played: dict[str, Played],
    steps: dict[str, float],
    everything: CellHistory,
    drawn_origin: int,
) -> dict[str, Any]:
    horizons = spec.scored_horizons
    rows = {each.name: _row(played[each.name], steps, horizons) | {"seen": each.seen} for each in contestants}
    first = played[contestants[0].name]
    for number, name in enumerate(NAIVE):
        rows[name] = _row(first, steps, horizons, baseline=number) | {"seen": 0.0}
    levels = spec.quantile_levels
    intervals = central_intervals(levels)
    return {
        "stream": stream,
        "start_ms": start_ms,
        "step_ms": spec.step_ms,
        "horizons": list(horizons),
        "quantile_levels": list(levels),
        "nominal_coverage": round(levels[intervals[0][1]] - levels[intervals[0][0]], 6) if intervals else None,
        "models": rows,
        "drawn": _drawn(spec, played, everything, drawn_origin),
    }


def _row(
    played: Played, steps: dict[str, float], horizons: tuple[int, ...], baseline: int | None = None
) -> dict[str, Any]:
    """One model's numbers: scaled pinball is the mean over series of 2 · pinball / mean |y_t − y_{t−m}|."""
    series = {}
    by_horizon = []
    covered, counted = np.zeros(len(horizons)), np.zeros(len(horizons))
    for name, tally in sorted(played.series.items()):
        unit = steps.get(name, 0.0)
        if unit <= 0 or not tally.counted.any():
            continue
        sums = tally.pinball if baseline is None else tally.baselines[:, baseline]
        scaled = 2 * sums / np.where(tally.counted > 0, tally.counted, np.nan) / unit
        by_horizon.append(scaled)
        series[name] = float(2 * sums.sum() / tally.counted.sum() / unit)
        if baseline is None and tally.covered.shape[1]:
            covered, counted = covered + tally.covered[:, 0], counted + tally.counted
    known = baseline is None and np.any(counted)
    return {
        "scaled_pinball": float(np.mean(list(series.values()))) if series else None,
        "by_horizon": np.nanmean(by_horizon, axis=0).tolist() if by_horizon else [],
        "coverage": float(np.sum(covered) / np.sum(counted)) if known else None,
        "coverage_by_horizon": (covered / np.maximum(counted, 1)).tolist() if known else [],
        "forecasts": played.forecasts if baseline is None else None,
        "answered_by_model": float(played.rungs[0] / max(played.forecasts, 1)) if baseline is None else None,
        "series": series,
    }


def _drawn(spec: StreamSpec, played: dict[str, Played], everything: CellHistory, origin: int) -> list[dict[str, Any]]:
    values, row = everything.values(), origin - everything.first_tick
    first = next(iter(played.values()))
    told = []
    for name in sorted({series for series, _ in first.kept})[:DRAWN_SERIES]:
        cells = values[:, everything.index[name]]
        told.append(
            {
                "series_id": name,
                "origin_ms": spec.grid.start_ms(origin),
                "past": cells[max(0, row + 1 - DRAWN_PAST * spec.horizon) : row + 1].tolist(),
                "actual": cells[row + 1 : row + 1 + spec.horizon].tolist(),
                "quantiles": {
                    model: each.kept[name, origin].tolist()
                    for model, each in played.items()
                    if (name, origin) in each.kept
                },
            }
        )
    return told
