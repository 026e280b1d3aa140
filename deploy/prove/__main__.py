"""`python -m deploy.prove [STEP…]` (make prove-deploy): run the proofs, write what was seen into docs/proofs/deploy.

A page a step, written when all of the step is proven. Servers that are no Python packages are built or fetched once, by
deploy/prove/get, into .tidecast/prove.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from deploy.prove import (
    alerting,
    compose,
    containers,
    dashboards,
    faults,
    image,
    kubernetes,
    policies,
    quality,
    scanned,
    slowly,
    training,
)
from deploy.prove.programs import PAGES, REPOSITORY, Unproven

Step = Callable[[Path], Iterator[str]]
STEPS: dict[str, Step] = {
    "compose": compose.prove,
    "containers": containers.prove,
    "image": image.prove,
    "checkov": scanned.prove,
    "kubernetes": kubernetes.prove,
    "policies": policies.prove,
    "alerting": alerting.prove,
    "dashboards": dashboards.prove,
    "faults-servers": faults.prove_servers,
    "faults-kafka": faults.prove_kafka,
    "faults-workers": faults.prove_workers,
    "faults-late": faults.prove_late,
    "faults-slowly": slowly.prove,
    "faults-quality": quality.prove,
    "faults-training": training.prove,
}
FOLDER = REPOSITORY / ".tidecast" / "prove"


def main(chosen: list[str]) -> int:
    """0 when all that was asked for is proven."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    PAGES.mkdir(parents=True, exist_ok=True)
    failed = False
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
            continue
        (PAGES / f"{name}.md").write_text(_head(name, time.monotonic() - began) + "\n".join(lines) + "\n")
    return int(failed)


def _head(name: str, seconds: float) -> str:
    described = ["git", "describe", "--always", "--dirty=, with changes"]
    commit = subprocess.run(described, cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    day = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    return (
        f"# {name}\n\nSeen by `make prove-deploy ARGS={name}` at {commit or 'no commit'}, {day}, in {seconds:.0f} s. "
        "Every line is a check that could have failed.\n\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    asked = parser.parse_args().steps or list(STEPS)
    if unknown := set(asked) - set(STEPS):
        parser.error(f"expected steps out of {', '.join(STEPS)}, found {', '.join(sorted(unknown))}")
    sys.exit(main(asked))
