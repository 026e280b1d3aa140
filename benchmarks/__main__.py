"""`make bench`: takes the figures one after the other, saves each at once, writes docs/BENCHMARKS.md.

A figure that fails is reported as failed, and the others go on.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.api import measure_api
from benchmarks.backlog import measure_backlog
from benchmarks.comings_and_goings import measure_comings_and_goings
from benchmarks.figure import QUICK, Asked, Figure, Measure, Sizes
from benchmarks.gpu import measure_gpu
from benchmarks.large import measure_large
from benchmarks.latency import measure_latency
from benchmarks.million import measure_million
from benchmarks.published import measure_published
from benchmarks.report import write_report
from benchmarks.scaling import measure_scaling
from benchmarks.shadow import measure_shadow
from benchmarks.side_by_side import measure_packs, measure_staggered, measure_w1
from benchmarks.stage import REPOSITORY, Stage, alone, machine
from benchmarks.two_processes import measure_two_processes

FIGURES: dict[str, tuple[str, Measure]] = {
    "w1": ("W1", measure_w1),
    "packs": ("Packs of 100 readings", measure_packs),
    "staggered": ("Staggered series", measure_staggered),
    "backlog": ("A backlog of five million", measure_backlog),
    "comings": ("Workers that come and go", measure_comings_and_goings),
    "two": ("Two processes", measure_two_processes),
    "latency": ("Latency", measure_latency),
    "large": ("100,000 series × 512: memory and recovery", measure_large),
    "published": ("Forecasts published", measure_published),
    "gpu": ("On a GPU", measure_gpu),
    "million": ("1,000,000 series", measure_million),
    "scaling": ("How cost grows", measure_scaling),
    "api": ("The live page beside a worker", measure_api),
    "shadow": ("A candidate in the shadow", measure_shadow),
}
FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """`arguments`: those of the command line where none are given."""
    chosen = _arguments(arguments)
    sizes = QUICK if chosen.quick else Sizes()
    if chosen.rounds:
        sizes = replace(sizes, rounds=chosen.rounds)
    folder = chosen.out or (REPOSITORY / ".tidecast" / "bench-quick" if chosen.quick else REPOSITORY / "docs")
    names = chosen.only or list(FIGURES)
    failed = []
    # What is started here ends with us, also when we are asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with alone(), tempfile.TemporaryDirectory(prefix="tidecast-bench-models-") as models:
        for name in names:
            figure = _take(name, Asked(sizes, chosen.peers, _say), Path(models), quick=chosen.quick)
            figure.save(folder / "benchmarks")
            page = write_report(folder, list(FIGURES), asdict(sizes))
            failed += [name] if figure.error else []
            _show(figure)
    _say(f"{page}{' · failed: ' + ', '.join(failed) if failed else ''}")
    return FAILED if failed else 0


def _take(name: str, asked: Asked, models: Path, *, quick: bool) -> Figure:
    """Each on servers of its own: none meets what another has left."""
    title, measure = FIGURES[name]
    _say(f"{title} ({name})")
    figure = Figure(name, title, quick=quick, machine=machine())
    started = time.monotonic()
    try:
        with Stage(models) as stage:
            measure(stage, asked, figure)
    except Exception as error:  # noqa: BLE001 - reported as the result of this figure
        traceback.print_exc()
        figure.error = f"{type(error).__name__}: {error}"
    figure.seconds = time.monotonic() - started
    return figure


def _show(figure: Figure) -> None:
    for row in figure.rows:
        value = "–" if row.value is None else f"{row.value:,.4g} {row.unit}"
        _say(f"  {row.what}: {value} {row.note}")
    _say(f"  {'FAILED: ' + figure.error[:500] if figure.error else 'done'} after {figure.seconds:.0f} s")


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--rounds", type=int, help="how often each system takes its turn (3)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmarks themselves")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="a folder with scripts of other systems")
    parser.add_argument("--out", type=Path, help="where BENCHMARKS.md goes (docs; for --quick .tidecast/bench-quick)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
