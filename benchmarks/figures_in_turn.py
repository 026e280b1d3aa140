"""What the benchmarks over a folder of data have in common: each figure in turn, saved at once, then their page."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.stage import REPOSITORY

UNUSABLE = 2


class NoData(Exception):
    """A file that is not there; the text says which, and how to name the folder."""


class Benchmark(NamedTuple):
    name: str
    text: str  # for --help
    folder: str  # what the folder of data holds
    variable: str  # of the environment, which names that folder too
    figures: Mapping[str, Callable[[Path, Path], object]]  # (data, docs) → what to say of it, when it is saved
    write_page: Callable[[Path], object]  # docs → what to say of it


def run(benchmark: Benchmark) -> int:
    """The exit code."""
    chosen = _arguments(benchmark)
    if chosen.data is None:
        how = f"name the folder of {benchmark.folder} with --data or {benchmark.variable}"
        print(f"{benchmark.name}: {how}", file=sys.stderr)
        return UNUSABLE
    try:
        for name in chosen.only or benchmark.figures:
            began = time.monotonic()
            said = benchmark.figures[name](chosen.data, chosen.out)
            print(f"{name}: {said}, {time.monotonic() - began:.0f} s")
    except NoData as error:
        print(f"{benchmark.name}: {error}", file=sys.stderr)
        return UNUSABLE
    print(benchmark.write_page(chosen.out))
    return 0


def _arguments(benchmark: Benchmark) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark.name}", description=benchmark.text)
    folder, names = os.environ.get(benchmark.variable), list(benchmark.figures)
    parser.add_argument("--data", type=Path, default=folder and Path(folder), help=f"folder of {benchmark.folder}")
    parser.add_argument("--only", nargs="+", choices=names, metavar="FIGURE", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where the page goes (docs)")
    return parser.parse_args()
