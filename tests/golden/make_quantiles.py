"""Writes quantiles.json: small logs and the quantiles that the oracle issues for them, to hold later cores against.

Run it from the repository's root, `python -m tests.golden.make_quantiles`, only when the semantics are meant to change;
the difference of the file is then what the change means. The logs come along, so that no random generator matters.
"""

import json
import random
from pathlib import Path
from typing import Any

from tests.core.oracle import Oracle, Reading

FILE = Path(__file__).with_name("quantiles.json")
HOUR, START = 3_600_000, 493_000

STORIES: dict[str, dict[str, Any]] = {
    "sensors with corrections": {
        "context_length": 8,
        "horizon": 3,
        "seasonality": [4 * HOUR],
        "max_out_of_orderness": 0,
        "allowed_lateness": 3 * HOUR,
        "readings_per_step": 1,
    },
    "means of several readings, with holes": {
        "context_length": 12,
        "horizon": 4,
        "seasonality": [6 * HOUR],
        "forecast_every": 2,
        "upper_bound": 14.1,
    },
    "demand with zeros": {"context_length": 8, "horizon": 2, "seasonality": [3 * HOUR], "aggregate": "sum"},
    "counts": {"context_length": 8, "horizon": 2, "seasonality": [3 * HOUR], "aggregate": "count"},
}


def log_of(name: str) -> list[list[Any]]:
    """[series, timestamp_ms, value], 90 of them."""
    draw, log = random.Random(name), []
    for i in range(90):
        series, hour = "ab"[i % 2], START + i // 2 - (2 if draw.random() < 0.05 else 0)
        value = round(draw.gauss(10, 2) + hour % 4, 3)
        if name in ("demand with zeros", "counts"):
            value = float(draw.choice([1, 1, 2, 5]))
            hour += draw.choice([0, 0, 1])
        log.append([series, hour * HOUR + draw.randrange(HOUR // 1000) * 1000, value])
    return log


def golden(settings: dict[str, Any], log: list[list[Any]]) -> list[dict[str, Any]]:
    oracle = Oracle(settings).run([Reading(offset, *reading) for offset, reading in enumerate(log)])
    return [
        {
            "series_id": series,
            "origin": said["due"].origin,
            "revision": said["due"].revision,
            "rung": said["rung"],
            "quantiles": [[float(f"{value:.8g}") for value in row] for row in zip(*said["quantiles"], strict=True)],
        }
        for series, forecasts in oracle.judge.forecasts.items()
        for said in forecasts[-6:]  # of a long calibration the end tells most
    ]


def stories() -> dict[str, Any]:
    made = {}
    for name, settings in STORIES.items():
        whole = {"topic": "t", "freq": HOUR, "quantile_levels": [0.1, 0.5, 0.9], "min_readings": 3} | settings
        log = log_of(name)
        made[name] = {"settings": whole, "log": log, "forecasts": golden(whole, log)}
    return made


if __name__ == "__main__":
    text = json.dumps(stories(), indent=None, separators=(",", ":"))
    FILE.write_text(text.replace("],[", "],\n[").replace("},{", "},\n{") + "\n")
    print(f"wrote {FILE.name}")
