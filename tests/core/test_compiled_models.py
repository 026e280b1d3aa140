"""What is compiled for the processor says what torch says of the same windows, and of each row the same bytes."""

import math
from itertools import pairwise

import numpy as np
import pytest

from model_core.batches import FILL_CODES
from model_core.calendar_features import calendar_features, calendar_of
from model_core.libraries import CPU
from model_core.model_inputs import ModelInputs, Prepared
from model_core.models.ridge import Ridge, window_width
from model_core.preparation import prepare
from model_core.torch_library import TorchLibrary
from tests.core.devices import TORCH_DEVICES, prepared_on
from tests.core.test_predictor import LENGTH, make_batch, make_spec

SPEC = make_spec(holidays="DE")
CALENDAR = calendar_of(SPEC.grid, calendar_features(SPEC), "DE")


@pytest.fixture(params=TORCH_DEVICES)
def theirs(request: pytest.FixtureRequest) -> TorchLibrary:
    return TorchLibrary(request.param)


def prepared(
    rng: np.random.Generator, rows: int, library: TorchLibrary | None = None, **shape
) -> tuple[Prepared, Prepared]:
    batch = make_batch(rng, rows, **shape)
    batch.windows[: rows // 4, :, 0] += np.float32(1e5)
    batch.fill[: rows // 4] = FILL_CODES["interpolate"]  # zeros far below would cost either its digits
    batch.windows[-2:, :, 0] = 7.5
    batch.windows[-4:-2, : LENGTH // 2, 0] = np.nan  # a long hole at the beginning
    batch.windows[-6:-4, LENGTH // 2 :, 0] = np.nan
    batch.center[...] = rng.normal(400, 50, batch.center.shape)
    batch.scale[...] = rng.choice([0.0, 1.0, 250.0], batch.scale.shape)
    return prepare(batch, CALENDAR), prepared_on(library or CPU, batch, CALENDAR)


SHAPES = [{}, {"holes": 0.2}, {"covariates": 2, "known": 1, "holes": 0.1}, {"covariates": 1, "known": 1}]


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_prepared_as_torch_prepares_them(rng: np.random.Generator, theirs: TorchLibrary, shape) -> None:
    found, expected = prepared(rng, 300, theirs, **shape)
    for name in ("center", "scale"):
        np.testing.assert_allclose(getattr(found, name), theirs.numpy(getattr(expected, name)), rtol=2e-6, err_msg=name)
    for name in ("constant", "suspicious"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.suspicious.any()
    assert not found.suspicious.all()
    for name in ("target", "roughness", "covariates", "known", "calendar"):
        ours, torchs = getattr(found.inputs, name), theirs.numpy(getattr(expected.inputs, name))
        assert (ours.dtype, ours.shape) == (torchs.dtype, torchs.shape), name
        np.testing.assert_allclose(ours, torchs, rtol=1e-5, atol=2e-5, err_msg=name)
    assert found.inputs.calendar_row.tolist() == expected.inputs.calendar_row.tolist()


@pytest.mark.parametrize("horizon", [1, 5, 8, 12, 24])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_ridge_answers_as_torch_does(rng: np.random.Generator, theirs: TorchLibrary, shape, horizon: int) -> None:
    inputs = prepared(rng, 101, **shape)[0].inputs
    known = inputs.known.shape[2]
    width = window_width(LENGTH, inputs.covariates.shape[2], known * horizon)
    shapes = [(101, horizon, known), (3, horizon, 4), (width, horizon), (4 + known, horizon)]
    ahead, calendar, window, target = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes)
    arrays = (inputs.target, inputs.roughness, inputs.covariates, ahead, calendar, rng.integers(0, 3, 101))
    found = Ridge(window, target)(ModelInputs(CPU, *arrays))
    torchs = Ridge(theirs.array(window), theirs.array(target))(ModelInputs(theirs, *map(theirs.array, arrays)))
    np.testing.assert_allclose(found, theirs.numpy(torchs), rtol=1e-5, atol=1e-5)


def test_weights_of_another_shape_are_refused(rng: np.random.Generator) -> None:
    inputs = prepared(rng, 30)[0].inputs
    ridge = Ridge(np.zeros((window_width(LENGTH, 0), 3), np.float32), np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        ridge(inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_is_prepared_alike_in_any_company(rng: np.random.Generator, shape) -> None:
    batch = make_batch(rng, 60, **shape)
    batch.windows[:, :, 0] *= 10.0 ** rng.integers(-20, 20, 60)[:, None]
    together = prepare(batch, CALENDAR)
    for row in range(60):
        alone = prepare(batch.rows(slice(row, row + 1)), CALENDAR)
        for name in ("target", "roughness", "covariates", "known"):
            assert getattr(alone.inputs, name)[0].tobytes() == getattr(together.inputs, name)[row].tobytes()
        for name in ("center", "scale", "suspicious"):
            assert getattr(alone, name)[0].tobytes() == getattr(together, name)[row].tobytes()


def test_roughness_is_the_logarithm_that_it_is_said_to_be(rng: np.random.Generator) -> None:
    """The logarithm is our own: over windows from smooth to wild it is that of the library."""
    smooth = np.sin(np.arange(LENGTH) * rng.uniform(0.01, 3, 500)[:, None]) + 0.01 * rng.normal(size=(500, LENGTH))
    batch = make_batch(rng, 500)
    batch.windows[:, :, 0] = smooth
    inputs = prepare(batch, CALENDAR).inputs
    for target, found in zip(inputs.target, inputs.roughness.tolist(), strict=True):
        ratio = sum((float(b) - float(a)) ** 2 for a, b in pairwise(target)) / (LENGTH - 1)
        expected = (min(max(0.5 * math.log(ratio + 1e-12), -4.0), 1.0) + 1.5) / 1.5
        assert found == pytest.approx(expected, abs=2e-6)
