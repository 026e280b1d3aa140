"""Torch as the array library, for a GPU. Imported where one is used, and nowhere else."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray


def has_cuda() -> bool:
    return torch.cuda.is_available()


class TorchLibrary:
    """`device` as torch names it; the tests take "cpu", to hold it against the kernels."""

    xp: Any = torch
    out_of_memory: type[BaseException] = torch.OutOfMemoryError

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    @property
    def is_cpu(self) -> bool:
        return self._device.type == "cpu"

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
