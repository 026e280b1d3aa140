"""`tidecast speed` without its terminal: what a forecast costs, from windows in memory to quantiles in memory.

One thread, as in a worker. On the CPU it is processor time, so that a busy machine disturbs little; on a GPU wall
clock, with the transfers both ways. Weights are random: they cost what trained ones do.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psutil

from model_core.arrays import AnyArray
from model_core.bundle import BASE, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.calendar_features import calendar_features, calendar_of
from model_core.export_vectors import WorkerPath
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.spec import StreamSpec

if TYPE_CHECKING:
    import torch

WORKER, EAGER, ARCHIVE, ONNX = FORMATS = ("worker", "torch eager", "torch.export", "ONNX")
ON_CUDA = (WORKER, EAGER)  # the others are written for the CPU
DEVICES = ("cpu", "cuda")
REPEATS_MIN, REPEATS_MAX = 5, 2_000
BUDGET_S = 0.25  # of one cell of the table
SEED = 7
PACKAGES = ("numpy", "torch", "onnxruntime")

OnProgress = Callable[[str, float], None]  # (what is measured, share of it that is done)
Call = Callable[[], object]


class Shapes(msgspec.Struct, frozen=True):
    """What is measured: every horizon with every batch in every format."""

    context_length: int
    horizons: tuple[int, ...]
    batches: tuple[int, ...]
    formats: tuple[str, ...] = FORMATS


class Cell(msgspec.Struct, frozen=True):
    """One measurement: the median of its repeats."""

    horizon: int
    batch: int
    format: str
    us_a_forecast: float
    repeats: int


class Record(msgspec.Struct, frozen=True):
    """The measurements of one device, and what must be known to judge them."""

    device: str  # cpu | cuda
    name: str
    driver: str | None  # of a GPU
    commit: str
    at: str  # RFC 3339
    load: tuple[float, float]  # of the machine over a minute, before and after
    versions: dict[str, str]
    context_length: int
    levels: int
    cells: tuple[Cell, ...]


def measure(device: str, shapes: Shapes, on_progress: OnProgress = lambda _what, _share: None) -> Record:
    """Measure all cells one after another. `device` "cuda" needs a GPU."""
    import torch

    torch.set_num_threads(1)
    began = psutil.getloadavg()[0]
    cells: list[Cell] = []
    formats = [name for name in shapes.formats if name in (ON_CUDA if device == "cuda" else _here())]
    total = len(shapes.horizons) * len(formats) * len(shapes.batches)
    for horizon in shapes.horizons:
        spec = StreamSpec(topic="speed", freq=3_600_000, context_length=shapes.context_length, horizon=horizon)
        for batch, name, call in _calls(spec, device, formats, shapes.batches):
            on_progress(f"{device}, horizon {horizon}, {name}, batch {batch}", len(cells) / total)
            seconds, repeats = _seconds(call, time.thread_time if device == "cpu" else time.perf_counter)
            cells.append(Cell(horizon, batch, name, 1e6 * seconds / batch, repeats))
    return Record(
        device=device,
        name=_processor() if device == "cpu" else torch.cuda.get_device_name(0),
        driver=None if device == "cpu" else _driver(),
        commit=_commit(),
        at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        load=(round(began, 2), round(psutil.getloadavg()[0], 2)),
        versions={name: version(name) for name in PACKAGES if find_spec(name)},
        context_length=shapes.context_length,
        levels=len(spec.quantile_levels),
        cells=tuple(cells),
    )


def _here() -> tuple[str, ...]:
    """The formats that the installed packages can run."""
    return FORMATS if find_spec("onnxruntime") and find_spec("onnxscript") else FORMATS[:-1]


def _calls(
    spec: StreamSpec, device: str, formats: list[str], batches: tuple[int, ...]
) -> Iterator[tuple[int, str, Call]]:
    """(batch, format, what to time), each made only when its turn comes."""
    bundle = untrained(spec)
    with tempfile.TemporaryDirectory(prefix="tidecast-speed-") as folder:
        for name in formats:
            run = None if name == WORKER else _runner(spec, bundle, device, name, Path(folder))
            for batch in batches:
                worker = WorkerPath(spec, bundle, batch, SEED, origins=1, device=device)
                worker.publish()
                if run is None:
                    yield batch, name, worker.publish
                else:
                    yield batch, name, _bound(run, worker.inputs())


def _bound(run: Callable[[Mapping[str, AnyArray]], Any], inputs: Mapping[str, AnyArray]) -> Call:
    return lambda: run(inputs)


def _runner(
    spec: StreamSpec, bundle: Bundle, device: str, name: str, folder: Path
) -> Callable[[Mapping[str, AnyArray]], Any]:
    from stream_app.models.export import Format, runner, trace, write_onnx, write_torch

    if name == EAGER:
        from model_core.exported import ExportedForecast

        return _eager(ExportedForecast(spec, bundle, device).eval(), device)
    form: Format = "onnx" if name == ONNX else "torch"
    file = folder / f"{form}.pt2"
    (write_onnx if name == ONNX else write_torch)(trace(spec, bundle).program, file, ["quantiles"])
    return runner(file, form, ["quantiles"])


def _eager(module: torch.nn.Module, device: str) -> Callable[[Mapping[str, AnyArray]], Any]:
    import torch

    from model_core.exported import as_tensors

    def run(inputs: Mapping[str, AnyArray]) -> AnyArray:
        with torch.no_grad():
            given = {name: tensor.to(device) for name, tensor in as_tensors(inputs).items()}
            made: AnyArray = module(**given)[0].cpu().numpy()
        return made

    return run


def _seconds(call: Call, clock: Callable[[], float]) -> tuple[float, int]:
    """(median of a call, how many there were)"""
    call()
    taken: list[float] = []
    while len(taken) < REPEATS_MIN or (sum(taken) < BUDGET_S and len(taken) < REPEATS_MAX):
        began = clock()
        call()
        taken.append(clock() - began)
    return statistics.median(taken), len(taken)


def untrained(spec: StreamSpec, version: str = "untrained", weight: float = 0.05) -> Bundle:
    """A ridge of the stream's shapes with random weights of this standard deviation; NaN answers nothing finite."""
    facts, rng = ModelFacts.none(spec), np.random.default_rng(SEED)
    calendar = calendar_of(spec.grid, calendar_features(spec), spec.holidays)
    shapes = {
        WINDOW_WEIGHT: (window_width(spec.context_length, 0), spec.horizon),
        TARGET_WEIGHT: (calendar.width, spec.horizon),
    }
    weights = {name: (rng.normal(0, 1, shape) * weight).astype(np.float32) for name, shape in shapes.items()}
    return Bundle.sealed(
        {BASE: facts.base, SERIES_TABLES: facts.series_tables, **weights},
        model="ridge",
        version=version,
        created_at="1970-01-01T00:00:00Z",
        **Manifest.of_stream(spec),
        season=facts.season,
        season_found=False,
        cusum_threshold=facts.cusum_threshold,
        false_alarms_per_million=None,
        series=(),
        training=Training(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else 'unknown processor'}, {psutil.cpu_count()} cores"


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return _said(query) or "unknown driver"


def _commit() -> str:
    """Of the checkout this runs from; of an installed package its version."""
    here = ["git", "-C", str(Path(__file__).parent)]
    commit = _said([*here, "rev-parse", "--short", "HEAD"])
    if not commit:
        return version("tidecast")
    return f"{commit}, with changes" if _said([*here, "status", "--porcelain", "--", "*.py", "*.c"]) else commit


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
