"""A record → docs/LADDER.md and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ladder.drawing import answers, draw
from benchmarks.ladder.story import SCENES, Scene

INTRODUCTION = """# The ladder, in pictures

Written by `python -m benchmarks.ladder`: a real `tidecast worker` on a real Kafka and Valkey, and the forecasts that it
published ([ladder/record.json](ladder/record.json)); `--draw` draws that record again. Hourly values, L = 48, H = 6, a
season of 24 h, a model that was trained on the 60 days before. Dots are what was read, lines the forecasts one step
ahead with their 80 % interval, grey the hours in which something was wrong, and the strip says who answered at each
origin. What each rung is: [GLOSSARY.md](GLOSSARY.md); that it is so for every seed is what
`tests/scenario/test_ladder_shown.py` holds.

NaN is put into the model of that worker from outside (`benchmarks/ladder/spoiled_worker.py`), the files of a model are
moved away and put back while it runs. All other faults are in the readings alone, and of one series each: the others
keep their model.
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
