"""Passes of fixed sizes: which windows are beside one another, and what lay there before, changes no answer."""

from dataclasses import replace

import numpy as np
import pytest

from model_core.gpu_passes import ORIGINS_MAX, SIZES
from model_core.predictor import Predictor
from tests.core.devices import TORCH_DEVICES, give_torch
from tests.core.test_predictor import make_batch, make_bundle, make_spec

SPEC = make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE")
CLOSE = {"rtol": 1e-5, "atol": 1e-3}


@pytest.fixture(params=TORCH_DEVICES)
def on_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch(monkeypatch, request.param)


@pytest.mark.usefixtures("on_torch")
@pytest.mark.parametrize("strict", [False, True])
def test_what_lay_in_a_pass_before_changes_nothing(rng: np.random.Generator, strict: bool) -> None:
    """Larger and smaller batches, with and without holes, take turns in the same passes."""
    bundle = make_bundle(rng, SPEC)
    passes, cpu = Predictor(SPEC, bundle, device="cuda", strict=strict), Predictor(SPEC, bundle, device="cpu")
    for rows in (SIZES[2] + 3, 5, SIZES[3], 1, SIZES[2], SIZES[2] - 1, 7):
        batch = make_batch(rng, rows, covariates=2, known=1, holes=float(rng.choice([0.0, 0.1])))
        expected, found = cpu.raw(batch), passes.raw(batch)
        np.testing.assert_allclose(found.locations, expected.locations, err_msg=str(rows), **CLOSE)
        assert found.suspicious.tolist() == expected.suspicious.tolist()
    assert passes.take_fallbacks() == []


@pytest.mark.usefixtures("on_torch")
@pytest.mark.parametrize("origins", [1, 100, ORIGINS_MAX, ORIGINS_MAX + 1, 2500])
def test_windows_of_any_number_of_origins_have_the_dates_of_their_own(rng: np.random.Generator, origins: int) -> None:
    bundle, batch = make_bundle(rng, SPEC), make_batch(rng, 2500, covariates=2, known=1)
    batch = replace(batch, origins=480_000 + rng.permutation(np.arange(2500) % origins))
    expected = Predictor(SPEC, bundle, device="cpu").raw(batch)
    found = Predictor(SPEC, bundle, device="cuda").raw(batch)
    np.testing.assert_allclose(found.locations, expected.locations, **CLOSE)
