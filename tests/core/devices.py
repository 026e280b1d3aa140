"""Where torch can compute: always on the CPU, on a GPU where there is one."""

import pytest
import torch

from model_core import predictor
from model_core.batches import WindowBatch
from model_core.grid import Calendar
from model_core.libraries import Library
from model_core.model_inputs import Prepared
from model_core.preparation import dates_of, prepare
from model_core.preparation_torch import prepare_on
from model_core.torch_library import TorchLibrary

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
TORCH_DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


def give_torch(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """A predictor that is asked for CUDA is given torch, there or on the CPU."""
    found = predictor.library_of
    monkeypatch.setattr(predictor, "library_of", lambda name: TorchLibrary(device) if name == "cuda" else found(name))


def prepared_on(library: Library, batch: WindowBatch, calendar: Calendar) -> Prepared:
    """Windows as a model sees them, by the steps of that library's device."""
    if not isinstance(library, TorchLibrary):
        return prepare(batch, calendar)
    dates, row = dates_of(batch, calendar)
    arrays = batch.windows, batch.known, batch.center, batch.scale, batch.fill, dates, row
    return prepare_on(library, *map(library.array, arrays))
