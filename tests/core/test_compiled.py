"""The compiled kernels: built from what is in the checkout, refused when the arrays are not what C will read."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model_core.compiled import address, build

COMPILED = Path(build.__file__).parent

SOURCES_ONLY = shutil.ignore_patterns("*.so", "__pycache__", ".building-*")  # the last: left by a build that was killed


def test_an_array_of_another_type_or_with_gaps_is_refused():
    cells = np.zeros((4, 4))
    assert address(cells, np.float64) == cells.ctypes.data
    with pytest.raises(AssertionError, match="float32"):
        address(cells, np.float32)
    with pytest.raises(AssertionError, match="contiguous"):
        address(cells[:, ::2], np.float64)


def test_an_address_is_the_one_that_numpy_gives():
    fixed = np.arange(6.0)
    fixed.flags.writeable = False
    every = [
        fixed,
        fixed[2:],
        np.zeros((2, 0)),
        np.array(5.0),
        np.zeros(3, np.int8).view(np.bool_),
        np.ones((3, 4)).T.T,
    ]
    for array in every:
        assert address(array, array.dtype.type) == array.ctypes.data


def test_a_changed_source_is_another_library(tmp_path):
    here = build.libraries()
    folder = tmp_path / "compiled"
    shutil.copytree(COMPILED, folder, ignore=SOURCES_ONLY)
    (folder / "scoring.c").write_text("int more(void) { return 1; }\n")
    command = "import runpy; print([p.name for p in runpy.run_path('build.py')['libraries']().values()])"
    done = subprocess.run([sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert not set(names_in(done.stdout)) & {path.name for path in here.values()}


def test_what_does_not_compile_says_so_and_leaves_nothing(tmp_path):
    folder = tmp_path / "compiled"
    shutil.copytree(COMPILED, folder, ignore=SOURCES_ONLY)
    (folder / "scoring.c").write_text("int broken(void) { return }\n")
    command = "import runpy; runpy.run_path('build.py')['build']()"
    done = subprocess.run([sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "did not compile" in done.stderr
    assert "scoring.c" in done.stderr
    assert not [path for path in folder.iterdir() if path.suffix == ".so" or path.name.startswith(".building")]


def names_in(printed: str) -> list[str]:
    return [name.strip(" '[]\n") for name in printed.split(",")]
