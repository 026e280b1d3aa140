"""A device without room for the windows: smaller batches, in the end the CPU, the same answers, and it is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from model_core import predictor
from model_core.gpu_passes import SIZES
from model_core.ladder import Reason, Rung
from model_core.predictor import Predictor
from model_core.torch_library import TorchLibrary
from stream_app.models.loaded import LoadedModel
from stream_app.observability.metrics import Metrics
from stream_app.partitions.journaled import Journaled
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import ForecastBatches
from stream_app.settings import Limits
from tests.core.test_predictor import make_batch, make_bundle, make_spec

ROWS = SIZES[1] + 52
WINDOWS = 3  # dimensions of a batch of them


class SmallDevice(TorchLibrary):
    """Torch on the CPU in place of a GPU that has room for so many windows at once."""

    def __init__(self, room: int) -> None:
        super().__init__("cpu")
        self._room = room

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if len(shape) == WINDOWS and shape[0] > self._room:
            raise torch.OutOfMemoryError(f"no room for {shape[0]} windows")
        return super().zeros(shape, dtype)


@pytest.mark.parametrize(("room", "fallbacks"), [(SIZES[1], 0), (SIZES[2], 1), (SIZES[3], 2), (0, 3)])
def test_windows_that_a_device_has_no_room_for_are_answered_all_the_same_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, room: int, fallbacks: int
) -> None:
    spec = make_spec()
    bundle, windows = make_bundle(rng, spec), make_batch(rng, ROWS)
    expected = Predictor(spec, bundle, device="cpu").raw(windows)
    assert (expected.reason == Reason.OK).all()
    monkeypatch.setattr(predictor, "library_of", lambda device: SmallDevice(room))
    metrics = Metrics()
    metrics.begin("tides")
    settings: Any = SimpleNamespace(streams={"tides": spec}, device="cuda", is_strict=False, limits=Limits())
    forecasts = ForecastBatches(settings, registry=None, metrics=metrics)  # type: ignore[arg-type]
    forecasts.adopt("tides", LoadedModel(Predictor(spec, bundle, device="cuda"), bundle.facts()))
    state: Any = SimpleNamespace(next_offset=0, model_version=bundle.facts().version)
    owned = Owned(StreamPartition("tides", 0), spec, state, cast(Any, None), 0, 0, Journaled())
    seen: Any = SimpleNamespace(windows=windows)
    with capture_logs() as said:
        found = forecasts.answer({owned: seen})[owned]
    assert found is not None
    assert (found.reason == Reason.OK).all()
    np.testing.assert_allclose(found.locations[:, Rung.MODEL], expected.locations[:, Rung.MODEL], rtol=1e-5, atol=1e-3)
    assert metrics.registry.get_sample_value("tidecast_device_fallbacks_total", {"stream": "tides"}) == fallbacks
    assert len([line for line in said if line["log_level"] == "error"]) == fallbacks
