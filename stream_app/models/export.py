"""`tidecast models export` without its terminal: a model of the registry as one file for another runtime.

Beside the file go FILE.json, which describes inputs, outputs and what is left out, and FILE.golden.safetensors,
forecasts to check a runtime with. A file that does not reproduce them is not given its final name.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model_core.arrays import AnyArray
from model_core.bundle import Bundle
from model_core.errors import CoreError
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    import torch

    from model_core.export_vectors import Golden

Format = Literal["onnx", "torch"]
Run = Callable[[Mapping[str, AnyArray]], dict[str, AnyArray]]  # inputs by name → outputs by name
GOLDEN_ROWS, GOLDEN_SEED = 64, 20_26
TORCH_SUFFIX = ".pt2"
DIFFERENCE_MAX = 1e-5  # relative: forecasts are published as float32
EXTRA = "Install what it takes: onnx, onnxruntime and onnxscript, the extra `export`."
INSIDE = (
    "filling of holes",
    "the window's own centring and scaling",
    "scaling of covariates, given their running mean and standard deviation",
    "the model",
    "residual tables of the stream and of single series",
    "quantiles from table, unit and offsets; rising levels; bounds; whole numbers for counts",
    "of demand: how often and how much is sold, and what follows for the quantiles of intermittent windows",
)
OUTSIDE = (
    "the ladder: too few readings, too many holes, out of distribution, and who answers then",
    "learning of unit and offsets",
    "calendar features, as time zones and holidays are",
)


@dataclass(frozen=True)
class Export:
    """What was written. `difference`: the largest to the golden vectors, relative."""

    files: tuple[Path, ...]
    rows: int
    difference: float


@dataclass(frozen=True)
class Traced:
    """A model as a graph, and forecasts that it must repeat."""

    spec: StreamSpec
    bundle: Bundle
    golden: Golden
    program: torch.export.ExportedProgram


def trace(spec: StreamSpec, bundle: Bundle) -> Traced:
    """Trace a model. TidecastError if it does not fit the stream, or answers nothing."""
    from model_core.export_vectors import golden_vectors
    from model_core.exported import ExportedForecast, exported_program

    try:
        module = ExportedForecast(spec, bundle)
        golden = golden_vectors(spec, bundle, GOLDEN_ROWS, GOLDEN_SEED)
    except CoreError as error:
        raise TidecastError(str(error)) from error
    return Traced(spec, bundle, golden, exported_program(module, golden.inputs))


def write(traced: Traced, file: Path, form: Format) -> Export:
    """Write a model. TidecastError if a package is missing, or the written file answers differently from the worker."""
    from model_core.export_vectors import difference

    if form == "torch" and file.suffix != TORCH_SUFFIX:
        raise TidecastError(f"torch reads only files that end in {TORCH_SUFFIX}: --out {file.stem}{TORCH_SUFFIX}")
    golden, version = traced.golden, traced.bundle.manifest.version
    names = list(golden.outputs)
    file.parent.mkdir(parents=True, exist_ok=True)
    unchecked = file.with_name(f".{file.name}.{secrets.token_hex(4)}{TORCH_SUFFIX}")
    try:
        (write_onnx if form == "onnx" else write_torch)(traced.program, unchecked, names)
        found = runner(unchecked, form, names)(golden.inputs)
        whole = traced.spec.aggregate == "count"
        worst = max(difference(found[name], golden.outputs[name], whole=whole) for name in names)
        if not worst <= DIFFERENCE_MAX:
            raise TidecastError(
                f"the exported model {version} differs from the worker's forecasts by {worst:.2g}, expected "
                f"{DIFFERENCE_MAX:g} at most: nothing was written. Report it, with the versions of torch and {form}."
            )
        return Export((file, *_write_beside(traced, file, form, unchecked)), GOLDEN_ROWS, worst)
    finally:
        unchecked.unlink(missing_ok=True)


def write_torch(program: torch.export.ExportedProgram, file: Path, _outputs: list[str]) -> None:
    import torch

    torch.export.save(program, str(file))


def write_onnx(program: torch.export.ExportedProgram, file: Path, outputs: list[str]) -> None:
    """`outputs` name what the file answers with. TidecastError where the packages that write ONNX are not installed."""
    try:
        import onnxscript  # noqa: F401  # torch asks for it halfway
        import torch.onnx
    except ImportError as error:
        raise TidecastError(f"{error}. {EXTRA}") from error
    # It warns of operators of other packages that nothing here uses.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # Not optimised: it takes the 1e-12 that keeps a window of zeros from a division by zero for nothing. The runtime
    # optimises when it loads.
    made = torch.onnx.export(program, output_names=outputs, optimize=False, verbose=False)
    assert made is not None, "a program was given: it is exported, not run"
    file.write_bytes(made.model_proto.SerializeToString())


def runner(file: Path, form: Format, outputs: list[str], *, threads: int = 1) -> Run:
    """The exported file, ready to run by its runtime on the CPU."""
    return (_onnx_runner if form == "onnx" else _torch_runner)(file, outputs, threads)


def _onnx_runner(file: Path, outputs: list[str], threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise TidecastError(f"{error}. {EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))


def _torch_runner(file: Path, outputs: list[str], _threads: int) -> Run:
    import torch

    from model_core.exported import as_tensors

    module: Any = torch.export.load(str(file)).module()

    def run(inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        with torch.no_grad():
            made = module(**as_tensors(inputs))
        return {name: tensor.numpy() for name, tensor in zip(outputs, made, strict=True)}

    return run


def _write_beside(traced: Traced, file: Path, form: Format, checked: Path) -> tuple[Path, Path]:
    """Write the files beside the model, which gets its name last: if it is there, so are the others."""
    from safetensors.numpy import save

    described, vectors = file.with_name(f"{file.name}.json"), file.with_name(f"{file.name}.golden.safetensors")
    parts = {"input": traced.golden.inputs, "output": traced.golden.outputs}
    named = {f"{kind}.{name}": array for kind, arrays in parts.items() for name, array in arrays.items()}
    vectors.write_bytes(save(named))  # its own save_file lets nobody else read
    described.write_text(json.dumps(description(traced, form), indent=2, ensure_ascii=False) + "\n")
    checked.replace(file)
    return described, vectors


def description(traced: Traced, form: Format) -> dict[str, Any]:
    """The contents of FILE.json."""
    from model_core.export_inputs import CALENDAR_COLUMNS, INPUTS

    spec, golden, manifest = traced.spec, traced.golden, traced.bundle.manifest
    meanings = {name: (what, dtype) for name, dtype, _, what in INPUTS}
    outputs = {
        "quantiles": "one row a level, one column a step: what a worker publishes",
        "mean": "mean of each step: totals of it add up",
    }
    return {
        "format": form,
        "model": manifest.model,
        "version": manifest.version,
        "sha256_of_weights": manifest.sha256,
        "topic": spec.topic,
        "step_ms": manifest.step_ms,
        "timezone": manifest.timezone,
        "context_length": manifest.context_length,
        "horizon": manifest.horizon,
        "quantile_levels": manifest.quantile_levels,
        "scored_horizons": spec.scored_horizons,
        "past_covariates": manifest.past_covariates,
        "future_covariates": manifest.future_covariates,
        "calendar": [f"{name}: {column}" for name in manifest.calendar for column in CALENDAR_COLUMNS[name]],
        "holidays": manifest.holidays,
        "series": manifest.series,
        "inputs": [
            {"name": name, "dtype": meanings[name][1], "shape": ["batch", *array.shape[1:]], "what": meanings[name][0]}
            for name, array in sorted(golden.inputs.items(), key=lambda item: list(meanings).index(item[0]))
        ],
        "outputs": [
            {"name": name, "dtype": str(array.dtype), "shape": ["batch", *array.shape[1:]], "what": outputs[name]}
            for name, array in golden.outputs.items()
        ],
        "inside": INSIDE,
        "outside": OUTSIDE,
    }
