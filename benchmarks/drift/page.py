"""docs/DRIFT.md out of the figures that were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.drift.figures import TOLD

INTRODUCTION = """# Drift

What the detectors of a worker say of real data, measured by `python -m benchmarks.drift --data DIR` (DIR holds
`ett/` and `nab/`; the UCI sets come along). Every figure is of the worker's own core: readings go through
`PartitionState`, forecasts through `Predictor`, models and thresholds are what `tidecast train` makes of the data
before.

| detector | what it watches |
| --- | --- |
| `cusum` | two-sided CUSUM (k = .5) of one-step residuals in units of u, winsorised at 4; u is frozen above h/2 |
| `cusum_horizon` | the same of the residual a whole horizon ahead, once a horizon |
| `level` | two-sided CUSUM (k = 2) of a season's mean against what was usual for weeks, once 14 seasons are known |
| `missing`, `flatline` | missing, or equal, cells at the end of a window: a season, and twice as long as before |
| `storm`, `outage` | many series of a partition at once, of the first two or the last two: one record, not theirs |
| reports | `cusum_share`, `pit` (PSI), `scale`, `bias`, `missing`, `flatline`, `coverage_H`: `drift_report_every` |

An alarm is told when the watermark closes its tick: only then is known whether it is a storm. It carries `scale`
(errors of late over usual ones) and `bias`. A `storm` asks for training through `<stream>.control`. After an alarm
a series rests for a season. `level` gets half of the rate, its threshold from the history as it came
(`model_core/drift/level_limits.py`); each CUSUM of errors gets a quarter, by moving-block bootstrap
(`model_core/drift/limits.py`). Without 400 seasons of all series to learn from, `level` is off and the CUSUMs share the
rate. Alarms are those of river 0.26.1, frouros 0.9.0 and plain programs (`tests/core/test_drift_oracles.py`,
`test_drift_level.py`).

What the ladder does with a sick series is shown by `tests/scenario/test_ladder_shown.py`: cold start, 40 % missing,
a gap of more than a season, a flatline, values ×10, NaN of a model, a model file that is gone; each is reached,
comes back, and leaves the other series their model; [LADDER.md](LADDER.md) has pictures of it.
"""


def write_page(folder: Path) -> Path:
    raw = folder / "drift"
    parts = [INTRODUCTION]
    parts += (
        _false_alarms(_read(raw, "false_alarms")) + _delays(_read(raw, "delays")) + _labelled(_read(raw, "labelled"))
    )
    path = folder / "DRIFT.md"
    path.write_text("\n".join(parts) + "\n")
    return path


def _read(raw: Path, name: str) -> list[dict[str, Any]]:
    path = raw / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else []


def _table(head: list[str], rows: list[list[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def _false_alarms(found: list[dict[str, Any]]) -> list[str]:
    rows: list[list[object]] = []
    for order in ("weeks in random order", "as it came"):
        for rate in (100.0, 1000.0):
            these = [each for each in found if (each["order"], each["rate"]) == (order, rate)]
            for each in these:
                alarms = [each["alarms"].get(name, 0) for name in TOLD]
                h = " / ".join("–" if threshold is None else f"{threshold:.1f}" for threshold in each["thresholds"])
                flat = each["alarms"].get("flatline", 0) + each["alarms"].get("missing", 0)
                told = f"{each['per_million']:.0f}"
                rows.append([each["set"], order, f"{rate:.0f}", f"{each['ticks']:,}", h, *alarms, told, flat])
            ticks = sum(each["ticks"] for each in these)
            if these:
                alarms = [sum(each["alarms"].get(name, 0) for each in these) for name in TOLD]
                told = f"**{sum(alarms) / ticks * 1e6:.0f}**"
                rows.append(["**all**", order, f"**{rate:.0f}**", f"{ticks:,}", "", *alarms, told, ""])
    return [
        "## False alarms",
        "",
        "Trained on the first half of a set, counted on the second (alarms that a storm keeps back included).",
        "With its weeks in random order a set does not drift: what was learned from and what is watched are",
        "alike. As it came, real change is among the alarms. Runs (`missing`, `flatline`) are counted beside:",
        "they are in the data, and make no part of the rate.",
        "",
        *_table(
            ["set", "order", "asked a million", "ticks", "h", "cusum", "horizon", "level", "found a million", "runs"],
            rows,
        ),
    ]


def _delays(found: list[dict[str, Any]]) -> list[str]:
    rows = []
    for each in found:
        within = [f"{100 * share:.0f} %" for share in each["within"].values()]
        median = "–" if each["median_ticks"] is None else f"{each['median_ticks']:.0f} h"
        rows.append([each["set"], each["change"], each["injections"], *within, median])
    return [
        "## Delay",
        "",
        "A change that stays, injected into the raw series of the second half (rate 100 a million), 8 random",
        "places a series. σ is the standard deviation of the seasonal difference y_t − y_{t−m}: what a day",
        "usually differs from the day before. `none` is the control: what alarms there is chance, or in the data.",
        "",
        "Before each change a worker has seen 60 days of the series, so that `level` knows what is usual.",
        "A forecast that corrects itself shows a step in one residual: a tick later the newest values say the new",
        "level, so the CUSUMs of errors see none of it. `level` needs two days at least, since one day apart is no",
        "change that stays, and what it can see is bounded by what levels do by themselves: at one false alarm in",
        "10,000 hours of a series the mean of a day moves by 2.7 σ (ETTh1), 3.6 σ (ETTh2), 2.3 σ (UCI 374) and",
        "1.6 σ (UCI 235) just as often. So a step of 1 σ is mostly lost there, whoever looks; one of 2 σ is found in",
        "a week or two where the levels are calmer than the days. Noise is learned by the unit within a season (then",
        "`scale` tells of it, and the reports do), a wrong clock by the window.",
        "",
        *_table(["set", "change", "injections", "1 day", "3 days", "7 days", "14 days", "median"], rows),
    ]


def _labelled(found: list[dict[str, Any]]) -> list[str]:
    rows, total = [], [0] * 7
    for each in found:
        ours, rule = each["tidecast"], each["three_sigma"]
        numbers = [each["windows"], *ours.values(), *rule.values()]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        rows.append([each["file"], "ridge" if each["trained"] else "none", each["season"], *numbers])
    rows.append(["**all**", "", "", *total])
    head = ["file", "model", "season", "windows", "hit", "alarms", "outside", "3σ hit", "3σ alarms", "3σ outside"]
    return [
        "## Labelled anomalies: NAB, realKnownCause",
        "",
        "Models and thresholds from the first 15 % of each file (NAB's probation),",
        "alarms counted after it. The 3σ rule: a value beyond three standard deviations of the season before it,",
        "resting as our detectors do. These windows mark single anomalies, of which many are spikes: the",
        "detectors look for change that stays.",
        "",
        *_table(head, rows),
    ]
