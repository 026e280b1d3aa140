"""The command: each figure is saved when it is there, the page is written from all that are."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.retraining import change, cost
from stream_app.runtime.threads import pin_threads

DOCS = Path(__file__).parents[2] / "docs"
YEARS = (1, 2, 4, 8)


def main() -> None:
    asked = _arguments()
    figures = asked.out / "retraining"
    figures.mkdir(parents=True, exist_ok=True)
    for years in asked.years:
        for recent in cost.RECENT:
            found = cost.measure(years, recent)
            _save(figures / f"cost-{years}-{recent.split()[0]}.json", asdict(found))
    for name in asked.change if asked.data else ():
        _save(figures / f"change-{name}.json", change.measure(asked.data, name))
    (asked.out / "RETRAINING.md").write_text(page(figures))


def _save(file: Path, content: Any) -> None:
    print(file.stem, content, flush=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def page(figures: Path) -> str:
    costs = [cost.Cost(**json.loads(file.read_text())) for file in figures.glob("cost-*.json")]
    rows = [
        f"| {each.years} | {each.recent} | {each.whole_seconds:.1f} | {each.seconds:.1f} | "
        f"{each.whole_bytes / 1e6:.1f} | {each.bytes / 1e6:.1f} | {each.file_bytes / 1e6:.1f} | {each.summed:,} | "
        f"{each.difference:.0e} |"
        for each in sorted(costs, key=lambda each: (each.recent, each.years))
    ]
    costly = [COSTS, *rows] if rows else []
    return "\n".join([HEAD, *costly, CHANGED, *_changes(figures), ""])


def _changes(figures: Path) -> list[str]:
    lines = []
    for file in sorted(figures.glob("change-*.json")):
        found = json.loads(file.read_text())
        lives = list(next(iter(found.values())))
        if not lines:
            lines = [f"|  | days since | {' | '.join(lives)} |", "|---|---" + "|---" * len(lives) + "|"]
        name = file.stem.removeprefix("change-")
        for days, errors in found.items():
            lines.append(f"| {name} | {days} | {' | '.join(f'{errors[life]:.4f}' for life in lives)} |")
    return lines


HEAD = """# What another training costs

Written by `python -m benchmarks.retraining`, which needs no servers. `--years 8` measures one length of history, and
`--data DIR` measures the second table too. [Decision 30](decisions/0030-sums-between-trainings.md) says how training
works, and why the model is the same.
"""

COSTS = """
Twenty synthetic series, hour by hour, L 168, H 24. A week of readings has come since the trainer's last training.
*All at once* is a training with the whole history in memory. *Kept* is the training of a trainer that stays, with its
newest cells (`training_recent`) and the sums of what was before. The columns are processor seconds of one core;
megabytes of cells and sums; the file from which a restart continues; windows of a horizon that did not have to be
looked at again; the largest difference between the two models' weights and quantiles.

| years | cells kept | all at once, s | kept, s | all at once, MB | kept, MB | file, MB | windows in sums | difference |
|---|---|---|---|---|---|---|---|---|"""

CHANGED = """
## When the ways of a stream change

ETT for fourteen months, then as if its clock ran half as fast again. (A shift of levels or scales does not matter to
ridge: windows are freed of both.) Ridge (L 168, H 24) is trained so many days after the change on all windows until
then, and judged on the two weeks that follow. The table gives the mean squared error by `training_half_life`. The
last row of each set is without a change.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description=__doc__)
    parser.add_argument("--years", type=int, nargs="*", default=YEARS, help="lengths of history to measure")
    parser.add_argument("--data", type=Path, default=os.environ.get("TIDECAST_ETT"), help="folder of ETTh1.csv.gz")
    parser.add_argument("--change", nargs="*", default=("ETTh1", "ETTh2"), help="files to change the ways of")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of RETRAINING.md")
    return parser.parse_args()


if __name__ == "__main__":
    pin_threads()
    main()
