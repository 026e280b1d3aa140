"""What a stream has published, held against the readings in its input topic. Also a command, for a deployment:

    python tests/scenario/check_forecasts.py tidecast.toml

It takes nothing from the packages it judges: readings, cells, due origins and scores are worked out here from the two
topics and the configuration file alone. For input in JSON (single readings or packs, usual field names), event time
moved by the readings alone, no corrections (`allowed_lateness = 0`).
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

DAY_MS = 86_400_000
UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": DAY_MS}
SCORED = (1, 2, 3, 6, 12, 24, 48, 96)
EXAMPLES_MAX = 5  # of each kind of problem
FLOAT32 = 1e-5  # relative: forecasts are published as float32
Cell = tuple[str, int]


def duration_ms(text: str) -> int:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    return round(float(digits) * UNITS_MS[text[len(digits) :]])


@dataclass(frozen=True)
class Rules:
    """A stream's settings as far as they decide what must be published."""

    name: str
    stream: dict[str, Any]
    bootstrap: str

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> Rules:
        settings = tomllib.loads(path.read_text())
        name = name or next(iter(settings["streams"]))
        return cls(name, settings["streams"][name], settings["kafka"]["bootstrap_servers"])

    def get(self, key: str, default: Any) -> Any:
        return self.stream.get(key, default)

    @cached_property
    def step_ms(self) -> int:
        return duration_ms(self.stream["freq"])

    @cached_property
    def zone(self) -> ZoneInfo | None:
        return ZoneInfo(self.stream["timezone"]) if "timezone" in self.stream else None

    @cached_property
    def aggregate(self) -> str:
        return str(self.get("aggregate", "mean"))

    @cached_property
    def empty(self) -> float | None:
        default = "zero" if self.aggregate in ("sum", "count") else "missing"
        return 0.0 if self.get("empty", default) == "zero" else None

    @cached_property
    def lower(self) -> float:
        return float(self.get("lower_bound", 0.0 if self.aggregate in ("sum", "count") else -np.inf))

    @cached_property
    def horizon(self) -> int:
        return int(self.get("horizon", 24))

    @cached_property
    def scored(self) -> list[int]:
        return sorted({h for h in SCORED if h < self.horizon} | {self.horizon})

    @cached_property
    def levels(self) -> list[float]:
        return list(self.get("quantile_levels", [k / 10 for k in range(1, 10)]))

    @cached_property
    def dormant(self) -> int:
        seasons = [duration_ms(each) for each in self.get("seasonality", [])]
        day = 7 * DAY_MS if self.step_ms == DAY_MS else DAY_MS
        season = max(2, min(seasons, default=day) // self.step_ms)
        return int(self.get("dormant_after", max(self.get("context_length", 512), 2 * season)))

    @cached_property
    def behind_ms(self) -> int:
        return duration_ms(self.get("max_out_of_orderness", f"{self.step_ms}ms"))

    def topic(self, kind: str) -> str:
        outputs = self.get("outputs", {})
        return str(outputs.get(kind) or f"{outputs.get('prefix', self.name)}.{kind}")

    def tick(self, ms: int) -> int:
        if self.zone is None:
            return ms // self.step_ms
        return (datetime.fromtimestamp(ms / 1000, self.zone).date() - date(1970, 1, 1)).days

    def is_target(self, series_id: str) -> bool:
        variable = series_id.rpartition(".")[2] if "." in series_id else ""
        covariates = [*self.get("past_covariates", []), *self.get("future_covariates", [])]
        targets = self.get("targets", [])
        return variable not in covariates and (not targets or variable in targets)

    def value(self, readings: list[float]) -> float:
        if self.aggregate == "count":
            return float(len(readings))
        if self.aggregate == "last":
            return readings[-1]  # files are produced in event-time order
        total = float(np.sum(readings))
        return {"mean": total / len(readings), "sum": total, "min": min(readings), "max": max(readings)}[self.aggregate]


@dataclass
class Series:
    partition: int
    cells: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # tick → readings, log order
    values: dict[int, float] = field(default_factory=dict)  # tick → value, of settled cells that have one
    settled: int = 0  # newest settled tick
    origins: set[int] = field(default_factory=set)  # where forecasts are due


@dataclass
class Report:
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    facts: dict[str, Any] = field(default_factory=dict)

    def problem(self, kind: str, example: object) -> None:
        self.problems[kind] += 1
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(str(example))

    def __str__(self) -> str:
        return json.dumps({"problems": dict(self.problems), "examples": dict(self.examples), **self.facts}, indent=1)


def messages(bootstrap: str, topic: str) -> Iterable[Any]:
    """All of a topic, partition by partition in log order within each."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "enable.partition.eof": True})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
    ended = 0
    while ended < len(partitions):
        for message in consumer.consume(10_000, 0.5):
            if message.error() is None:
                yield message
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended += 1
    consumer.close()


def moment_ms(text: Any) -> int:
    if not isinstance(text, str):
        return int(text)
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


class Check:
    """The input, what must come of it, and what did."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.report = Report()
        self.series: dict[str, Series] = {}
        self.deleted: set[str] = set()  # what was published of these is not judged
        self.closed_after: dict[int, dict[int, int]] = defaultdict(dict)  # partition → offset → newest closed tick

    def run(self) -> Report:
        self._read_input()
        self._expect()
        forecasts = self._read_forecasts()
        records = self._read_accuracy(forecasts)
        self._summarise(forecasts, records)
        return self.report

    # --- the input --------------------------------------------------------------------------------------------------

    def _read_input(self) -> None:
        rules = self.rules
        refused = Counter[str]()
        dead = set()
        for message in messages(rules.bootstrap, rules.topic("dead-letters")):
            headers = dict(message.headers() or ())
            refused[headers["tidecast.error.reason"].decode()] += 1
            dead.add((int(headers["tidecast.error.partition"]), int(headers["tidecast.error.offset"])))
        newest: dict[int, int] = {}
        count = 0
        for message in messages(rules.bootstrap, rules.stream["topic"]):
            at = message.partition()
            if message.value() is None:
                self.deleted.add(message.key().decode())
            elif (at, message.offset()) not in dead:
                for series_id, stamp, value in _readings(message):
                    count += 1
                    newest[at] = max(stamp, newest.get(at, stamp))
                    owner = self.series.setdefault(series_id, Series(at))
                    owner.cells[rules.tick(stamp)].append(value)
            if at in newest:
                self.closed_after[at][message.offset()] = rules.tick(newest[at] - rules.behind_ms) - 1
        self.report.facts |= {"readings": count, "series": len(self.series), "dead_letters": dict(refused)}

    def _expect(self) -> None:
        """Settle every series on its own: in the end nothing depends on the others but how far time has come."""
        rules = self.rules
        self.series = {name: series for name, series in self.series.items() if name not in self.deleted}
        per_step, every = rules.get("readings_per_step", None), int(rules.get("forecast_every", 1))
        for name, series in self.series.items():
            last = max(self.closed_after[series.partition].values())
            while per_step and len(series.cells.get(last + 1, ())) >= per_step:
                last += 1
            series.settled = last
            seen, observed = min(series.cells), 0
            for tick in range(min(series.cells), last + 1):
                readings = series.cells.get(tick)
                value = rules.value(readings) if readings else rules.empty
                seen = tick if readings else seen
                if value is not None:
                    series.values[tick] = value
                    observed += 1
                awake = rules.empty is not None or tick - seen <= rules.dormant
                warm = observed >= rules.get("min_readings", 8)
                if rules.is_target(name) and tick % every == 0 and warm and awake:
                    series.origins.add(tick)

    # --- forecasts --------------------------------------------------------------------------------------------------

    def _read_forecasts(self) -> dict[Cell, tuple[Any, str]]:
        """(series, origin tick) → (quantiles [Q, H], model)."""
        found: dict[Cell, tuple[Any, str]] = {}
        for message in messages(self.rules.bootstrap, self.rules.topic("forecasts")):
            if message.key().decode() in self.deleted:
                continue
            forecast = orjson.loads(message.value())
            cell = forecast["series_id"], self.rules.tick(moment_ms(forecast["origin"]))
            if forecast["revision"] != 0:
                self.report.problem("revised without a correction", cell)
            elif cell in found:
                self.report.problem("forecast published twice", cell)
            else:
                quantiles = np.array(forecast["quantiles"], np.float32)  # null: NaN
                found[cell] = quantiles, forecast["model"]
                self._judge_forecast(cell, forecast, quantiles)
        due = {(name, tick) for name, series in self.series.items() for tick in series.origins}
        for cell in due - found.keys():
            self.report.problem("forecast missing", cell)
        for cell in found.keys() - due:
            self.report.problem("forecast not due", cell)
        self.report.facts |= {"forecasts": len(found), "due": len(due)}
        return found

    def _judge_forecast(self, cell: Cell, forecast: dict[str, Any], quantiles: Any) -> None:
        rules, report = self.rules, self.report
        if quantiles.shape != (len(rules.levels), rules.horizon) or forecast["quantile_levels"] != rules.levels:
            report.problem("other shape", (cell, quantiles.shape))
            return
        if not np.isfinite(quantiles).all():
            report.problem("quantile not finite", cell)
        if (np.diff(quantiles, axis=0) < 0).any():
            report.problem("quantiles cross", cell)
        if quantiles.min() < rules.lower or quantiles.max() > rules.get("upper_bound", np.inf):
            report.problem("out of bounds", (cell, quantiles.min(), quantiles.max()))
        if forecast["point"] != forecast["quantiles"][rules.levels.index(0.5)]:
            report.problem("point is not the median", cell)
        self._judge_cause(cell, forecast["input"])

    def _judge_cause(self, cell: Cell, cause: dict[str, int]) -> None:
        """The reading named is the one that made the origin ready: before it the watermark had not passed."""
        partition, offset = cause["partition"], cause["offset"]
        series = self.series.get(cell[0])
        closed = self.closed_after.get(partition, {})
        if series is None or partition != series.partition or offset not in closed:
            self.report.problem("input is no reading of its partition", (cell, cause))
        elif self.rules.get("readings_per_step", None) is None and not (
            closed.get(offset - 1, -sys.maxsize) < cell[1] <= closed[offset]
        ):
            self.report.problem("input is not the reading that made it ready", (cell, cause))

    # --- accuracy ---------------------------------------------------------------------------------------------------

    def _read_accuracy(self, forecasts: dict[Cell, tuple[Any, str]]) -> dict[Cell, list[dict[str, Any]]]:
        records: dict[Cell, list[dict[str, Any]]] = {}
        for message in messages(self.rules.bootstrap, self.rules.topic("accuracy")):
            record = orjson.loads(message.value() or b"{}")
            if record.get("kind") != "record" or record["series_id"] in self.deleted:
                continue
            cell = record["series_id"], self.rules.tick(moment_ms(record["origin"]))
            if cell in records:
                self.report.problem("accuracy published twice", cell)
            elif cell not in forecasts:
                self.report.problem("accuracy without a forecast", cell)
            else:
                records[cell] = record["horizons"]
                self._judge_record(cell, record["horizons"], forecasts[cell][0])
        if self.rules.get("accuracy", "summary") == "records":
            settled = {c for c in forecasts if c[1] + self.rules.horizon <= self.series[c[0]].settled}
            for cell in settled ^ records.keys():
                self.report.problem("accuracy missing" if cell in settled else "accuracy too early", cell)
        self.report.facts["accuracy_records"] = len(records)
        return records

    def _judge_record(self, cell: Cell, horizons: list[dict[str, Any]], quantiles: Any) -> None:
        if [each["horizon"] for each in horizons] != self.rules.scored:
            self.report.problem("other horizons scored", cell)
            return
        values = self.series[cell[0]].values
        for each in horizons:
            target = self.rules.tick(moment_ms(each["target"]))
            actual = values.get(target)
            if target != cell[1] + each["horizon"]:
                self.report.problem("wrong target", (cell, each))
            elif (actual is None) != (each["actual"] is None):
                self.report.problem("actual unlike the readings", (cell, each, actual))
            elif actual is not None:
                self._judge_score(cell, each, actual, quantiles[:, each["horizon"] - 1].astype(np.float64))

    def _judge_score(self, cell: Cell, each: dict[str, Any], actual: float, issued: Any) -> None:
        levels = np.array(self.rules.levels)
        seen = float(np.float32(actual))  # windows hold float32
        near = FLOAT32 * max(1e-30, abs(seen), float(np.abs(issued).max()))
        above = seen - issued
        pinball = float(np.maximum(levels * above, (levels - 1) * above).mean())
        if abs(each["actual"] - actual) > near:
            self.report.problem("actual unlike the readings", (cell, each, actual))
        if abs(each["error"] - above[len(levels) // 2]) > near or abs(each["pinball"] - pinball) > near:
            self.report.problem("score unlike the forecast", (cell, each, pinball))
        for k, claimed in enumerate(each["covered"]):
            low, high = issued[k], issued[len(levels) - 1 - k]
            on_the_edge = min(abs(seen - low), abs(seen - high)) <= near
            if claimed != (low <= seen <= high) and not on_the_edge:
                self.report.problem("covered unlike the forecast", (cell, each, low, high))

    # --- how good ---------------------------------------------------------------------------------------------------

    def _summarise(self, forecasts: dict[Cell, tuple[Any, str]], records: dict[Cell, list[dict[str, Any]]]) -> None:
        """Over the origins of the second half: coverage of the widest interval, pinball beside both naive forecasts."""
        ticks = sorted(origin for _, origin in forecasts)
        if not ticks:
            return
        middle = ticks[len(ticks) // 2]
        covered, loss, models = [], [], Counter[str]()
        for cell, (_, model) in forecasts.items():
            models[model] += cell[1] >= middle
        for cell, horizons in records.items():
            if cell[1] >= middle:
                known = [each for each in horizons if each["actual"] is not None]
                covered += [each["covered"][0] for each in known]
                naive = ("seasonal_naive", "last_value")
                loss += [
                    (each["pinball"], *(each["baselines"][name] for name in naive))
                    for each in known
                    if None not in each["baselines"].values()
                ]
        total = np.array(loss, np.float64).reshape(-1, 3).sum(axis=0)
        self.report.facts |= {
            "second_half": {
                "from": str(datetime.fromtimestamp(middle * self.rules.step_ms / 1000, UTC)),
                "answered_by": dict(models),
                "scored": len(covered),
                "coverage": round(float(np.mean(covered)), 4) if covered else None,
                "pinball": float(total[0]),
                "against_seasonal_naive": round(float(total[0] / total[1] - 1), 4) if total[1] else None,
                "against_last_value": round(float(total[0] / total[2] - 1), 4) if total[2] else None,
            }
        }


def _readings(message: Any) -> Iterable[tuple[str, int, float]]:
    """(series id, event time, value) of one message."""
    body = orjson.loads(message.value())
    for each in body if isinstance(body, list) else [body]:
        stamp = moment_ms(each["timestamp"])
        if "values" in each:
            head = f"{each['entity']}." if "entity" in each else ""
            yield from ((head + name, stamp, float(value)) for name, value in each["values"].items())
        else:
            yield each["series_id"], stamp, float(each["value"])


def check(path: Path, stream: str | None = None) -> Report:
    return Check(Rules.read(path, stream)).run()


if __name__ == "__main__":
    result = check(Path(sys.argv[1]), *sys.argv[2:3])
    print(result)
    sys.exit(1 if result.problems else 0)
