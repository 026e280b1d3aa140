"""On a GPU: what the CPU answers, each row alike in any company, and an answer whatever becomes of the device.

Nothing stands in for the device here: memory is really taken, and a kernel really breaks the context.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from model_core.ladder import Reason, Rung
from model_core.libraries import CPU, library_of
from model_core.models import build_model
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary
from stream_app.models.speed import untrained
from tests.conftest import REPOSITORY
from tests.core.devices import needs_gpu
from tests.core.test_predictor import HORIZON, LENGTH, make_batch, make_bundle, make_spec

pytestmark = [needs_gpu, pytest.mark.timeout(120)]
LONG = 4096
MIB = 1 << 20
LEFT_FOR_SOME = 512 * MIB  # a pass over 512 windows of LONG has temporaries of 8 MiB, one over 4,096 of 64 MiB
SIZES = [1, 31, 33, 255, 300, 2047, 2049, 5000]


def rich_spec(**changes) -> StreamSpec:
    return make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE", **changes)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rows", SIZES)
def test_it_answers_what_the_cpu_answers(rng: np.random.Generator, rows: int, strict: bool) -> None:
    spec = rich_spec()
    bundle, batch = make_bundle(rng, spec), make_batch(rng, rows, covariates=2, known=1, holes=0.1)
    expected = Predictor(spec, bundle, device="cpu").raw(batch)
    predictor = Predictor(spec, bundle, device="cuda", strict=strict)
    found = predictor.raw(batch)
    assert predictor.take_fallbacks() == []
    assert found.reason.tolist() == expected.reason.tolist()
    assert found.suspicious.tolist() == expected.suspicious.tolist()
    np.testing.assert_allclose(found.locations, expected.locations, rtol=1e-5, atol=1e-3)
    if rows >= 300:
        assert (found.reason == Reason.OK).mean() > 0.5


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert isinstance(library_of("auto"), TorchLibrary)
    assert library_of("cpu") is CPU


@pytest.mark.parametrize("length", [LENGTH, 131, 301, 511, 512])
def test_strict_rows_do_not_depend_on_their_neighbours(rng: np.random.Generator, length: int) -> None:
    spec = StreamSpec(topic="t", freq="1h", context_length=length, horizon=HORIZON, holidays="DE")
    predictor = Predictor(spec, untrained(spec), device="cuda", strict=True)
    pool = batch_of(rng, 3000, length)
    pool.windows[...] = rng.normal(20, 3, pool.windows.shape)  # rough ones: their roughness is no bound of it
    pool.windows[1000:] += (
        rng.normal(0, 20, (2000, 1, 1)) * np.sin(np.arange(length) / rng.uniform(1, 9, (2000, 1)))[..., None]
    )
    pool.windows[rng.random(pool.windows.shape) < 0.05] = np.nan
    alone = predictor.raw(pool)
    assert (alone.reason == Reason.OK).mean() > 0.9
    different = []
    for count in [1, 2, 100, 128, 129, 700, 1024, 2048, 2049, *rng.integers(1, 3000, 12).tolist()]:
        rows = rng.integers(0, 3000, count)
        raw = predictor.raw(pool.rows(rows))
        for i, row in enumerate(rows.tolist()):
            for found, expected in ((raw.locations, alone.locations), (raw.suspicious, alone.suspicious)):
                if found[i].tobytes() != expected[row].tobytes():
                    different.append((count, i, row))
    assert not different, f"{len(different)} rows, as {different[:5]}"


@pytest.mark.parametrize("length", [1, 2, 3, 7, 128, 131, 511])
def test_the_sum_of_a_row_does_not_depend_on_where_it_lies(rng: np.random.Generator, length: int) -> None:
    library, row = TorchLibrary("cuda"), rng.normal(size=length).astype(np.float32)
    sums = library.numpy(library.row_sum(library.array(np.tile(row, (1000, 1)))))
    assert len(set(sums.tolist())) == 1
    np.testing.assert_allclose(sums[0], row.astype(np.float64).sum(), rtol=1e-5, atol=1e-5)


def test_models_that_are_let_go_leave_no_memory_behind(rng: np.random.Generator) -> None:
    spec = make_spec()
    bundle, batch = make_bundle(rng, spec), make_batch(rng, 300)
    Predictor(spec, bundle, device="cuda").raw(batch)
    gc.collect()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        Predictor(spec, bundle, device="cuda").raw(batch)
    gc.collect()
    assert torch.cuda.memory_allocated() == before


# --- without room -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hog() -> Iterator["Hog"]:
    hog = Hog()
    yield hog
    hog.let_go()


class Hog:
    """Takes the device's memory, as another process on it would."""

    def __init__(self) -> None:
        self._taken: list[torch.Tensor] = []

    def leave(self, left: int) -> None:
        """About so many bytes, at 0 really none."""
        gc.collect()
        torch.cuda.empty_cache()
        for size in (1 << 30, 64 * MIB, 2 * MIB, MIB, 4096, 512):  # the last fill what the allocator has in hand
            while left == 0 or torch.cuda.mem_get_info()[0] > left + size:
                try:
                    self._taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
                except torch.OutOfMemoryError:
                    break

    def let_go(self) -> None:
        self._taken.clear()
        torch.cuda.empty_cache()


def long_case(rng: np.random.Generator, rows: int) -> tuple:
    spec = StreamSpec(topic="t", freq="1h", context_length=LONG, horizon=HORIZON)
    bundle, batch = untrained(spec), batch_of(rng, rows, LONG)
    return spec, bundle, batch, Predictor(spec, bundle, device="cpu").raw(batch)


def test_what_has_no_room_is_answered_in_smaller_batches(rng: np.random.Generator, hog: Hog) -> None:
    spec, bundle, batch, expected = long_case(rng, 2000)
    predictor = Predictor(spec, bundle, device="cuda")
    predictor.raw(batch.rows(slice(0, 10)))  # the libraries of the device have what they take once
    hog.leave(LEFT_FOR_SOME)
    found = predictor.raw(batch)
    fallbacks = predictor.take_fallbacks()
    assert fallbacks
    assert all("passes of at most" in each for each in fallbacks), fallbacks
    np.testing.assert_allclose(found.locations, expected.locations, rtol=1e-5, atol=1e-3)
    predictor.raw(batch)
    assert predictor.take_fallbacks() == [], "it does not try again what had no room"


def test_where_nothing_has_room_the_cpu_answers(rng: np.random.Generator, hog: Hog) -> None:
    spec, bundle, batch, expected = long_case(rng, 100)
    predictor = Predictor(spec, bundle, device="cuda")
    hog.leave(0)
    found = predictor.raw(batch)
    assert any("the CPU answers now" in each for each in predictor.take_fallbacks())
    np.testing.assert_array_equal(found.locations, expected.locations)


def test_a_model_that_finds_no_room_for_its_weights_begins_on_the_cpu(rng: np.random.Generator, hog: Hog) -> None:
    spec, bundle, batch, expected = long_case(rng, 10)
    hog.leave(0)
    predictor = Predictor(spec, bundle, device="cuda")
    assert any("the CPU answers now" in each for each in predictor.take_fallbacks())
    np.testing.assert_array_equal(predictor.raw(batch).locations, expected.locations)


# --- a device that fails ----------------------------------------------------------------------------------------------

BROKEN = """
import numpy as np, torch
from tests.core.test_gpu import long_case
from model_core.predictor import Predictor
spec, bundle, batch, expected = long_case(np.random.default_rng(1), 50)
predictor = Predictor(spec, bundle, device="cuda", strict=True)
on_gpu = predictor.raw(batch)
np.testing.assert_allclose(on_gpu.locations, expected.locations, rtol=1e-5, atol=1e-3)
try:  # an index far outside: the kernel asserts, and the context answers nothing more in this process
    torch.zeros(4, device="cuda")[torch.tensor([1 << 20], device="cuda")].cpu()
except RuntimeError as error:
    print("broken:", str(error).splitlines()[0])
found = predictor.raw(batch)
np.testing.assert_array_equal(found.locations, expected.locations)
print("running:", predictor.take_fallbacks())
later = Predictor(spec, bundle, device="cuda", strict=True)
np.testing.assert_array_equal(later.raw(batch).locations, expected.locations)
print("later:", later.take_fallbacks())
"""


def test_a_device_that_breaks_leaves_the_cpu_to_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])},
    )
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "device-side assert" in lines["broken"]
    for name in ("running", "later"):
        assert "the CPU answers now, the device does not: " in lines[name], done.stdout


# --- of other shapes --------------------------------------------------------------------------------------------------


def batch_of(rng: np.random.Generator, rows: int, length: int):
    batch = make_batch(rng, rows)
    windows = rng.normal(20, 3, (rows, length, 1)).cumsum(axis=1).astype(np.float32)
    return replace(batch, windows=windows, season=windows[:, -24:, 0].copy())


def test_weights_lie_on_the_device(rng: np.random.Generator) -> None:
    spec = make_spec()
    model = build_model("ridge", make_bundle(rng, spec).tensors, library_of("cuda"))
    assert model.window.device.type == "cuda"


def test_a_model_that_answers_nothing_finite_fails_its_rows_there_too(rng: np.random.Generator) -> None:
    spec = make_spec()
    predictor = Predictor(spec, make_bundle(rng, spec), device="cuda")
    batch = make_batch(rng, 50)
    batch.windows[10, ::2, 0], batch.windows[10, 1::2, 0] = 3e38, -3e38
    raw = predictor.raw(batch)
    assert raw.reason[10] == Reason.NON_FINITE
    assert np.isfinite(raw.locations[np.arange(50) != 10, Rung.MODEL]).all()
