"""A record → docs/LADDER.md and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ladder.drawing import answers, draw
from benchmarks.ladder.story import SCENES, Scene

INTRODUCTION = """# The ladder, in pictures

Written by `python -m benchmarks.ladder`. It runs a real `tidecast worker` on a real Kafka and Valkey, and records the
forecasts that the worker publishes ([ladder/record.json](ladder/record.json)); `--draw` draws that record again. Values
are hourly, L = 48, H = 6, the season is 24 h, and the model was trained on the 60 days before. Dots are readings, lines
are the forecasts one step ahead with their 80 % interval, and grey marks the hours in which something was wrong. The
strip says who answered at each origin. [GLOSSARY.md](GLOSSARY.md) says what each rung is, and
`tests/scenario/test_ladder_shown.py` checks the same for every seed.

NaN is put into the model of that worker from outside (`benchmarks/ladder/spoiled_worker.py`), and the files of a model
are moved away and put back while the worker runs. All other faults are in the readings alone, of one series each: the
other series keep their model.
"""


def write_page(docs: Path, record: dict[str, Any]) -> Path:
    parts = [INTRODUCTION]
    for scene in SCENES:
        read, forecasts = record["read"][scene.series], record["forecasts"][scene.series]
        (docs / "ladder" / f"{scene.name}.svg").write_text(draw(scene, read, forecasts))
        parts.append(f"## {scene.title}\n\n{_told(scene, forecasts)}\n\n![{scene.title}](ladder/{scene.name}.svg)\n")
    page = docs / "LADDER.md"
    page.write_text("\n".join(parts))
    return page


def _told(scene: Scene, forecasts: list[dict[str, Any]]) -> str:
    """In words: from which origin to which, who answered and why."""
    rows = ["| origins | who answered | why not the model |", "|---|---|---|"]
    for name, reason, first, last in answers(scene, forecasts):
        why = reason or ("" if name == "model" else "no forecast is due")
        rows.append(f"| {first} to {last} h | {name.replace('_', ' ')} | {why} |")
    return "\n".join(rows)
