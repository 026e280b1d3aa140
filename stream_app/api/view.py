"""All that is known of one stream, as columns. One thread writes, any thread reads; each holds `lock` meanwhile."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import AnyArray, IntArray
from model_core.quantiles import central_intervals
from model_core.spec import StreamSpec
from stream_app.api import heads
from stream_app.api.cells import Cells
from stream_app.api.dead import DeadView, dead_view
from stream_app.api.recent import RecentRows
from stream_app.api.roster import Roster
from stream_app.wire.members import NO_TIME

if TYPE_CHECKING:
    from stream_app.settings.model import Api
    from stream_app.wire.decoded import DecodedPoll
    from stream_app.wire.message_columns import MessageColumns

STATUSES = ("waiting", "ok", "fallback", "silent")  # codes of `statuses`
WAITING, OK, FALLBACK, SILENT = range(4)
DRIFT = ("none", "ok", "warning", "drift")
SPARE_STEPS = 8
NAMES_MAX = 255  # models and reasons that are told apart; they are few


@dataclass
class Names:
    """A few texts as small numbers; 0 means none."""

    texts: list[str | None] = field(default_factory=lambda: [None])

    def codes(self, texts: Sequence[str | None]) -> AnyArray:
        """uint8 [n]"""
        known = {text: code for code, text in enumerate(self.texts)}
        for text in set(texts) - known.keys():
            if len(self.texts) <= NAMES_MAX:
                known[text] = len(self.texts)
                self.texts.append(text)
        return np.array([known.get(text, 0) for text in texts], np.uint8)


@dataclass(frozen=True)
class Depths:
    """How much is kept of each series."""

    steps: int
    forecasts: int
    scores: int
    score_ticks: int  # ticks between two scores that are kept
    history_ms: int  # how far back may be asked

    @staticmethod
    def of(spec: StreamSpec, api: Api) -> Depths:
        """A view shows a horizon that has ended, so it keeps two horizons if `points_max` allows."""
        history = spec.grid.steps(api.history)
        steps = min(max(history, 2 * spec.horizon) + SPARE_STEPS, api.points_max)
        forecasts = max(2, min(-(-steps // spec.forecast_every), api.points_max))
        return Depths(steps, forecasts, api.scores_max, max(1, history // api.scores_max), api.history)


class StreamView:
    """`version` rises with every change."""

    def __init__(self, name: str, spec: StreamSpec, api: Api) -> None:
        self.name = name
        self.spec = spec
        self.lock = threading.Lock()
        self.version = 0
        self.depths = depths = Depths.of(spec, api)
        self.roster = Roster(api.series_max)
        self.cells = Cells(depths.steps, api.series_max)
        self.forecasts = RecentRows(depths.forecasts, api.series_max, {"offset": np.int64})
        self.scores = RecentRows(depths.scores, api.series_max, {"coverage": np.float32, "skill": np.float32})
        self.partitions = np.zeros(api.series_max, np.int32)  # of the newest forecast
        self.statuses, self.drifts = np.zeros(api.series_max, np.uint8), np.zeros(api.series_max, np.uint8)
        self.models, self.reasons = np.zeros(api.series_max, np.uint8), np.zeros(api.series_max, np.uint8)
        self.model_names, self.reason_names = Names(), Names()
        self.coverage, self.skill, self.mase = (np.full(api.series_max, np.nan, np.float32) for _ in range(3))
        self.drift_events: deque[heads.Drift] = deque(maxlen=api.events_max)
        self._reported: dict[tuple[str | None, str], str] = {}  # (group, detector) → state of the newest report
        self.dead: deque[DeadView] = deque(maxlen=api.events_max)
        self.dead_reasons: Counter[str] = Counter()
        self.unreadable = 0
        self._forecast_heads, self._score_heads = heads.HeadReader("forecasts"), heads.HeadReader("accuracy")
        self.newest_tick = self.newest_origin = 0

    @property
    def interval(self) -> float | None:
        """Nominal share of the widest central interval."""
        levels = self.spec.quantile_levels
        pairs = central_intervals(levels)
        return round(levels[pairs[0][1]] - levels[pairs[0][0]], 9) if pairs else None

    # --- what comes in ----------------------------------------------------------------------------------------------

    def feed_readings(self, poll: DecodedPoll) -> None:
        for readings in poll.readings.values():
            ticks = self.spec.grid.ticks(readings.timestamps_ms)
            with self.lock:
                columns = self._columns(readings.series_ids)
                self.cells.put(columns, ticks, readings.values)
                if len(ticks):
                    self.newest_tick = max(self.newest_tick, int(ticks.max()))
                for _, series_id in readings.deletions:
                    self._forget(series_id)
                self.version += 1

    def feed_forecasts(self, messages: MessageColumns) -> None:
        """Messages without a value are skipped."""
        found = self._forecast_heads.read(messages)
        with self.lock:
            self.unreadable += found.unreadable
            if not len(found):
                return
            ticks = self.spec.grid.ticks(found.columns["origin"])
            columns = self._columns(found.texts["series_id"].each())
            self.forecasts.put(columns, ticks, {"offset": messages.offsets[found.rows]})
            fine = (columns >= 0) & (ticks >= self.forecasts.newest(columns))
            there = columns[fine]
            self.statuses[there] = found.texts["status"].coded(_status_codes)[fine]
            self.models[there] = found.texts["model"].coded(self.model_names.codes)[fine]
            self.reasons[there] = found.texts["reason"].coded(self.reason_names.codes)[fine]
            self.partitions[there] = messages.partitions[found.rows][fine]
            self.newest_origin = max(self.newest_origin, int(ticks.max()))
            self.version += 1

    def feed_accuracy(self, messages: MessageColumns) -> None:
        """Messages without a value are skipped."""
        found = self._score_heads.read(messages)
        with self.lock:
            self.unreadable += found.unreadable
            if not len(found):
                return
            at = found.columns["at"]
            ticks = self.spec.grid.ticks(np.where(at == NO_TIME, found.columns["origin"], at))
            coverage, skill, mase = (found.columns[name] for name in ("coverage", "skill", "mase"))
            columns = self._columns(found.texts["series_id"].each())
            self.scores.put(columns, ticks // self.depths.score_ticks, {"coverage": coverage, "skill": skill})
            there = columns >= 0
            self.coverage[columns[there]], self.skill[columns[there]] = coverage[there], skill[there]
            self.mase[columns[there]] = mase[there]
            self.version += 1

    def feed_drift(self, values: Sequence[bytes]) -> None:
        found = [heads.drift(value) for value in values]
        with self.lock:
            for each in found:
                if each is None or each.state not in DRIFT:
                    self.unreadable += 1
                    continue
                if self._is_news(each):
                    self.drift_events.append(each)
                if each.series_id is not None and (column := int(self._columns([each.series_id])[0])) >= 0:
                    self.drifts[column] = DRIFT.index(each.state)
            self.version += 1

    def _is_news(self, record: heads.Drift) -> bool:
        """Each record of a series; of a partition's regular reports those that change its state, at first `ok`."""
        if record.series_id is not None:
            return True
        before = self._reported.get((record.group, record.detector), "ok")
        self._reported[record.group, record.detector] = record.state
        return record.state != before

    def feed_dead_letters(self, messages: Sequence[Any]) -> None:
        with self.lock:
            for message in messages:
                letter = dead_view(message)
                self.dead.append(letter)
                self.dead_reasons[letter.reason] += 1
            self.version += 1

    def delete(self, series_ids: Sequence[str]) -> None:
        with self.lock:
            for series_id in series_ids:
                self._forget(series_id)
            self.version += 1

    # --- what can be asked; `lock` is held by who asks ----------------------------------------------------------------

    def status_codes(self) -> AnyArray:
        """uint8 [columns taken so far]; SILENT for a series without readings and forecasts for a horizon."""
        count = len(self.roster.names)
        newest = np.maximum(self.cells.newest[:count], self.forecasts.newest(slice(0, count)))
        silent = newest < max(self.newest_tick, self.newest_origin) - self.spec.horizon
        return np.where(silent, SILENT, self.statuses[:count]).astype(np.uint8)

    def mean(self, values: AnyArray) -> float | None:
        """The mean over the series that have a value."""
        known = values[: len(self.roster.names)]
        known = known[np.isfinite(known)]
        return float(known.mean()) if len(known) else None

    def fallback_share(self) -> float | None:
        counts = np.bincount(self.statuses[: len(self.roster.names)], minlength=len(STATUSES))
        answered = int(counts[OK] + counts[FALLBACK])
        return float(counts[FALLBACK] / answered) if answered else None

    def _columns(self, series_ids: Sequence[str]) -> IntArray:
        before = len(self.roster)
        columns: IntArray = self.roster.columns(series_ids)
        if len(self.roster) > before:
            known = set(series_ids)
            for column in set(columns[columns >= 0].tolist()):
                name = self.roster.names[column]
                if name in known and self.statuses[column] == WAITING and self.cells.newest[column] == 0:
                    rule = self.spec.override_of(name)
                    self.cells.combine_by(column, (rule and rule.aggregate) or self.spec.aggregate)
        return columns

    def _forget(self, series_id: str) -> None:
        column = self.roster.remove(series_id)
        if column is None:
            return
        self.cells.clear(column)
        self.forecasts.clear(column)
        self.scores.clear(column)
        for codes in (self.statuses, self.drifts, self.models, self.reasons):
            codes[column] = 0
        for numbers in (self.coverage, self.skill, self.mase):
            numbers[column] = np.nan


def _status_codes(statuses: Sequence[str | None]) -> AnyArray:
    """uint8 [n]; a forecast without a status is the model's."""
    return np.array([OK if status in ("ok", None) else FALLBACK for status in statuses], np.uint8)
