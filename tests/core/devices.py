"""Where torch can compute: always on the CPU, on a GPU where there is one."""

import pytest
import torch

from model_core import predictor
from model_core.torch_library import TorchLibrary

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
TORCH_DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


def give_torch(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """A predictor that is asked for CUDA is given torch, there or on the CPU."""
    found = predictor.library_of
    monkeypatch.setattr(predictor, "library_of", lambda name: TorchLibrary(device) if name == "cuda" else found(name))
