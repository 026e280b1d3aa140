"""Torch as the array library, for a GPU. Imported only where a GPU is used."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray

# How torch begins what it says of a device that failed; of its own error for it, which is newer than 2.6, all derive.
_OF_DEVICE = ("CUDA out of memory", "CUDA error", "CUDA driver error", "CUBLAS_STATUS", "cuBLAS", "cuDNN error")


def why_no_cuda() -> str | None:
    """None: there is a CUDA device that answers."""
    if torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        return str(error).splitlines()[0]
    return "none is visible"


class TorchLibrary:
    """`device` as torch names it; the tests take "cpu", to hold it against the kernels."""

    xp: Any = torch

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._constants: dict[tuple[str, bytes], Tensor] = {}

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self._device) if self.records else f"torch on {self._device}"

    @property
    def records(self) -> bool:
        """Whether its kernels can be recorded and replayed."""
        return self._device.type == "cuda"

    def is_at_fault(self, error: Exception) -> bool:
        """Whether an error is the device's and not that of what was asked of it."""
        return isinstance(error, RuntimeError) and str(error).startswith(_OF_DEVICE)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def array(self, array: AnyArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def constant(self, array: AnyArray) -> Tensor:
        key = array.dtype.str, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.array(array)
        return self._constants[key]

    def numpy(self, array: Tensor) -> AnyArray:
        found: AnyArray = array.cpu().numpy()
        return found

    def float32(self, array: Tensor) -> Tensor:
        return array.float()

    def float64(self, array: Tensor) -> Tensor:
        return array.double()

    def int64(self, array: Tensor) -> Tensor:
        return array.long()

    def row_sum(self, array: Tensor) -> Tensor:
        """[B, L] → [B], by halves, cell by cell: torch's own sum of a row depends on whether the row begins on 16 bytes
        (seen on an H100, in rows of more than 128 cells)."""
        length = array.shape[1]
        width = 1 << (length - 1).bit_length()
        if width > length:
            array = torch.cat([array, torch.zeros_like(array[:, : width - length])], dim=1)
        while width > 1:
            width //= 2
            array = array[:, :width] + array[:, width:]
        return array[:, 0]

    def sort(self, array: Tensor) -> Tensor:
        return array.sort(dim=1).values

    def running_max(self, array: Tensor) -> Tensor:
        """[B, L] → the largest value so far of each row."""
        return array.cummax(dim=1).values

    def take(self, array: Tensor, index: Tensor) -> Tensor:
        """array[b, index[b, i]] for int64 [B, N]."""
        return array.gather(1, index)
