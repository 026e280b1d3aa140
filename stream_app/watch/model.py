"""What a person sees of a running stream, as values: the newest forecasts and how good they were, a line a series.

Fed with the messages of the output topics; knows nothing of Kafka or terminals. A message that is not as it should be
is skipped and counted: one bad message must not end a view.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from model_core.arrays import FloatArray

HISTORY_VALUES = 400  # kept of each series; more than is drawn, because topics are not read in step
MEMORY_RECORDS = 300  # half-life of the running skill, in accuracy records
DECAY = 0.5 ** (1 / MEMORY_RECORDS)
SERIES_MAX = 20_000  # lines kept; more series are counted, not shown


class _Forecast(msgspec.Struct):
    series_id: str
    origin: datetime
    step_ms: int
    quantile_levels: list[float]
    quantiles: list[list[float | None]]
    model: str | None = None
    status: str = "ok"
    reason: str | None = None


class _Horizon(msgspec.Struct):
    horizon: int
    target: datetime
    actual: float | None = None
    pinball: float | None = None
    covered: list[bool | None] | None = None
    baselines: dict[str, float | None] = {}


class _Accuracy(msgspec.Struct):
    series_id: str
    horizons: list[_Horizon] = []
    coverage: list[float | None] | None = None  # running, one a central interval, widest first
    skill: float | None = None


class _Drift(msgspec.Struct):
    state: str
    series_id: str | None = None
    group: str | None = None
    detector: str = ""


@dataclass(frozen=True)
class ForecastView:
    """One forecast as it is drawn."""

    origin: datetime
    step_ms: int
    model: str
    status: str  # ok | fallback
    reason: str | None
    lower: FloatArray  # float64 [H], the widest central interval
    median: FloatArray  # float64 [H]
    upper: FloatArray  # float64 [H]
    interval: float  # its nominal share, .8


@dataclass
class SeriesView:
    """One line. None: nothing has been heard of it yet."""

    series_id: str
    history: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=HISTORY_VALUES))  # tick ms, value
    forecast: ForecastView | None = None
    coverage: float | None = None  # share of actual values inside the widest central interval
    skill: float | None = None  # 1 − pinball / that of the better of both naive forecasts
    drift: str | None = None  # ok | warning | drift
    scores: "RunningScores" = field(default_factory=lambda: RunningScores())

    @property
    def last_value(self) -> float | None:
        """The newest value that the forecast beside it has seen, or the newest of all."""
        if not self.history:
            return None
        seen = (value for tick_ms, value in reversed(self.history) if self.forecast and tick_ms <= self._origin_ms)
        return next(seen, self.history[-1][1])

    def past(self, number: int) -> FloatArray:
        """[number] values of the steps up to the forecast's origin; NaN where none is known."""
        values = np.full(number, np.nan)
        if self.forecast is not None:
            for tick_ms, value in reversed(self.history):
                back = round((self._origin_ms - tick_ms) / self.forecast.step_ms)
                if back >= number:
                    break
                if back >= 0:
                    values[number - 1 - back] = value
        return values

    @property
    def _origin_ms(self) -> int:
        return int(self.forecast.origin.timestamp() * 1000) if self.forecast else 0


@dataclass
class RunningScores:
    """Sums with forgetting, for streams whose accuracy records carry no running figures."""

    pinball: float = 0.0
    seasonal_naive: float = 0.0
    last_value: float = 0.0
    inside: float = 0.0
    judged: float = 0.0

    def add(self, scored: list[_Horizon]) -> None:
        """One accuracy record; a missing actual was not scored."""
        self.pinball, self.seasonal_naive = self.pinball * DECAY, self.seasonal_naive * DECAY
        self.last_value, self.inside, self.judged = self.last_value * DECAY, self.inside * DECAY, self.judged * DECAY
        for each in scored:
            seasonal, last = each.baselines.get("seasonal_naive"), each.baselines.get("last_value")
            if each.pinball is not None and seasonal is not None and last is not None:
                self.pinball += each.pinball
                self.seasonal_naive += seasonal
                self.last_value += last
            if each.covered and each.covered[0] is not None:
                self.inside += each.covered[0]
                self.judged += 1

    @property
    def skill(self) -> float | None:
        best_naive = min(self.seasonal_naive, self.last_value)
        return 1 - self.pinball / best_naive if best_naive > 0 else None

    @property
    def coverage(self) -> float | None:
        return self.inside / self.judged if self.judged else None


SORTS: dict[str, Callable[[SeriesView], Any]] = {
    "name": lambda line: line.series_id,
    "skill": lambda line: (line.skill is None, line.skill, line.series_id),  # worst first: where to look
    "coverage": lambda line: (line.coverage is None, line.coverage, line.series_id),
    "drift": lambda line: ({"drift": 0, "warning": 1}.get(line.drift or "", 2), line.series_id),
}


class WatchModel:
    """The state of the view. Forecasts stay undecoded until a frame is drawn: a person sees few of them."""

    def __init__(self) -> None:
        self.forecasts_seen = 0
        self.unreadable = 0
        self._lines: dict[str, SeriesView] = {}
        self._newest: dict[str, bytes] = {}
        self._decode_forecast = msgspec.json.Decoder(_Forecast).decode
        self._decode_accuracy = msgspec.json.Decoder(_Accuracy).decode
        self._decode_drift = msgspec.json.Decoder(_Drift).decode

    @property
    def series_seen(self) -> int:
        return len(self._lines.keys() | self._newest.keys())

    def feed(self, kind: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """`kind` is the output: forecasts | accuracy | drift. Messages are (key, value)."""
        take = {"forecasts": self._on_forecast, "accuracy": self._on_accuracy, "drift": self._on_drift}[kind]
        for key, value in messages:
            try:
                take(key.decode() if key else "", value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.unreadable += 1

    def feed_reading(self, series_id: str, tick_ms: int, value: float) -> None:
        """A value of a series; `tick_ms` is the start of its tick. Of a tick the newest value is shown."""
        line = self._line(series_id)
        if line is None or (line.history and tick_ms < line.history[-1][0]):
            return
        if line.history and tick_ms == line.history[-1][0]:
            line.history.pop()
        line.history.append((tick_ms, value))

    def lines(self, sort: str = "name") -> list[SeriesView]:
        """All series, sorted; decodes what came since the last call."""
        newest, self._newest = self._newest, {}
        for series_id, value in newest.items():
            line = self._line(series_id)
            try:
                if line is not None:
                    line.forecast = _view(self._decode_forecast(value))
            except (msgspec.MsgspecError, ValueError):
                self.unreadable += 1
        return sorted(self._lines.values(), key=SORTS[sort])

    def _line(self, series_id: str) -> SeriesView | None:
        line = self._lines.get(series_id)
        if line is None and len(self._lines) < SERIES_MAX:
            line = self._lines[series_id] = SeriesView(series_id)
        return line

    def _on_forecast(self, series_id: str, value: bytes | None) -> None:
        if value is None:  # the series was deleted
            self._newest.pop(series_id, None)
            self._lines.pop(series_id, None)
            return
        self.forecasts_seen += 1
        self._newest[series_id] = value  # a key's messages come in order

    def _on_accuracy(self, series_id: str, value: bytes | None) -> None:
        if value is None:
            return
        record = self._decode_accuracy(value)
        line = self._line(record.series_id)
        if line is None:
            return
        line.scores.add(record.horizons)
        newest = max(record.horizons, key=lambda each: each.target, default=None)
        if newest is not None and newest.actual is not None:
            self.feed_reading(record.series_id, int(newest.target.timestamp() * 1000), newest.actual)
        published = record.coverage[0] if isinstance(record.coverage, list) and record.coverage else None
        line.coverage = published if published is not None else line.scores.coverage
        line.skill = record.skill if record.skill is not None else line.scores.skill

    def _on_drift(self, series_id: str, value: bytes | None) -> None:
        record = self._decode_drift(value or b"{}")
        line = self._line(record.series_id) if record.series_id else None
        if line is not None:
            line.drift = record.state


def _view(message: _Forecast) -> ForecastView:
    quantiles = np.array(message.quantiles, np.float64)  # [Q, H]
    levels = message.quantile_levels
    if quantiles.ndim != 2 or len(levels) != len(quantiles):
        raise ValueError("expected one list of quantiles a level")
    middle = int(np.argmin([abs(level - 0.5) for level in levels]))
    return ForecastView(
        origin=message.origin,
        step_ms=max(1, message.step_ms),
        model=message.model or "none",
        status=message.status,
        reason=message.reason,
        lower=quantiles[0],
        median=quantiles[middle],
        upper=quantiles[-1],
        interval=round(levels[-1] - levels[0], 6),
    )
