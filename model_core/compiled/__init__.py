"""Compiled kernels: the loops over readings, cells and windows, in C, called with the addresses of numpy arrays.

There is one implementation of each; the arrays stay numpy's and the columns stay `Columns`. A kernel gets plain
addresses, so an array must be contiguous and of the right type: `address` asserts both.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__ as _features  # type: ignore[import-not-found]

from model_core.arrays import AnyArray
from model_core.compiled import build

ROWS_WITH_LOCK = 1024  # a call over fewer rows keeps the interpreter's lock: it is over before another thread woke up
Library = tuple[ctypes.CDLL, ctypes.CDLL]  # the same one, keeping the interpreter's lock and letting go of it
_NEEDED = {"x86_64_v3": "X86_V3", "x86_64_v2": "X86_V2"}  # numpy's names for them


def load(folder: build.Folder = build.HERE) -> Library:
    """The library made of the C sources in a folder."""
    libraries = build.libraries(folder)
    offered = [libraries[level] for level in libraries if _features.get(_NEEDED.get(level, ""), True)]
    if not offered:
        raise RuntimeError("tidecast's kernels need a processor of level x86-64-v2 (SSE4.2) at least")
    path = offered[0]
    if not path.exists():
        build.build(folder)
    return ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))


_CORE = load()

INT = ctypes.c_int64
REAL = ctypes.c_double
ARRAY = ctypes.c_void_p  # the address of the first element


class Kernel:
    """A C function: `kernel(rows, …)`, the first argument the number of rows, which decides about the lock.

    Its second form `kernel.unlocked(…)` always lets go of the interpreter's lock: worth it from about 100 µs on.
    """

    def __init__(self, name: str, arguments: Sequence[Any], result: Any = None, library: Library = _CORE) -> None:
        self.keeping, self.unlocked = (getattr(loaded, name) for loaded in library)
        for function in (self.keeping, self.unlocked):
            function.argtypes = [INT, *arguments]
            function.restype = result

    def __call__(self, rows: int, *arguments: Any) -> Any:
        return (self.keeping if rows < ROWS_WITH_LOCK else self.unlocked)(rows, *arguments)


# An array object begins with its head, then the address of its first element: numpy's C API, frozen for years. To ask
# the array itself (`__array_interface__`) takes 3 µs, longer than most kernels run over a few cells.
_HEAD_BYTES = object.__basicsize__
_word_at = ctypes.c_int64.from_address


def address(array: AnyArray, dtype: Any) -> int:
    """Where a contiguous array of this type begins. The caller keeps the array alive, and lets nobody resize it."""
    assert array.dtype == dtype, f"expected {dtype}, found {array.dtype}"
    assert array.flags.c_contiguous, "expected a contiguous array"
    return _word_at(id(array) + _HEAD_BYTES).value


_probe = np.zeros(3)
if address(_probe, np.float64) != _probe.__array_interface__["data"][0]:
    raise RuntimeError(f"numpy {np.__version__} lays its arrays out in a way that tidecast does not know")
