"""The array library of a device: numpy and compiled kernels on the CPU, torch on a GPU.

A worker on the CPU never imports torch, which costs 3 s at start and 600 MB of memory (measured). Functions that both
call by the same name are in `xp`; a Library has the rest.
"""

from typing import Any, Protocol

import numpy as np

from model_core.arrays import AnyArray
from model_core.errors import NoDevice

Array = Any  # of the library in question: numpy's, or a torch tensor
DRIVERS = ("libcuda.so.1", "nvcuda.dll")


class Library(Protocol):
    """`xp`: functions that both know, called as both take them (`axis`, `keepdims`)."""

    xp: Any

    @property
    def name(self) -> str:
        """Of the device, as a person knows it."""

    def array(self, array: AnyArray) -> Array:
        """On the device, contiguous."""

    def constant(self, array: AnyArray) -> Array:
        """The same of a few numbers that are asked for again and again: they are brought there once."""

    def numpy(self, array: Array) -> AnyArray: ...

    def float64(self, array: Array) -> Array: ...

    def int64(self, array: Array) -> Array: ...

    def row_sum(self, array: Array) -> Array:
        """[B, L] → [B], in an order that does not depend on where a row lies."""

    def sort(self, array: Array) -> Array:
        """Each row of [B, L], rising."""

    def running_max(self, array: Array) -> Array:
        """[B, L] → the largest value so far of each row."""

    def take(self, array: Array, index: Array) -> Array:
        """array[b, index[b, i]] for int64 [B, N]."""


class NumpyLibrary:
    """The CPU."""

    xp: Any = np
    name = "cpu"

    def array(self, array: AnyArray) -> AnyArray:
        return np.ascontiguousarray(array)

    def constant(self, array: AnyArray) -> AnyArray:
        return array

    def numpy(self, array: AnyArray) -> AnyArray:
        return array

    def float64(self, array: AnyArray) -> AnyArray:
        return array.astype(np.float64)

    def int64(self, array: AnyArray) -> AnyArray:
        return array.astype(np.int64)

    def row_sum(self, array: AnyArray) -> AnyArray:
        total: AnyArray = array.sum(axis=1)
        return total

    def sort(self, array: AnyArray) -> AnyArray:
        return np.sort(array, axis=1)

    def running_max(self, array: AnyArray) -> AnyArray:
        largest: AnyArray = np.maximum.accumulate(array, axis=1)
        return largest

    def take(self, array: AnyArray, index: AnyArray) -> AnyArray:
        taken: AnyArray = np.take_along_axis(array, index, axis=1)
        return taken


CPU = NumpyLibrary()


def library_of(device: str) -> Library:
    """auto | cpu | cuda → the library; auto takes CUDA where there is one. NoDevice where cuda was asked for and is not
    there: whoever names a device has sized a deployment for it."""
    if device == "cpu":
        return CPU
    why_not = "it has no CUDA driver" if not _has_driver() else None
    if why_not is None:
        try:
            from model_core.torch_library import TorchLibrary, why_no_cuda
        except ModuleNotFoundError as missing:
            why_not = f"no module {missing.name}; the `cuda` image has it"
        else:
            why_not = why_no_cuda()
            if why_not is None:
                return TorchLibrary("cuda")
    if device == "cuda":
        raise NoDevice(
            f'device = "cuda": expected a GPU on this machine, found none ({why_not}). Or take device = "auto".'
        )
    return CPU


def _has_driver() -> bool:
    """Whether asking torch for CUDA can lead to anything: importing it only to hear no is dear."""
    import ctypes

    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
