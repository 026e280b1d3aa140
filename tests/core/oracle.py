"""A plain oracle of the core: one reading at a time, one series at a time, dicts and floats.

It knows the semantics (when a cell is ready, what a window holds, what is scored) and nothing of the code that it
judges: it imports nothing from model_core, uses no arrays, and is as slow as it likes to be. What is kept as float32
outside is rounded here too, so that comparisons fall the same way; everything else is float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from tests.core.oracle_quantiles import Judge, f32
from tests.core.oracle_scaler import Scaler

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Reading:
    offset: int
    series_id: str
    timestamp_ms: int
    value: float


@dataclass(frozen=True)
class Tombstone:
    offset: int
    series_id: str


@dataclass(frozen=True)
class Idle:
    """A journaled decision: close through the newest tick seen."""

    offset: int = -1


class Settings:
    """A stream's settings (durations in ms) with the defaults of the documentation."""

    def __init__(self, given: dict[str, Any]) -> None:
        get = given.get
        self.step = given["freq"]
        self.zone = ZoneInfo(given["timezone"]) if get("timezone") else None
        self.length, self.horizon = given["context_length"], given["horizon"]
        self.every, self.per_step = get("forecast_every", 1), get("readings_per_step")
        self.levels = get("quantile_levels", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))
        self.aggregate = get("aggregate", "mean")
        self.demand = self.aggregate in ("sum", "count")
        self.empty = 0.0 if get("empty", "zero" if self.demand else "missing") == "zero" else None
        self.behind = get("max_out_of_orderness", self.step)
        self.lateness = get("allowed_lateness", 0)
        self.deduplicate = get("deduplicate", "off") == "timestamp"
        self.jump = get("max_watermark_jump", max(DAY_MS, 10 * self.step))
        self.min_readings = get("min_readings", 8)
        seasons = sorted(season // self.step for season in get("seasonality", ()))
        self.season = seasons[0] if seasons else max(2, (7 * DAY_MS if self.step == DAY_MS else DAY_MS) // self.step)
        self.dormant = get("dormant_after") or max(self.length, 2 * self.season)
        self.open_ticks = self.steps(self.behind) + 2 + (1 if self.zone else 0)
        self.horizons = sorted({h for h in (1, 2, 3, 6, 12, 24, 48, 96) if h < self.horizon} | {self.horizon})
        self.rate = get("calibration_rate", 0.005)
        self.bounds = (get("lower_bound"), get("upper_bound"))
        self.overrides = get("overrides", ())
        self.targets = get("targets", ())
        self.past, self.future = tuple(get("past_covariates", ())), tuple(get("future_covariates", ()))
        self.known_ahead = max(self.horizon, get("future_ahead") or 2 * self.horizon) if self.future else 0
        self.records = get("accuracy", "summary") == "records"
        self.report = self.steps(get("drift_report_every", DAY_MS))
        self.cusum_threshold = self.horizon_threshold = 12.7

    def steps(self, duration_ms: int) -> int:
        return -(-duration_ms // self.step)

    def tick(self, timestamp_ms: int) -> int:
        if self.zone is None:
            return timestamp_ms // self.step
        local = datetime.fromtimestamp(timestamp_ms // 1000, UTC).astimezone(self.zone)
        return (local.date() - date(1970, 1, 1)).days

    def end(self, tick: int) -> int:
        """The first moment after a tick, ms."""
        if self.zone is None:
            return (tick + 1) * self.step
        day = datetime(1970, 1, 1) + timedelta(days=tick + 1)
        return int(day.replace(tzinfo=self.zone).timestamp()) * 1000

    def of_series(self, series_id: str) -> tuple[str, float, float]:
        """(aggregate, lower bound, upper bound) with the first matching override."""
        rule = next((rule for rule in self.overrides if fnmatchcase(series_id, rule["match"])), {})
        aggregate = rule.get("aggregate") or self.aggregate
        lower = rule.get("lower_bound", self.bounds[0])
        upper = rule.get("upper_bound", self.bounds[1])
        if lower is None:
            lower = 0.0 if aggregate in ("sum", "count") else float("-inf")
        return aggregate, lower, float("inf") if upper is None else upper

    def variable(self, series_id: str) -> tuple[str, str]:
        entity, _, variable = series_id.rpartition(".")
        return (entity, variable) if entity else (series_id, "")

    def role(self, series_id: str) -> str:
        variable = self.variable(series_id)[1]
        if variable in self.future:
            return "future"
        if variable in self.past:
            return "past"
        return "target" if not self.targets or variable in self.targets else "none"


@dataclass
class Series:
    name: str
    role: str
    aggregate: str
    last: int | None  # newest settled tick (before the first: the newest closed one)
    scaler: Scaler
    judged: Any  # what oracle_quantiles keeps of it
    cells: dict[int, list[tuple[int, float]]] = field(default_factory=dict)  # tick → [(timestamp, value)], log order
    ring: dict[int, float | None] = field(default_factory=dict)  # tick → value as it is known now, float32
    first: int | None = None
    last_seen: int | None = None  # newest settled tick with a reading
    observed: int = 0
    origin: int | None = None  # of the newest forecast
    revision: int = 0
    stamps: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Due:
    """A forecast that is due, and what it may see."""

    series_id: str
    origin: int
    revision: int
    offset: int
    window: tuple[tuple[float | None, ...], ...]  # target, then covariates
    known: tuple[tuple[float | None, ...], ...]  # future covariates of the target ticks
    season: tuple[float | None, ...]
    scalers: tuple[tuple[float, float], ...]  # (mean, standard deviation) of target and covariates
    level: float
    observed: int


class Oracle:
    """Take a log with `run`, then read `settled`, `reissued`, `rejected` and what `judge` has collected."""

    def __init__(self, settings: dict[str, Any], judge_of: Any = Judge) -> None:
        self.set = Settings(settings)
        self.judge = judge_of(self.set)
        self.series: dict[str, Series] = {}
        self.newest: int | None = None
        self.closed: int | None = None
        self.waiting: list[Reading] = []
        self.settled: list[tuple[str, int, float | None, int]] = []  # series, tick, value, cause offset
        self.corrected = 0
        self.reissued: list[tuple[str, int, float, int]] = []  # corrected cells whose forecast was issued again
        self.rejected: list[tuple[str, int, str]] = []  # series, timestamp, reason; in log order
        self.duplicates = 0
        self.warming_up = 0
        self.deleted: list[tuple[int, str]] = []

    def run(self, log: list[Reading | Tombstone | Idle]) -> Oracle:
        for entry in log:
            if isinstance(entry, Reading):
                self.arrive(entry)
            elif isinstance(entry, Tombstone):
                self.series.pop(entry.series_id, None)
                self.waiting = [reading for reading in self.waiting if reading.series_id != entry.series_id]
                self.deleted.append((entry.offset, entry.series_id))
            elif self.newest is not None:
                self.close_through(self.set.tick(self.newest), entry.offset)
        return self

    # --- the clock --------------------------------------------------------------------------------------------------

    def arrive(self, reading: Reading) -> None:
        series = self.series.get(reading.series_id) or self.make(reading.series_id)
        if series.role == "future":
            self.take_known(series, reading)
            return
        jumps = self.newest is not None and reading.timestamp_ms - self.newest > self.set.jump
        if jumps:
            self.waiting.append(reading)
            believed = self.confirmed()
        else:
            self.place(reading, reading.offset)
            believed = self.newest
        if believed is None:
            return
        released = [w for w in self.waiting if w.timestamp_ms - believed <= self.set.jump]
        self.waiting = [w for w in self.waiting if w.timestamp_ms - believed > self.set.jump]
        for other in released:
            self.place(other, reading.offset)

    def confirmed(self) -> int | None:
        """The event time that a second series (of a single one the third reading) has come to as well."""
        if len(self.series) == 1:
            stamps = sorted(w.timestamp_ms for w in self.waiting)
            return stamps[-3] if len(stamps) >= 3 else None
        farthest: dict[str, int] = {}
        for w in self.waiting:
            farthest[w.series_id] = max(w.timestamp_ms, farthest.get(w.series_id, w.timestamp_ms))
        return sorted(farthest.values())[-2] if len(farthest) >= 2 else None

    def make(self, name: str) -> Series:
        half = 0.5 ** (1.0 / (4 * self.set.length)), 0.5 ** (1.0 / self.set.season)
        aggregate, lower, upper = self.set.of_series(name)
        role = self.set.role(name)
        judged = self.judge.newcomer(lower, upper)
        last = None if role == "future" else self.closed
        self.series[name] = Series(name, role, aggregate, last, Scaler(*half), judged)
        return self.series[name]

    # --- placing ----------------------------------------------------------------------------------------------------

    def place(self, reading: Reading, offset: int) -> None:
        """`offset` of the reading that causes what follows: its own, or that of the one which confirmed it."""
        series, stamp = self.series[reading.series_id], reading.timestamp_ms
        before = self.newest
        self.newest = stamp if before is None else max(before, stamp)
        passed = self.set.tick(self.newest - self.set.behind) - 1
        if self.closed is None:
            self.closed = passed
            for other in self.series.values():
                other.last = passed if other.role != "future" else other.last
        self.close_through(passed, offset)
        tick = self.set.tick(stamp)
        if before is not None and self.set.end(tick) + self.set.lateness <= before - self.set.behind:
            self.rejected.append((series.name, stamp, "too_late"))
            return
        if self.set.deduplicate and stamp in series.stamps:
            self.duplicates += 1
            return
        series.stamps.add(stamp)
        series.cells.setdefault(tick, []).append((stamp, reading.value))
        if series.last is not None and tick <= series.last:
            if series.first is None:
                for ready in range(tick, self.closed + 1):
                    self.settle([series], ready, offset)
            else:
                self.correct(series, tick, offset)
        self.settle_complete([series], offset)

    def take_known(self, series: Series, reading: Reading) -> None:
        tick = self.set.tick(reading.timestamp_ms)
        if self.closed is not None and tick > self.closed + self.set.open_ticks + self.set.known_ahead:
            self.rejected.append((series.name, reading.timestamp_ms, "timestamp_out_of_range"))
            return
        if series.last is None or tick > series.last:
            series.last = tick
            series.scaler.take(reading.value)
        series.ring[tick] = f32(reading.value)

    def close_through(self, tick: int, offset: int) -> None:
        start = self.closed
        while self.closed is not None and start is not None and self.closed < tick:
            if self.closed - start >= self.set.dormant + self.set.open_ticks:
                self.skip_to(tick, offset)
                return
            self.closed += 1
            self.judge.watermark_passed()
            if self.closed % self.set.report == 0:
                self.tell(offset)
            lagging = [s for s in self.series.values() if s.role != "future" and (s.last or 0) < self.closed]
            ready = [s for s in lagging if s.first is not None or self.closed in s.cells]
            for series in lagging:
                series.last = self.closed
            self.settle(ready, self.closed, offset)
            self.settle_complete(lagging, offset)

    def skip_to(self, tick: int, offset: int) -> None:
        self.closed = tick
        self.judge.watermark_passed()
        self.tell(offset)
        for series in self.series.values():
            if series.role != "future" and (series.last or 0) < tick:
                series.last = tick
                self.judge.drop(series.judged)

    def settle_complete(self, members: list[Series], offset: int) -> None:
        """Members stand at the same tick; those whose next cell is complete go on together."""
        wanted = self.set.per_step
        while wanted and members:
            members = [series for series in members if len(series.cells.get(series.last + 1, ())) >= wanted]
            if members:
                self.settle(members, members[0].last + 1, offset)

    def tell(self, offset: int) -> None:
        everyone = [(name, series.judged) for name, series in self.series.items()]
        self.judge.tell(everyone, self.closed, offset)

    # --- settling ---------------------------------------------------------------------------------------------------

    def value_of(self, series: Series, tick: int) -> float | None:
        readings = series.cells.get(tick)
        if not readings:
            return self.set.empty
        values = [value for _, value in readings]
        if series.aggregate == "count":
            return float(len(values))
        if series.aggregate in ("min", "max"):
            return min(values) if series.aggregate == "min" else max(values)
        if series.aggregate == "last":
            return max(enumerate(readings), key=lambda pair: (pair[1][0], pair[0]))[1][1]
        total = 0.0
        for value in values:
            total += value
        return total / len(values) if series.aggregate == "mean" else total

    def settle(self, ready: list[Series], tick: int, offset: int) -> None:
        """The cell of each is final: all enter their windows before any forecast looks at them."""
        if ready:
            self.tell(offset)
        values = [self.value_of(series, tick) for series in ready]
        for series, value in zip(ready, values, strict=True):
            series.last = tick
            series.first = tick if series.first is None else series.first
            series.ring[tick] = None if value is None else f32(value)
            if tick in series.cells:
                series.last_seen = max(tick, series.last_seen or tick)
            if value is not None:
                series.observed += 1
                series.scaler.take(value)
            self.settled.append((series.name, tick, value, offset))
        for series in ready:
            if series.role == "target":
                before = series.ring.get(tick - self.set.season)
                self.judge.actual(series.judged, series.name, tick, series.ring[tick], before, offset)
            if self.wanted(series, tick):
                series.origin, series.revision = tick, 0
                self.forecast(series, offset)

    def wanted(self, series: Series, tick: int) -> bool:
        if series.role != "target" or tick % self.set.every:
            return False
        if self.set.empty is None and (series.last_seen is None or tick - series.last_seen > self.set.dormant):
            return False
        self.warming_up += series.observed < self.set.min_readings
        return series.observed >= self.set.min_readings

    def correct(self, series: Series, tick: int, offset: int) -> None:
        value = self.value_of(series, tick)
        series.ring[tick] = f32(value)
        series.last_seen = max(tick, series.last_seen or tick)
        self.corrected += 1
        if series.origin is not None and series.origin - self.set.length < tick <= series.origin:
            series.revision += 1
            self.tell(offset)
            self.reissued.append((series.name, tick, value, offset))
            self.forecast(series, offset)

    # --- windows ----------------------------------------------------------------------------------------------------

    def forecast(self, series: Series, offset: int) -> None:
        origin, length = series.origin, self.set.length
        entity = self.set.variable(series.name)[0]
        partners = [self.series.get(f"{entity}.{name}") for name in self.set.past + self.set.future]
        none: dict[int, float | None] = {}
        rings = [series.ring, *(p.ring if p else none for p in partners)]
        context = range(origin - length + 1, origin + 1)
        ahead = range(origin + 1, origin + self.set.horizon + 1)
        due = Due(
            series.name,
            origin,
            series.revision,
            offset,
            tuple(tuple(ring.get(tick) for tick in context) for ring in rings),
            tuple(tuple(ring.get(tick) for tick in ahead) for ring in rings[1 + len(self.set.past) :]),
            tuple(series.ring.get(tick) for tick in range(origin - self.set.season + 1, origin + 1)),
            tuple((s.scaler.mean, s.scaler.scale) if s else (0.0, 0.0) for s in (series, *partners)),
            series.scaler.level,
            series.observed,
        )
        self.judge.issue(series.judged, due, series.last)
