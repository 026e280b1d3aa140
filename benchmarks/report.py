"""All figures that were saved → BENCHMARKS.md and its plots. Made anew after each figure."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from benchmarks.charts import Growth, Kind, Value, bars, dots, growth, short
from benchmarks.deployment import Deployment
from benchmarks.figure import Figure, Row
from benchmarks.stage import Stage
from benchmarks.workload import Workload

PAGE, W1, RATES, GROWTH = "BENCHMARKS.md", "w1.svg", "rates.svg", "growth.svg"
INTRODUCTION = """# Benchmarks

Written by `make bench`; nothing in here is typed by hand. A rate counts only after the outputs of that run have been
read with read_committed and counted: each forecast, accuracy record, accuracy summary and drift report that was due
is there exactly once. Everything is on: validation, dead letters, metrics, calibration, scoring, accuracy records,
drift, fencing, checkpoints, and a ridge model that `tidecast train` made. Broker, store and measuring program share
the cores.

A rate is measured from the worker's "assigned" (for Kafka Streams from its first reading) to the broker's commit of
the last reading; the start of a process is not included. Values are medians; the column *rounds* gives the lowest and
the highest value of the rounds. The systems take turns in each round. One round before them is not counted, because a
broker that has just started compiles itself in it. Commit intervals are equal on both sides. The ceiling reads as any
Python program does through confluent-kafka, an object a message; the worker's C takes messages out of librdkafka
without them, so it can come near, or above. Its own ceiling is what it would do if it did nothing with the readings
that it has fetched, decoded and checked.
"""


def write_report(folder: Path, order: list[str], configuration: dict[str, Any]) -> Path:
    """`folder` holds the page; the raw numbers and the plots are in its folder `benchmarks`."""
    raw = folder / "benchmarks"
    figures = {path.stem: Figure.load(path) for path in sorted(raw.glob("*.json"))}
    shown = [figures[name] for name in order if name in figures]
    parts = [INTRODUCTION]
    if any(figure.quick for figure in shown):
        parts.append("**A quick run, to see that the benchmarks work: these are no figures.**\n")
    parts.append(_machine(shown))
    parts.append(_table(shown))
    for name, (words, drawn) in _charts(shown).items():
        (raw / name).write_text(drawn)
        parts.append(f"![{words}](benchmarks/{name})\n")
    for figure in shown:
        for text in figure.texts:
            parts.append(f"{figure.title}:\n\n```\n{text}\n```\n")
    parts.append(f"Configuration of the worker in W1:\n\n```toml\n{_configuration()}\n```\n")
    parts.append(f"Sizes:\n\n```json\n{json.dumps(configuration, indent=1, default=str)}\n```\n")
    page = folder / PAGE
    page.write_text("\n".join(parts))
    return page


def _charts(figures: list[Figure]) -> dict[str, tuple[str, str]]:
    """File → (its title, the SVG). W1 has a chart for itself: only its systems took turns with each other."""
    rates = {figure.name: [_rate(figure, row) for row in figure.rows if _is_rate(row)] for figure in figures}
    w1, others = rates.pop("w1", []), [group for group in rates.values() if group]
    plots = [Growth(plot["axis"], plot["unit"], plot["points"]) for figure in figures for plot in figure.plots]
    found = {}
    if w1:
        title = "W1: readings a second, median and range of the rounds"
        found[W1] = title, bars(title, [list(group) for _, group in groupby(w1, lambda each: each.kind)], short)
    if others:
        title = "Readings a second, median and range of the rounds, logarithmic axis"
        found[RATES] = title, dots(title, others, short)
    if plots:
        title = "How cost grows with one number at a time"
        found[GROWTH] = title, growth(title, plots)
    return found


def _is_rate(row: Row) -> bool:
    return row.unit == "readings/s" and bool(row.value)


def _rate(figure: Figure, row: Row) -> Value:
    assert row.value is not None, "only rates are drawn"
    ours: Kind = "ours" if figure.name != "w1" or row.what.startswith("tidecast") else "peer"
    kind: Kind = "ceiling" if "ceiling" in row.what else ours
    return Value(row.what, kind, row.value, None if row.low is None or row.high is None else (row.low, row.high))


def _configuration() -> str:
    stage = cast(Stage, None)  # no servers are needed to say what is configured
    deployment = Deployment(stage, "w1-out", Workload("w1", 1, 1), "exactly_once")
    return deployment.text("one", "HOST:PORT", "redis://HOST:PORT/0", "models").strip()


def _machine(figures: list[Figure]) -> str:
    """Which machines the figures were taken on, and when."""
    times: dict[str, list[str]] = {}
    for figure in figures:
        facts = {key: value for key, value in figure.machine.items() if key != "at"}
        words = ", ".join(f"{value}" if key == "cpu" else f"{key} {value}" for key, value in facts.items())
        times.setdefault(words, []).append(f"{figure.title} {figure.machine['at']}")
    return "".join(f"Measured on: {words} ({'; '.join(at)}).\n" for words, at in times.items())


def _table(figures: list[Figure]) -> str:
    lines_ = ["| what | value | rounds | must | |", "|---|---|---|---|---|"]
    for figure in figures:
        for row in figure.rows:
            note = row.note.replace("|", "/")
            lines_.append(f"| {row.what} | {_value(row)} | {_spread(row)} | {row.must} | {note} |")
        if figure.error:
            said = figure.error.replace("\n", " ").replace("|", "/")[:300]
            lines_.append(f"| {figure.title} | **failed** | | | {said} |")
    return "\n".join(lines_) + "\n"


def _value(row: Row) -> str:
    return "–" if row.value is None else f"**{_number(row.value)}** {row.unit}"


def _spread(row: Row) -> str:
    if row.low is None or row.high is None or row.low == row.high:
        return ""
    return f"{_number(row.low)} – {_number(row.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
