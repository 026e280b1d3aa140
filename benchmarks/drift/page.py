"""docs/DRIFT.md out of the figures that were saved."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.drift.figures import AS_IT_CAME, EXCHANGED, RANDOM_ORDER, SETS, TOLD
from model_core.drift.level import SLOW_SEASONS

FACTOR = 3

INTRODUCTION = """# Drift

What the detectors of a worker report on real data, measured by `python -m benchmarks.drift --data DIR` (DIR holds
`ett/` and `nab/`; the UCI sets are included in tidecast). Every figure is of the worker's own core: readings go through
`PartitionState`, forecasts through `Predictor`, and `tidecast train` makes models and thresholds from the data before.

| detector | what it watches |
| --- | --- |
| `cusum` | two-sided CUSUM (k = .5) of one-step residuals in units of u, winsorised at 4; u is frozen above h/2 |
| `cusum_horizon` | the same of the residual a whole horizon ahead, once a horizon |
| `level` | two-sided CUSUM (k = 2) of a season's mean against what was usual for weeks, once 14 seasons are known |
| `missing`, `flatline` | missing, or equal, cells at the end of a window: a season, and twice as long as before |
| `storm`, `outage` | many series of a partition at once, of the first two or the last two: one record, not theirs |
| reports | `cusum_share`, `pit` (PSI), `scale`, `bias`, `missing`, `flatline`, `coverage_H`: `drift_report_every` |

An alarm is reported when the watermark closes its tick, because only then is it known whether it is a storm. It carries
`scale` (recent errors over usual ones) and `bias`. A `storm` asks for training through `<stream>.control`. After an
alarm a series rests for a season.

`level` gets four fifths of the rate. Its threshold is learned from the history as it came, with a margin for how
little a few alarms prove (`model_core/drift/level_limits.py`). The CUSUMs of errors share what it leaves. Their
thresholds come from a moving-block bootstrap of errors that were compared with tables of other parts of the history
(`model_core/drift/limits.py`). If there are fewer than 400 seasons of all series to learn from, `level` is off and
the CUSUMs share the whole rate. Why: decisions [24](decisions/0024-a-level-against-a-slow-reference.md) and
[25](decisions/0025-errors-are-held-against-what-has-not-seen-them.md). Alarms agree with those of river 0.26.1,
frouros 0.9.0 and plain programs (`tests/core/test_drift_oracles.py`, `test_drift_level.py`).

`tests/scenario/test_ladder_shown.py` shows what the ladder does with a sick series: cold start, 40 % missing, a gap of
more than a season, a flatline, values ×10, NaN from a model, a model file that is gone. In each case the right rung
answers, the model comes back, and the other series keep their model. [LADDER.md](LADDER.md) has pictures of it.
"""

FALSE_ALARMS = """## False alarms

Trained on the first half of a set, counted on the second (including alarms that a storm holds back). With its weeks
in random order a set does not drift: what was learned from and what is watched are alike. In one order a set has only
a few alarms, so chance alone can halve or double them; therefore counts are of four orders. As it came, a set has one
order, and there is real change among the alarms: one half teaches what is usual, and the other half changes less, or
more. *Halves exchanged* is learned from the second half and counted on the first. *Expected*: how many alarms the
rate allows in so many ticks, and the range that chance alone (a Poisson variable, 95 %) gives. Runs (`missing`,
`flatline`) are counted separately: they are in the data, and no part of the rate. *h*: thresholds of the three
detectors, medians over the orders.
""".splitlines()

DELAYS = """## Delay

A change that stays is injected into copies of the raw series of the second half (rate 100 a million), at 8 random
places a series. σ is the standard deviation of the seasonal difference y_t − y_{t−m} in the first half: how much a
day usually differs from the day before. `none` is the control: alarms in it come from chance, or are in the data. A
worker has seen 60 days before the second half, and everything from there to the change. If a series had alarmed
within two weeks before the change, `level` is still learning.

A forecast that corrects itself shows a step in only one residual. A tick later the newest values have the new level, so
the CUSUMs of errors do not see the step. `level` needs at least two days, since a single odd day is no change that
stays, and what levels do by themselves bounds what it can see. The unit learns noise within a season (then `scale` and
the reports show it), and the window learns a wrong clock.

The last row of each set shows whether a silent detector is deaf: there the level moves as far as the set's own levels
do once in 10,000 hours.
""".splitlines()

LABELLED = """## Labelled anomalies: NAB, realKnownCause

Models and thresholds come from the first 15 % of each file (NAB's probation); alarms are counted after it. The 3σ
rule alarms at a value beyond three standard deviations of the season before it, and rests as our detectors do. *By
chance*: how many windows the same number of alarms would hit on average if they came at random moments. In some files
a window is a tenth of the file, and many alarms hit it whatever their cause. These windows mark single anomalies,
many of them spikes, while the detectors look for change that stays. Levels are watched where the probation has enough
seasons to learn a threshold from.
""".splitlines()


def write_page(folder: Path) -> Path:
    raw = folder / "drift"
    parts = [INTRODUCTION]
    parts += _false_alarms(_read(raw, "false-alarms-*"))
    parts += _delays(_read(raw, "delays-*"), _read(raw, "typical-changes"))
    parts += _labelled(_read(raw, "labelled"))
    path = folder / "DRIFT.md"
    path.write_text("\n".join(parts) + "\n")
    return path


def _read(raw: Path, pattern: str) -> list[dict[str, Any]]:
    """Rows of all files of that name, in the order of SETS."""
    paths = sorted(raw.glob(f"{pattern}.json"), key=lambda path: path.stem)
    rows = [row for path in paths for row in json.loads(path.read_text())]
    sets = list(SETS)
    return sorted(rows, key=lambda row: sets.index(row["set"])) if rows and "set" in rows[0] else rows


def _table(head: list[str], rows: list[list[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


# --- false alarms -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """Alarms of runs alike: of one set, or of all."""

    of: list[dict[str, Any]]

    def alarms(self, *names: str) -> int:
        return sum(each["alarms"].get(name, 0) for each in self.of for name in names)

    @property
    def ticks(self) -> int:
        return sum(each["ticks"] for each in self.of)

    @property
    def found(self) -> float:
        return self.alarms(*TOLD) / self.ticks * 1e6

    def expected(self, rate: float) -> float:
        return rate * self.ticks / 1e6

    def thresholds(self) -> str:
        """Medians over the orders."""
        by_detector = zip(*(each["thresholds"] for each in self.of), strict=True)
        return " / ".join(_median([h for h in of if h is not None]) for of in by_detector)

    def row(self, name: str, order: str, rate: float) -> list[object]:
        counts = [self.alarms(each) for each in TOLD]
        runs = self.alarms("flatline", "missing")
        low, high = by_chance(self.expected(rate))
        expected = f"{self.expected(rate):.1f} ({low} to {high})"
        every = self.alarms(*TOLD)
        return [name, order, f"{rate:.0f}", f"{self.ticks:,}", *counts, every, expected, f"{self.found:.0f}", runs]


def by_chance(expected: float) -> tuple[int, int]:
    """The central 95 % of a Poisson variable of that mean: the smallest counts with .025 and .975 at or below them."""
    ends, count, below = [], 0, math.exp(-expected)
    for level in (0.025, 0.975):
        while below < level:
            count += 1
            below += math.exp(count * math.log(expected) - expected - math.lgamma(count + 1))
        ends.append(count)
    return ends[0], ends[1]


def _median(numbers: list[float]) -> str:
    return f"{statistics.median(numbers):.1f}" if numbers else "–"


def _false_alarms(found: list[dict[str, Any]]) -> list[str]:
    rows: list[list[object]] = []
    outside: list[str] = []
    for order in (RANDOM_ORDER, AS_IT_CAME, EXCHANGED):
        for rate in (100.0, 1000.0):
            these = [each for each in found if (each["order"], each["rate"]) == (order, rate)]
            for name in dict.fromkeys(each["set"] for each in these):
                counted = Counted([each for each in these if each["set"] == name])
                row = counted.row(name, order, rate)
                rows.append([*row[:4], counted.thresholds(), *row[4:]])
                if not rate / FACTOR <= counted.found <= rate * FACTOR:
                    outside.append(f"{name}, {order}, {rate:.0f} asked ({counted.found:.0f} found)")
            if these:
                name, *rest = Counted(these).row("**all**", order, rate)
                rows.append([name, *rest[:3], "", *rest[3:]])
    head = ["set", "order", "asked a million", "ticks", "h", "cusum", "horizon", "level"]
    head += ["alarms", "expected", "found a million", "runs"]
    return [*FALSE_ALARMS, "", *_table(head, rows), _told(outside), *_both_ways(found), ""]


def _both_ways(found: list[dict[str, Any]]) -> list[str]:
    """Of sets of which one half is outside, as it came: what both halves make together."""
    sentences = []
    for name in SETS:
        both = [each for each in found if each["set"] == name and each["order"] in (AS_IT_CAME, EXCHANGED)]
        if len(both) < 2 or all(1 / FACTOR <= Counted([each]).found / each["rate"] <= FACTOR for each in both):
            continue
        second, first = (Counted([each]).alarms(*TOLD) for each in both)
        expected = Counted(both).expected(both[0]["rate"])
        told = f"{second} alarms in its second half and {first} in its first, {expected:.1f} expected in both together"
        sentences.append(f"{name}: {told}, {(first + second) / expected:.2f} times.")
    return ["", *sentences] if sentences else []


def _told(outside: list[str]) -> str:
    if not outside:
        return f"Every set is within a factor of {FACTOR} of what was asked."
    return f"Not within a factor of {FACTOR} of what was asked: {'; '.join(outside)}."


# --- delay ------------------------------------------------------------------------------------------------------------


def _delays(found: list[dict[str, Any]], typical: list[dict[str, Any]]) -> list[str]:
    rows: list[list[object]] = []
    for each in found:
        within = [f"{100 * share:.0f} %" for share in each["within"].values()]
        median = "–" if each["median_ticks"] is None else f"{each['median_ticks']:.0f} h"
        rows.append([each["set"], each["change"], each["injections"], *within, median])
    return [
        *DELAYS,
        *_sizes(typical),
        "",
        *_table(["set", "change", "injections", "1 day", "3 days", "7 days", "14 days", "median"], rows),
    ]


def _sizes(typical: list[dict[str, Any]]) -> list[str]:
    if not typical:
        return []
    hours = 1e6 / typical[0]["rate"]
    sizes = ", ".join(f"{each['size']:.1f} σ ({each['set']})" for each in typical)
    return [
        "",
        f"What levels do by themselves, once in {hours:,.0f} hours of a series (as often as false alarms may come):",
        f"the mean of a day differs from that of the {SLOW_SEASONS:.0f} days before it by",
        f"{sizes} or more.",
    ]


# --- labelled anomalies -----------------------------------------------------------------------------------------------


def _labelled(found: list[dict[str, Any]]) -> list[str]:
    rows: list[list[object]] = []
    total: list[float] = [0] * 9
    for each in found:
        ours, rule = each["tidecast"], each["three_sigma"]
        numbers = [each["windows"], *ours.values(), *rule.values()]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        by = ", ".join(f"{name} {count}" for name, count in each["detectors"].items())
        watched = "yes" if each["levels_watched"] else "no"
        rows.append([each["file"], each["season"], watched, by, *map(_count, numbers)])
    rows.append(["**all**", "", "", "", *map(_count, total)])
    head = ["file", "season", "levels watched", "alarms by detector", "windows", "hit", "by chance", "alarms"]
    return [*LABELLED, "", *_table([*head, "outside", "3σ hit", "by chance", "3σ alarms", "3σ outside"], rows)]


def _count(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.1f}"
