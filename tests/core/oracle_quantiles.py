"""The other half of the oracle: naive forecasts, their quantiles, what they score and what is learned from it.

Plain floats, one series at a time. It stands for a stream without a trained model: both naive rungs and the level.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from tests.core.oracle_demand import drawn
from tests.core.oracle_drift import Alarm, DriftJudge

if TYPE_CHECKING:
    from tests.core.oracle import Due, Settings

MODEL, SEASONAL, LAST, LEVEL = range(4)
ISSUED = 3  # beside the losses of the three tracked rungs
OFFSET_MAX, SPREAD_MIN, LEVEL_WIDTH = 5.0, 1e-6, 1.5


def f32(value: float) -> float:
    """The nearest float32, as a float."""
    return struct.unpack("f", struct.pack("f", value))[0]


def pinball(actual: float, quantiles: list[float], levels: tuple[float, ...]) -> float:
    parts = [max(t * (actual - q), (t - 1) * (actual - q)) for t, q in zip(levels, quantiles, strict=True)]
    return sum(parts) / len(parts)


@dataclass
class Mean:
    """Exponentially weighted, its first values averaged plainly."""

    value: float = 0.0
    updates: int = 0

    def take(self, value: float, decay: float) -> None:
        self.value += max(1.0 - decay, 1.0 / (self.updates + 1.0)) * (value - self.value)
        self.updates += 1


@dataclass
class Issued:
    """What waits for one target: quantiles of the tracked rungs (float32), and which rung was published.

    Of demand they are those of a continuous value: a count minus a number in (0, 1), a sum with a zero that lies
    somewhere within a unit below it.
    """

    rungs: list[list[float] | None]
    rung: int
    mean: float

    @property
    def published(self) -> list[float]:
        quantiles = self.rungs[MODEL if self.rung == LEVEL else self.rung]
        assert quantiles is not None
        return quantiles


@dataclass
class Judged:
    lower: float
    upper: float
    offsets: list[list[list[float]]] | None = None  # [rung][horizon][level], from the first forecast on
    units: list[Mean] = field(default_factory=lambda: [Mean() for _ in range(3)])  # of squared one-step residuals
    unit_floor: float = 0.0
    losses: list[Mean] = field(default_factory=lambda: [Mean() for _ in range(4)])
    error: Mean = field(default_factory=Mean)
    coverage: list[Mean] = field(default_factory=list)
    season_change: Mean = field(default_factory=Mean)
    scored: int = 0
    cusums: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0], [0.0, 0.0]])  # one step, a horizon ahead
    rest: int | None = None
    run: str = ""  # missing | flatline while it is told to be
    alarms: dict[str, Alarm] = field(default_factory=dict)  # the newest of each kind
    favourite: int = LAST
    since: int | None = None
    ledger: dict[tuple[int, int], Issued] = field(default_factory=dict)  # (target, horizon index)
    results: dict[int, dict[int, tuple[Any, ...]]] = field(default_factory=dict)  # origin → horizon index → result


class Judge(DriftJudge):
    """Collects `forecasts`, `records`, `summaries` and `alarms` as plain values."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.set = settings
        levels = settings.levels
        self.normal = [NormalDist().inv_cdf(level) for level in levels]
        self.median = levels.index(0.5)
        pairs = [(i, j) for i in range(len(levels)) for j in range(i + 1, len(levels))]
        self.intervals = [(i, j) for i, j in pairs if abs(levels[i] + levels[j] - 1) < 1e-9]
        self.nothing = (None, None, None, None, None, [False] * len(self.intervals))
        self.decay = 0.5 ** (settings.every / settings.season)
        self.cohort = self.tables(lambda rung, k: [0.0] * len(levels))
        self.above = self.tables(lambda rung, k: [0] * len(levels))
        self.counted = self.tables(lambda rung, k: [0] * len(levels))
        # Of demand: sums of actual values and of the means forecast for them, ticks, and both since the last close.
        self.totals = [[0.0] * 5 for _ in settings.horizons]
        self.forecasts: dict[str, list[dict[str, Any]]] = {}  # of each series, in order
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.summaries: dict[str, list[dict[str, Any]]] = {}

    def tables(self, make: Any) -> list[list[list[Any]]]:
        return [[make(rung, k) for k in range(len(self.set.horizons))] for rung in range(3)]

    def newcomer(self, lower: float, upper: float) -> Judged:
        return Judged(lower, upper, coverage=[Mean() for _ in self.intervals])

    def drop(self, of: Judged) -> None:
        of.ledger.clear()

    # --- quantiles --------------------------------------------------------------------------------------------------

    def base(self, rung: int, horizon: int) -> list[float]:
        """Residual quantiles in units of u before any training: Gaussian, of the last value a random walk."""
        return [z * (math.sqrt(horizon) if rung == LAST else 1.0) for z in self.normal]

    def spread(self, rung: int, horizon: int) -> float:
        base = self.base(rung, horizon)
        if len(base) == 1:
            return 1.0
        return max((base[-1] - base[0]) / (self.normal[-1] - self.normal[0]), SPREAD_MIN)

    def rising(self, offsets: list[float], rung: int, k: int) -> list[float]:
        """Offsets whose quantiles rise with the level."""
        base, spread = self.base(rung, self.set.horizons[k]), self.spread(rung, self.set.horizons[k])
        table = [b + spread * d for b, d in zip(base, offsets, strict=True)]
        if table == sorted(table):
            return offsets
        return [(q - b) / spread for q, b in zip(sorted(table), base, strict=True)]

    def quantiles(self, of: Judged, rung: int, horizon: int, location: float, unit: float) -> list[float]:
        bucket = next(k for k, h in enumerate(self.set.horizons) if h >= horizon)
        base, spread = self.base(rung, horizon), self.spread(rung, horizon)
        result: list[float] = []
        for b, delta in zip(base, of.offsets[rung][bucket], strict=True):
            value = location + unit * (b + spread * delta)
            result.append(max([value, *result[-1:]]))
        return [min(max(value, of.lower - self.below(unit)), of.upper) for value in result]

    def below(self, unit: float) -> float:
        """How far below the lowest value of demand the continuous one may be."""
        return {"count": 1.0, "sum": unit}.get(self.set.aggregate, 0.0)

    def shown(self, of: Judged, quantiles: list[float]) -> list[float]:
        """Counts are whole numbers, rounded up; the dust of float32 is no reason to round up."""
        if not self.set.demand:
            return quantiles
        if self.set.aggregate == "sum":
            return [max(q, of.lower) for q in quantiles]
        return [max(self.rounded_up(q), self.rounded_up(of.lower)) for q in quantiles]

    @staticmethod
    def rounded_up(quantile: float) -> float:
        return math.ceil(quantile - 1e-6 * max(1.0, abs(quantile))) if math.isfinite(quantile) else quantile

    def stands(self, of: Judged, name: str, tick: int, value: float, rung: int) -> float:
        """Where a value stands among the quantiles of a rung."""
        rung = LAST if rung == LEVEL else rung
        below = self.below(max(math.sqrt(of.units[rung].value), of.unit_floor))
        if self.set.aggregate == "count" or (self.set.demand and value <= f32(of.lower)):
            return value - drawn(name, tick) * below
        return value

    # --- issuing ----------------------------------------------------------------------------------------------------

    def locations(self, due: Due) -> list[list[float] | None]:
        """Of the tracked rungs, for each step of the horizon; None where one cannot answer."""
        horizon, season = self.set.horizon, self.set.season
        recent = [value for value in due.window[0][-min(season, self.set.length) :] if value is not None]
        last = recent[-1] if recent else None
        asked = due.season[: min(horizon, season)]
        filled = [last if value is None else value for value in asked]
        seen = sum(value is not None for value in asked)
        seasonal = None
        if seen >= 0.5 * len(asked) and None not in filled:
            seasonal = [filled[h % season] for h in range(horizon)]
        return [None, seasonal, None if last is None else [last] * horizon]

    def issue(self, of: Judged, due: Due, settled: int) -> None:
        scale = due.scalers[0][1]
        if of.offsets is None:
            of.offsets = self.tables(lambda rung, k: [f32(delta) for delta in self.cohort[rung][k]])
        of.unit_floor = max(1e-3 * scale, 1e-9)
        units = [max(math.sqrt(u.value) if u.updates else 0.5 * scale, of.unit_floor) for u in of.units]
        locations = self.locations(due)
        loss = [of.losses[r].value if of.losses[r].updates else math.inf for r in (SEASONAL, LAST)]
        better = SEASONAL if loss[0] < loss[1] else LAST
        if better != of.favourite and (of.since is None or due.origin >= of.since + self.set.season):
            of.favourite, of.since = better, due.origin
        rung = LEVEL
        if locations[SEASONAL] and (of.favourite == SEASONAL or not locations[LAST]):
            rung = SEASONAL
        elif locations[LAST]:
            rung = LAST
        lowest = of.lower - self.below(units[LAST])
        wide = [min(max(due.level + LEVEL_WIDTH * scale * z, lowest), of.upper) for z in self.normal]

        def at(place: int, horizon: int) -> list[float] | None:
            if place == MODEL and rung == LEVEL:
                return wide
            location = locations[place]
            return location and self.quantiles(of, place, horizon, location[horizon - 1], units[place])

        def published(horizon: int) -> list[float]:
            quantiles = at(MODEL if rung == LEVEL else rung, horizon)
            assert quantiles is not None
            return self.shown(of, [f32(value) for value in quantiles] if self.set.demand else quantiles)

        center = [due.level] * self.set.horizon if rung == LEVEL else locations[rung]
        said = {
            "due": due,
            "rung": rung,
            "quantiles": [published(h) for h in range(1, self.set.horizon + 1)],
            "mean": [self.corrected(of, value, h) for h, value in enumerate(center, 1)],
            "observed_share": sum(value is not None for value in due.window[0]) / self.set.length,
        }
        self.forecasts.setdefault(due.series_id, []).append(said)
        if not due.revision:
            self.watch_run(of, due)
        for k, h in enumerate(self.set.horizons):
            if due.origin + h > settled:
                quantiles = [at(r, h) for r in range(3)]
                rounded = [q and [f32(value) for value in q] for q in quantiles]
                mean = f32(min(max(center[h - 1], of.lower), of.upper))
                of.ledger[due.origin + h, k] = Issued(rounded, rung, mean)

    def corrected(self, of: Judged, mean: float, horizon: int) -> float:
        """By how much the means of that bucket were too small lately."""
        bucket = next(k for k, h in enumerate(self.set.horizons) if h >= horizon)
        actual, means, ticks, *_ = self.totals[bucket]
        mean = min(max(mean, of.lower), of.upper)
        if actual > 0 and means > 0:
            ratio = min(max(actual / means, 0.5), 2.0)
            mean *= 1.0 + (ratio - 1.0) * ticks / (ticks + 3.0)
        return min(max(mean, of.lower), of.upper)

    # --- an actual value --------------------------------------------------------------------------------------------

    def actual(self, of: Judged, name: str, tick: int, value: float | None, before: float | None, offset: int) -> None:
        """The cell of `tick` is settled; `before` lies one season earlier."""
        if value is not None and before is not None:
            of.season_change.take(abs(value - before), self.decay)
        entries = {k: of.ledger.pop((tick, k)) for k in range(len(self.set.horizons)) if (tick, k) in of.ledger}
        if not entries:
            return
        if value is not None:
            at = [self.stands(of, name, tick, value, rung) for rung in range(4)]
            self.score(of, value, at, entries)
            results = {k: self.result(of, value, at, issued) for k, issued in entries.items()}
            deciding = self.watch(of, name, tick, value, at, entries, offset)
            self.learn(of, value, at, entries, deciding)
        for k in entries:
            origin = tick - self.set.horizons[k]
            of.results.setdefault(origin, {})[k] = self.nothing if value is None else results[k]
        if self.set.records and len(self.set.horizons) - 1 in entries:
            origin = tick - self.set.horizon
            results = of.results.pop(origin)
            horizons = [results.get(k, self.nothing) for k in range(len(self.set.horizons))]
            result = {"origin": origin, "offset": offset, "horizons": horizons, **self.running(of)}
            self.records.setdefault(name, []).append(result)
        if tick % max(self.set.season, self.set.every) == 0 and of.scored:
            summary = {"tick": tick, "offset": offset, "scored": of.scored, **self.running(of)}
            self.summaries.setdefault(name, []).append(summary)

    def result(self, of: Judged, value: float, at: list[float], issued: Issued) -> tuple[Any, ...]:
        levels = self.set.levels
        both = [issued.rungs[r] for r in (SEASONAL, LAST)]
        naive = [pinball(value, self.shown(of, q), levels) if q else None for q in both]
        covering, quantiles = issued.published, self.shown(of, issued.published)
        inside = [covering[low] <= at[issued.rung] <= covering[high] for low, high in self.intervals]
        error = value - quantiles[self.median]
        return (value, error, pinball(value, quantiles, levels), *naive, inside)

    def tracked(self, issued: Issued, rung: int) -> list[float] | None:
        return None if rung == MODEL and issued.rung == LEVEL else issued.rungs[rung]

    def score(self, of: Judged, value: float, at: list[float], entries: dict[int, Issued]) -> None:
        levels, n = self.set.levels, len(entries)
        for rung in range(3):
            kept = [q for q in (self.tracked(issued, rung) for issued in entries.values()) if q]
            if kept:
                loss = sum(pinball(value, self.shown(of, q), levels) for q in kept)
                of.losses[rung].take(loss / len(kept), self.decay)
        said = [self.shown(of, issued.published) for issued in entries.values()]
        of.losses[ISSUED].take(sum(pinball(value, q, levels) for q in said) / n, self.decay)
        of.error.take(sum(abs(value - q[self.median]) for q in said) / n, self.decay)
        for (low, high), mean in zip(self.intervals, of.coverage, strict=True):
            hits = [issued.published[low] <= at[issued.rung] <= issued.published[high] for issued in entries.values()]
            mean.take(sum(hits) / n, self.decay)
        of.scored += n

    def score_of_bin(self, number: int) -> float:
        """Mean of a standard normal variable between two neighbouring levels."""
        edges = [-math.inf, *self.normal, math.inf]
        density = [math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) for z in edges]
        shares = [0.0, *self.set.levels, 1.0]
        return (density[number] - density[number + 1]) / (shares[number + 1] - shares[number])

    def learn(self, of: Judged, value: float, at: list[float], entries: dict[int, Issued], frozen: bool) -> None:
        upper = f32(of.upper)
        below = [self.below(max(math.sqrt(unit.value), of.unit_floor)) for unit in of.units]
        units = [Mean(unit.value, unit.updates) for unit in of.units]
        for k, issued in entries.items():
            self.totals[k][3] += value
            self.totals[k][4] += issued.mean
            for rung in range(3):
                quantiles = self.tracked(issued, rung)
                if quantiles is None:
                    continue
                lower, stands = f32(of.lower - below[rung]), at[rung]
                moved = list(of.offsets[rung][k])
                for i, (q, level) in enumerate(zip(quantiles, self.set.levels, strict=True)):
                    above = stands > q
                    if stands == q or (q <= lower and not above) or (q >= upper and above):
                        continue
                    step = self.rate(k) * (above - (1.0 - level))
                    moved[i] = max(-OFFSET_MAX, min(OFFSET_MAX, moved[i] + step))
                    self.above[rung][k][i] += above
                    self.counted[rung][k][i] += 1
                of.offsets[rung][k] = [f32(delta) for delta in self.rising(moved, rung, k)]
                if k == 0 and not frozen:
                    median = self.shown(of, quantiles)[self.median]
                    self.learn_unit(units[rung], value - median, of.unit_floor)
        of.units = units

    def rate(self, k: int) -> float:
        """Beyond a season a miss moves an offset by less, as the root of how many seasons it is."""
        return self.set.rate * min(1.0, math.sqrt(self.set.season / self.set.horizons[k]))

    def learn_unit(self, unit: Mean, residual: float, floor: float) -> None:
        size = abs(residual)
        if unit.updates:
            size = min(size, 8.0 * max(math.sqrt(unit.value), floor))
        unit.take(size * size, self.decay)

    def watermark_passed(self) -> None:
        """The cohort takes what was learned since the last tick was closed."""
        counted = any(n for of_rung in self.counted for of_horizon in of_rung for n in of_horizon)
        for totals in self.totals if counted else ():
            if totals[3:] != [0.0, 0.0]:
                actual, means, ticks, *new = totals
                fade = self.decay
                totals[:] = [fade * actual + new[0], fade * means + new[1], fade * ticks + 1, 0.0, 0.0]
        for rung in range(3):
            for k in range(len(self.set.horizons)):
                above, counted, offsets = self.above[rung][k], self.counted[rung][k], self.cohort[rung][k]
                if not any(counted):
                    continue
                for i, level in enumerate(self.set.levels):
                    if counted[i]:
                        step = self.rate(k) * (above[i] / counted[i] - (1.0 - level))
                        offsets[i] = max(-OFFSET_MAX, min(OFFSET_MAX, offsets[i] + step))
                self.cohort[rung][k] = self.rising(offsets, rung, k)
                self.above[rung][k], self.counted[rung][k] = [0] * len(above), [0] * len(above)

    def running(self, of: Judged) -> dict[str, Any]:
        known = of.losses[ISSUED].updates > 0
        naive = min(of.losses[r].value if of.losses[r].updates else math.inf for r in (SEASONAL, LAST))
        loss = of.losses[ISSUED].value
        scaled = known and of.season_change.updates > 0 and of.season_change.value > 0
        return {
            "mase": of.error.value / of.season_change.value if scaled else None,
            "coverage": [mean.value if known else None for mean in of.coverage],
            "pinball": loss if known else None,
            "skill": 1.0 - loss / naive if known and 0 < naive < math.inf else None,
        }
