"""The patch mixer begins at ridge, learns what one linear map cannot say, and answers alike wherever it is computed."""

import numpy as np
import pytest
import torch

from model_core.bundle import Bundle
from model_core.errors import CorruptBundle
from model_core.libraries import CPU
from model_core.model_inputs import ModelInputs
from model_core.models import build_model
from model_core.models.patch_mixer import LAYERS, MIDDLE, SEASON, SPREAD, bias_name, mixer_features, weight_name
from model_core.models.patch_mixer_fit import fit_network
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.predictor import Predictor
from model_core.torch_library import TorchLibrary
from model_core.training.dataset import TrainingWindows
from model_core.training.train import train
from tests.core.devices import TORCH_DEVICES
from tests.core.test_training import MADE, make_history, make_spec

LENGTH, HORIZON, DATES = 50, 10, 3


def make_inputs(rng: np.random.Generator, rows: int, size: float = 1.0) -> ModelInputs:
    nothing = np.zeros((rows, LENGTH, 0), np.float32), np.zeros((rows, HORIZON, 0), np.float32)
    target = (size * rng.normal(size=(rows, LENGTH))).astype(np.float32)
    rough = rng.uniform(-1, 1, rows).astype(np.float32)
    calendar = rng.normal(size=(4, HORIZON, DATES)).astype(np.float32)
    return ModelInputs(CPU, target, rough, *nothing, calendar, rng.integers(0, 4, rows))


def make_tensors(rng: np.random.Generator, season: int = 24, last: float = 0.3) -> dict[str, np.ndarray]:
    answer = np.zeros((1, HORIZON), np.float32)
    features = mixer_features(make_inputs(rng, 1), answer, season).shape[1]
    widths = [features, 12, 7, HORIZON]
    made = {
        WINDOW_WEIGHT: rng.normal(0, 0.2, (window_width(LENGTH, 0), HORIZON)),
        TARGET_WEIGHT: rng.normal(0, 0.2, (DATES, HORIZON)),
        MIDDLE: rng.normal(size=features),
        SPREAD: rng.uniform(0.5, 2, features),
    }
    for layer in range(LAYERS):
        scale = last if layer == LAYERS - 1 else 0.3
        made[weight_name(layer)] = rng.normal(0, scale, (widths[layer], widths[layer + 1])) * (scale > 0)
        made[bias_name(layer)] = rng.normal(0, scale, widths[layer + 1]) * (scale > 0)
    return {SEASON: np.array([season])} | {name: each.astype(np.float32) for name, each in made.items()}


@pytest.mark.parametrize("season", [7, 24, 168])
def test_the_kernel_answers_as_a_plain_network_in_float64(rng: np.random.Generator, season: int) -> None:
    inputs, tensors = make_inputs(rng, 101), make_tensors(rng, season)
    ridge = build_model("ridge", tensors, CPU)(inputs)
    x = (mixer_features(inputs, ridge, season).astype(float) - tensors[MIDDLE]) / tensors[SPREAD]
    x = np.minimum(np.maximum(x, -6), 6)
    for layer in range(LAYERS):
        x = x @ tensors[weight_name(layer)].astype(float) + tensors[bias_name(layer)]
        x = np.where(x > 0, x, 0) if layer < LAYERS - 1 else x
    found = build_model("patch_mixer", tensors, CPU)(inputs)
    np.testing.assert_allclose(found, ridge + x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", TORCH_DEVICES)
def test_it_answers_as_torch_does_and_each_row_alike_in_any_company(rng: np.random.Generator, device: str) -> None:
    inputs, tensors = make_inputs(rng, 30), make_tensors(rng)
    found = build_model("patch_mixer", tensors, CPU)(inputs)
    library = TorchLibrary(device)
    arrays = vars(inputs) | {"library": library}
    moved = {name: library.array(each) if isinstance(each, np.ndarray) else each for name, each in arrays.items()}
    theirs = build_model("patch_mixer", tensors, library)(ModelInputs(**moved))
    np.testing.assert_allclose(found, library.numpy(theirs), rtol=1e-5, atol=1e-5)
    for row in (0, 7, 29):
        one = slice(row, row + 1)
        alone = {name: getattr(inputs, name)[one] for name in ("target", "roughness", "covariates", "known")}
        alone |= {"calendar": inputs.calendar, "calendar_row": inputs.calendar_row[one]}
        assert build_model("patch_mixer", tensors, CPU)(ModelInputs(CPU, **alone)).tobytes() == found[one].tobytes()


def test_with_a_last_layer_of_zeros_it_is_ridge(rng: np.random.Generator) -> None:
    inputs, tensors = make_inputs(rng, 20), make_tensors(rng, last=0.0)
    ridge, mixer = (build_model(name, tensors, CPU)(inputs) for name in ("ridge", "patch_mixer"))
    np.testing.assert_array_equal(mixer, ridge)


def test_what_the_network_adds_is_bounded_however_strange_the_window(rng: np.random.Generator) -> None:
    tensors = make_tensors(rng)
    most = np.full(len(tensors[MIDDLE]), 6.0)
    for layer in range(LAYERS):
        most = most @ np.abs(tensors[weight_name(layer)]) + np.abs(tensors[bias_name(layer)])
    for size in (1.0, 1e3, 1e6):
        inputs = make_inputs(rng, 50, size)
        ridge, mixer = (build_model(name, tensors, CPU)(inputs).astype(float) for name in ("ridge", "patch_mixer"))
        assert (np.abs(mixer - ridge) <= most + 1e-5 * np.abs(ridge)).all()


@pytest.mark.parametrize("broken", [SEASON, MIDDLE, weight_name(1), bias_name(2)])
def test_a_missing_weight_or_one_of_another_shape_is_refused(rng: np.random.Generator, broken: str) -> None:
    tensors = make_tensors(rng)
    shorter = tensors | {broken: tensors[broken][:-1]}
    del tensors[broken]
    for each in (tensors, shorter):
        with pytest.raises(CorruptBundle, match="patch mixer"):
            build_model("patch_mixer", each, CPU)


def test_fitting_is_the_same_each_time_and_leaves_torchs_own_numbers_alone(rng: np.random.Generator) -> None:
    rows = (rng.normal(size=(700, 9)).astype(np.float32), rng.normal(size=(700, 4)), rng.uniform(1, 2, 700))
    rows[1][rng.random((700, 4)) < 0.2] = np.nan
    torch.manual_seed(5)
    first = fit_network([rows], 24, 3)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    again, other = fit_network([rows], 24, 3), fit_network([rows], 24, 4)
    assert torch.equal(torch.rand(3), drawn)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
    assert all(np.isfinite(each).all() for each in first.values())


def switching(rng: np.random.Generator, ticks: int) -> np.ndarray:
    """Four series that climb at one speed and fall at another, turning at their bounds: no linear map knows which."""
    cells = np.empty((ticks, 4))
    level, rising = rng.uniform(20, 80, 4), np.ones(4, bool)
    for tick in range(ticks):
        level = level + np.where(rising, 1.0, -7.0) * rng.uniform(0.9, 1.1, 4)
        rising = np.where(level > 90, False, np.where(level < 10, True, rising))
        cells[tick] = level
    return cells


def test_where_no_linear_map_fits_training_with_auto_takes_the_network_and_it_errs_less(
    rng: np.random.Generator,
) -> None:
    cells = switching(rng, 1700)
    history = make_history(cells[:1400])
    bundles: dict[str, Bundle] = {}
    for model in ("ridge", "auto"):
        trained = train(history, make_spec(model=model), device="cpu", **MADE)
        bundles[model] = Bundle.from_files(trained.bundle.to_files())
    assert [bundle.manifest.model for bundle in bundles.values()] == ["ridge", "patch_mixer"]
    errors = {}
    for model, bundle in bundles.items():
        spec = make_spec(model=model)
        errors[model] = _errors(spec, bundle, cells)
    assert errors["auto"] < 0.8 * errors["ridge"], errors


def _errors(spec, bundle: Bundle, cells: np.ndarray) -> float:
    """Mean absolute error at origins that training has not seen."""
    windows = TrainingWindows(spec, make_history(cells))
    origins = np.arange(1410, 1680)
    series, at = np.tile(np.arange(4), len(origins)), np.repeat(origins, 4)
    raw = Predictor(spec, bundle, device="cpu").raw(windows.batch(series, at, bundle.manifest.season))
    return float(np.abs(windows.targets(series, at) - raw.locations[:, 0]).mean())


def test_where_a_line_is_all_there_is_auto_stays_with_ridge(rng: np.random.Generator) -> None:
    cells = np.zeros((1500, 3))
    for tick in range(1, 1500):
        cells[tick] = 0.7 * cells[tick - 1] + rng.normal(size=3)
    trained = train(make_history(cells), make_spec(model="auto"), device="cpu", **MADE)
    assert trained.bundle.manifest.model == "ridge"
