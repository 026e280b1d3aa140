"""`python -m deploy.prove [STEP…]` (make prove-deploy): run the proofs, write what was seen into docs/proofs/deploy.md.

Servers that are no Python packages are built or fetched once, by deploy/prove/get, into .tidecast/prove.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from deploy.prove import alerting, compose, containers, dashboards, faults, kubernetes
from deploy.prove.programs import REPOSITORY, Unproven

Step = Callable[[Path], Iterator[str]]
STEPS: dict[str, Step] = {
    "compose": compose.prove,
    "containers": containers.prove,
    "kubernetes": kubernetes.prove,
    "alerting": alerting.prove,
    "dashboards": dashboards.prove,
    "faults": faults.prove,
}
FOLDER = REPOSITORY / ".tidecast" / "prove"
DOCUMENT = REPOSITORY / "docs" / "proofs" / "deploy.md"


def main(chosen: list[str]) -> int:
    """0 when all that was asked for is proven."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    sections, failed = [], False
    for name in chosen:
        lines, began = [], time.monotonic()
        print(f"── {name}", flush=True)
        try:
            for sentence in STEPS[name](FOLDER):
                lines.append(f"- {sentence}")
                print(f"   ✓ {sentence}", flush=True)
        except Unproven as problem:
            failed = True
            print(f"   ✗ {problem}", file=sys.stderr, flush=True)
        sections.append(f"## {name}\n\n" + "\n".join(lines) + f"\n\n{time.monotonic() - began:.0f} s.\n")
    if failed:
        return 1
    if set(chosen) == set(STEPS):
        DOCUMENT.write_text(_head() + "\n" + "\n".join(sections))
        print(f"written: {DOCUMENT.relative_to(REPOSITORY)}")
    return 0


def _head() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    return (
        "# What `make prove-deploy` has seen\n\n"
        f"At commit {commit.stdout.strip() or 'unknown'}, {datetime.now(UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}. Written by that command; every line is a check that could have failed.\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    asked = parser.parse_args().steps or list(STEPS)
    if unknown := set(asked) - set(STEPS):
        parser.error(f"expected steps out of {', '.join(STEPS)}, found {', '.join(sorted(unknown))}")
    sys.exit(main(asked))
