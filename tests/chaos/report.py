"""What fault runs measured: one JSON file a run in docs/proofs/, and the table of all of them in Markdown.

python -m tests.chaos.report        # prints the table
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROOFS = Path(__file__).parents[2] / "docs" / "proofs"
COLUMNS = {
    "run": "run",
    "records": "records",
    "faults": "faults",
    "lost": "lost",
    "doubled": "doubled",
    "p50": "recovery p50 s",
    "p95": "p95 s",
    "max": "max s",
    "rss_growth_mb": "memory +MB",
    "seed": "seed",
    "commit": "commit",
    "load": "load",
}


def combine(runs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs of one kind (Disturbed.numbers) as one."""
    recoveries = [each for run in runs for each in run["recoveries_s"]]
    quantile = {f"p{q}": round(float(np.percentile(recoveries, q)), 2) for q in (50, 95)} if recoveries else {}
    return {
        **{name: sum(run[name] for run in runs) for name in ("records", "faults", "lost", "doubled")},
        **quantile,
        **({"max": max(recoveries)} if recoveries else {}),
        "rss_growth_mb": max((run["rss_growth_mb"] for run in runs if run["rss_growth_mb"] is not None), default=None),
        "delivery": runs[0]["delivery"],
        "runs": len(runs),
        "seed": runs[0]["seed"],
        "recoveries_s": recoveries,
    }


def write(name: str, numbers: Mapping[str, Any], folder: Path = PROOFS) -> Path:
    """With the commit that was tried and how busy the machine was: recovery times mean little without."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    where = {
        "commit": _commit(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),  # of the last 15 minutes, this run included
    }
    path.write_text(json.dumps({"run": name, **numbers, **where}, indent=1) + "\n")
    return path


def _commit() -> str:
    """What was tried; "-dirty" where more than proofs has changed since."""

    def said(*arguments: str) -> str:
        asked = ["git", *arguments]
        return subprocess.run(asked, cwd=PROOFS.parents[1], capture_output=True, text=True, check=False).stdout.strip()

    changed = said("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/proofs")
    return said("describe", "--always") + ("-dirty" if changed else "")


def table(folder: Path = PROOFS) -> str:
    """In Markdown, a line a run."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --- |" * len(COLUMNS)]
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        lines.append(
            "| " + " | ".join(str(found.get(name) if found.get(name) is not None else "") for name in COLUMNS) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
