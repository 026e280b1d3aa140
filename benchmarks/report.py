"""All figures that were saved → BENCHMARKS.md and its plots. Made anew after each figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from benchmarks.deployment import Deployment
from benchmarks.figure import Figure, Row
from benchmarks.stage import Stage
from benchmarks.svg import bars, lines
from benchmarks.workload import Workload

PAGE, PLOT, GROWTH = "BENCHMARKS.md", "w1.svg", "growth.svg"
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
    bars_of = [
        (row.what, row.value, row.low or row.value, row.high or row.value)
        for figure in shown
        for row in figure.rows
        if row.unit == "readings/s" and row.value
    ]
    if bars_of:
        (raw / PLOT).write_text(bars("Readings a second", bars_of, "/s"))
        parts.append(f"![readings a second](benchmarks/{PLOT})\n")
    plots = [plot for figure in shown for plot in figure.plots]
    if plots:
        (raw / GROWTH).write_text(lines([(p["title"], p["axis"], p["unit"], p["points"]) for p in plots]))
        parts.append(f"How cost grows:\n\n![growth](benchmarks/{GROWTH})\n")
    for figure in shown:
        for text in figure.texts:
            parts.append(f"{figure.title}:\n\n```\n{text}\n```\n")
    parts.append(f"Configuration of the worker in W1:\n\n```toml\n{_configuration()}\n```\n")
    parts.append(f"Sizes:\n\n```json\n{json.dumps(configuration, indent=1, default=str)}\n```\n")
    page = folder / PAGE
    page.write_text("\n".join(parts))
    return page


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
