"""Random streams and logs for the property test: everything the settings allow, in small."""

from __future__ import annotations

import random
from typing import Any

from tests.core.oracle import Idle, Reading, Settings, Tombstone

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_774_000_000_000  # March 2026: a local day of 23 hours is near


def random_settings(draw: random.Random) -> dict[str, Any]:
    """A stream's settings; durations in ms."""
    local = draw.random() < 0.15
    step = DAY_MS if local else HOUR_MS
    length = draw.choice([4, 8, 16])
    settings: dict[str, Any] = {
        "topic": "t",
        "freq": step,
        "context_length": length,
        "horizon": draw.choice([1, 2, 4, 7]),
        "forecast_every": draw.choice([1, 1, 1, 3]),
        "aggregate": draw.choice(["mean", "mean", "last", "min", "max", "sum", "count"]),
        "max_out_of_orderness": int(step * draw.choice([0, 0, 0.5, 1, 2])),
        "allowed_lateness": int(step * draw.choice([0, 0, 1, 2.5, 6])),
        "seasonality": (step * draw.choice([2, 3, 5]),),
        "min_readings": draw.choice([1, 3, 8]),
        "accuracy": draw.choice(["records", "summary"]),
        "deduplicate": draw.choice(["off", "timestamp"]),
        "max_watermark_jump": 20 * step,
        "drift_report_every": 7 * step,
        "idle_timeout": 1000,
        "forget_after": 10**14,  # forgetting has tests of its own
    }
    if local:
        settings["timezone"] = draw.choice(["Europe/Berlin", "America/New_York"])
    if draw.random() < 0.3:
        settings["past_covariates"], settings["future_covariates"] = ("x",), draw.choice([(), ("price",)])
        settings["targets"] = draw.choice([(), ("1", "")])
    if draw.random() < 0.4:
        settings["dormant_after"] = draw.choice([3, 6])
    if settings["aggregate"] not in ("sum", "count"):
        settings["readings_per_step"] = draw.choice([None, 1, 1, 3])
        settings["empty"] = draw.choice(["missing", "missing", "zero"])
    if draw.random() < 0.3:
        settings["quantile_levels"] = draw.choice([(0.5,), (0.1, 0.5, 0.9), (0.05, 0.25, 0.5)])
    if draw.random() < 0.5:
        demand = settings["aggregate"] in ("sum", "count")
        lowest = draw.choice([0.1, 0.0 if demand else -1.0])
        rule = {"match": draw.choice(["a*", "*", "b*"]), "lower_bound": lowest, "upper_bound": 12.3}
        if not demand:
            rule["aggregate"] = draw.choice(["max", "last", "min"])
        settings["overrides"] = (rule,)
    return settings


def random_log(draw: random.Random, settings: dict[str, Any], length: int) -> list[Reading | Tombstone | Idle]:
    """`length` entries: a few series with habits of their own, bad clocks, gaps, repeats, tombstones."""
    names = ["a.1", "a.2", "b", "a.x", "d"][: draw.randint(1, 5)]
    if settings.get("future_covariates"):
        names.append("a.price")
    step, clock = settings["freq"], Settings(settings).tick
    rate = settings.get("readings_per_step") or draw.choice([1, 2])
    pace = step / (rate * len(names))  # ms of event time an entry
    integers = settings["aggregate"] in ("sum", "count") or draw.random() < 0.3
    orderly = draw.random() < 0.4
    now, entries, done = float(START_MS + draw.randrange(step)), [], []
    gap_share, late_share = draw.choice([0.0, 0.01]), draw.choice([0.0, 0.05])
    for offset in range(length):
        now += pace if orderly else draw.expovariate(1 / pace)
        chance = draw.random()
        if chance < gap_share:
            now += step * draw.choice([3, 15, 30, 60])
        if chance > 0.995:
            entries.append(Tombstone(offset, draw.choice([*names, "unknown"])))
            continue
        if 0.99 < chance <= 0.993:
            entries.append(Idle())
        stamp = now if orderly else now - draw.random() * settings["max_out_of_orderness"]
        if draw.random() < late_share:
            stamp -= draw.random() * step * 8
        elif draw.random() < 0.003:
            stamp += step * draw.choice([25, 200])  # a clock that is wrong
        name = names[offset % len(names)] if orderly else draw.choice(names)
        if name == "a.price" and settings.get("future_covariates"):
            stamp += step * draw.choice([0, 1, 3, 9, 40])
        value = random_value(draw, integers, clock(int(stamp)))
        if done and draw.random() < 0.05:
            old = draw.choice(done[-10:])
            name, stamp = old.series_id, old.timestamp_ms
        done.append(Reading(offset, name, int(stamp) // 1000 * 1000, value))
        entries.append(done[-1])
    return entries


def random_value(draw: random.Random, integers: bool, tick: int) -> float:
    if integers:
        return float(max(0, draw.randint(-4, 6)))
    level = 20.0 if draw.random() < 0.01 else 5.0  # spikes
    return level + (tick % 5) + draw.gauss(0, 1)
