"""Every kind of model, from windows to the published quantiles: on a GPU what the CPU publishes, batch after batch."""

import numpy as np
import pytest

from model_core.bundle import Bundle
from model_core.export_vectors import WorkerPath
from model_core.ladder import Rung
from model_core.spec import StreamSpec
from tests.app.test_model_export import SENSORS, SPEC, bundle_with_tables, demand_bundle, network_bundle
from tests.core.devices import TORCH_DEVICES, give_torch

RELATIVE = 1e-5
MODELS = {
    "ridge": lambda: (SPEC, bundle_with_tables(np.random.default_rng(5))),
    "a network beside ridge": lambda: (SENSORS, network_bundle()),
    "demand": lambda: (SPEC, demand_bundle()),
}


@pytest.fixture(params=TORCH_DEVICES)
def on_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch(monkeypatch, request.param)


@pytest.mark.usefixtures("on_torch")
@pytest.mark.parametrize("model", MODELS)
def test_what_is_published_is_what_the_cpu_publishes(model: str, seed: int) -> None:
    made: tuple[StreamSpec, Bundle] = MODELS[model]()
    for rows in (1, 7, 700, 65, 3):
        there, here = (WorkerPath(*made, rows, seed, device=device) for device in ("cuda", "cpu"))
        found, expected = there.publish(), here.publish()
        assert there.take_fallbacks() == []
        assert (expected.rungs == Rung.MODEL).all()
        assert found.rungs.tolist() == expected.rungs.tolist()
        spread = np.nanstd(here.inputs()["window"][:, :, 0], axis=1)  # what answers near zero are differences of
        room = RELATIVE * spread[:, None]
        close(found.quantiles, expected.quantiles, room[:, None])
        if expected.mean is not None:
            close(found.mean, expected.mean, room)


def close(found: np.ndarray, expected: np.ndarray, room: np.ndarray) -> None:
    apart = np.abs(found.astype(np.float64) - expected)
    assert (apart <= RELATIVE * np.abs(expected) + room).all(), apart.max()
