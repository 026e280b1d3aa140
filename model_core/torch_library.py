"""Torch as the array library, for a GPU. Imported where one is used, and nowhere else."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray


# How torch begins what it says of a device that failed; of its own error for it, which is newer than 2.6, all derive.
_OF_DEVICE = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS", "cuBLAS", "cuDNN error")


def why_no_cuda() -> str | None:
    """None: there is a CUDA device that answers."""
    if torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        return str(error).splitlines()[0]
    return "none is visible"


class TorchLibrary:
    """`device` as torch names it; the tests take "cpu", to hold it against the kernels."""

    xp: Any = torch
    out_of_memory: type[BaseException] = torch.OutOfMemoryError

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    @property
    def is_cpu(self) -> bool:
        return self._device.type == "cpu"

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, RuntimeError) and str(error).startswith(_OF_DEVICE)

    def array(self, array: AnyArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def numpy(self, array: Tensor) -> AnyArray:
        found: AnyArray = array.cpu().numpy()
        return found

    def float32(self, array: Tensor) -> Tensor:
        return array.float()

    def float64(self, array: Tensor) -> Tensor:
        return array.double()

    def int64(self, array: Tensor) -> Tensor:
        return array.long()

    def sort(self, array: Tensor) -> Tensor:
        return array.sort(dim=1).values

    def running_max(self, array: Tensor) -> Tensor:
        """[B, L] → the largest value so far of each row."""
        return array.cummax(dim=1).values

    def take(self, array: Tensor, index: Tensor) -> Tensor:
        """array[b, index[b, i]] for int64 [B, N]."""
        return array.gather(1, index)

    def largest(self, array: Tensor, count: int) -> Tensor:
        """[B, count], the largest values of each row, in any order."""
        return array.topk(count, dim=1).values
