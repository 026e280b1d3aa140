"""An exported model publishes what the worker publishes: quantiles included, whatever the size of the batch."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model_core.bundle import BASE, SERIES_TABLES, Bundle
from model_core.calendar_features import calendar_features, calendar_of
from model_core.export_vectors import difference, golden_vectors
from model_core.libraries import CPU
from model_core.models import DEMAND, PATCH_MIXER
from model_core.models.intermittent import OCCURRENCE, RATES, SIZE, Intermittent
from model_core.models.patch_mixer import MIDDLE, NEWEST, PATCH, SEASON, SPREAD, bias_name, weight_name
from model_core.models.patch_mixer_fit import HIDDEN
from model_core.spec import StreamSpec
from stream_app.cli import main
from stream_app.errors import TidecastError
from stream_app.models.export import DIFFERENCE_MAX, Run, Traced, runner, trace, write
from stream_app.models.registry import ModelRegistry
from stream_app.settings.model import Limits
from tests.core.test_predictor import make_bundle, make_spec

SPEC = make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE", aggregate="sum")
SENSORS = make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE")
SEALS = {"tensors", "sha256", "model"}  # of a manifest, what another sealed bundle has of its own
SERIES = ("a", "b", "c")
OUTPUTS = ["quantiles", "mean"]
LARGEST = Limits().forecast_batch_max  # as a worker forecasts at once
FAR_FROM_NOTHING = [0, 3]  # of seven golden vectors: others are clipped at 0, of seldom sales, or do not vary


def bundle_with_tables(rng: np.random.Generator, spec: StreamSpec = SPEC) -> Bundle:
    """Residual tables as a training leaves them: skewed, wider with the horizon, other ones for single series."""
    made = make_bundle(rng, spec)
    tables = {name: np.repeat(made.tensors[BASE][:1], rows, axis=0) for name, rows in ((BASE, 3), (SERIES_TABLES, 3))}
    for table in tables.values():
        table *= rng.uniform(0.5, 2, table.shape[:2])[:, :, None]
        table += rng.uniform(-0.3, 0.3, (len(table), 1, 1))
    fields = made.manifest.model_dump(exclude={"tensors", "sha256", "series"})
    return Bundle.sealed(made.tensors | tables, **fields, series=SERIES)


@pytest.fixture(scope="module")
def traced():
    return trace(SPEC, bundle_with_tables(np.random.default_rng(5)))


@dataclass(frozen=True)
class Exported:
    file: Path
    bundle: Bundle
    run: Run


def demand_bundle() -> Bundle:
    """A model that speaks for intermittent windows, of a season of five ticks."""
    made = bundle_with_tables(np.random.default_rng(6))
    usual = {RATES: np.array([0.1, 0.05]), OCCURRENCE: np.linspace(0.2, 1.8, 5), SIZE: np.linspace(0.8, 1.2, 5)}
    fields = made.manifest.model_dump(exclude={"tensors", "sha256", "model"})
    return Bundle.sealed(made.tensors | usual, **fields, model=DEMAND)


def network_bundle() -> Bundle:
    """Ridge and a network beside it, of as many units as training gives it, weights as it leaves them."""
    rng = np.random.default_rng(7)
    made = bundle_with_tables(rng, SENSORS)
    dates = calendar_of(SENSORS.grid, calendar_features(SENSORS), SENSORS.holidays).width
    width = min(SENSORS.context_length, NEWEST) + SENSORS.context_length // PATCH + 2 * SENSORS.horizon + 2 + dates
    network = {
        SEASON: np.array([SENSORS.horizon]),
        MIDDLE: rng.normal(0, 0.3, width),
        SPREAD: rng.uniform(0.3, 1, width),
    }
    for layer, (before, after) in enumerate(pairwise([width, *HIDDEN, SENSORS.horizon])):
        bound = before**-0.5
        network[weight_name(layer)] = rng.uniform(-bound, bound, (before, after))
        network[bias_name(layer)] = rng.uniform(-bound, bound, after)
    fields = made.manifest.model_dump(exclude=SEALS)
    weights = {name: each if name == SEASON else each.astype(np.float32) for name, each in network.items()}
    return Bundle.sealed(made.tensors | weights, **fields, model=PATCH_MIXER)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def exported(request, tmp_path_factory):
    """Ridge is in both; what a graph may lack is in the model of demand."""
    traced = trace(SPEC, demand_bundle()) if request.param == "onnx" else request.getfixturevalue("traced")
    file = tmp_path_factory.mktemp("export") / f"model.{request.param}.pt2"
    assert write(traced, file, request.param).difference <= DIFFERENCE_MAX
    return Exported(file, traced.bundle, runner(file, request.param, OUTPUTS))


@pytest.mark.parametrize("rows", [1, 7, LARGEST])
def test_it_says_what_the_worker_publishes(exported, rows):
    golden = golden_vectors(SPEC, exported.bundle, rows, seed=rows)
    assert rows == 1 or np.isnan(golden.inputs["window"]).any()
    assert_repeats(exported.run(golden.inputs), golden)


def test_the_network_says_in_onnx_what_the_worker_publishes(tmp_path):
    """It sums most, on top of ridge: the same 1e-5 holds for it, whatever the size of the batch."""
    made = network_bundle()
    file = tmp_path / "network.onnx"
    assert write(trace(SENSORS, made), file, "onnx").difference <= DIFFERENCE_MAX
    run = runner(file, "onnx", ["quantiles"])
    ridge = Bundle.sealed(made.tensors, **made.manifest.model_dump(exclude=SEALS), model="ridge")
    for rows in (1, 7, LARGEST):
        golden = golden_vectors(SENSORS, made, rows, seed=rows)
        assert_repeats(run(golden.inputs), golden)
    alone = golden_vectors(SENSORS, ridge, LARGEST, seed=LARGEST)
    assert (np.abs(alone.outputs["quantiles"] - golden.outputs["quantiles"]).max(axis=(1, 2)) > 0.01).mean() > 0.9


def assert_repeats(found, golden):
    scale = np.nanstd(golden.inputs["window"][:, :, 0].astype(np.float64), axis=1)
    for name, expected in golden.outputs.items():
        assert found[name].shape == expected.shape
        room = np.expand_dims(scale, tuple(range(1, expected.ndim)))
        assert (np.abs(found[name] - expected) <= DIFFERENCE_MAX * (np.abs(expected) + room)).all()


def test_of_a_model_of_demand_the_intermittent_steps_are_answered_by_another_model():
    made = demand_bundle()
    fields = made.manifest.model_dump(exclude={"tensors", "sha256", "model"})
    golden = golden_vectors(SPEC, made, 300, seed=300)
    plain = golden_vectors(SPEC, Bundle.sealed(made.tensors, **fields, model="ridge"), 300, seed=300)
    changed = plain.outputs["mean"] != golden.outputs["mean"]
    window = golden.inputs["window"][:, :, 0]
    other = Intermittent(made.tensors, SPEC.quantile_levels, CPU, whole=False)
    seldom = other(window, golden.inputs["phase"], SPEC.horizon).intermittent
    assert seldom[(window == 0).mean(axis=1) > 0.5].all()
    assert changed[seldom].mean() > 0.9  # nothing at all may be said by both
    assert 0.2 < seldom.mean() < 0.8
    assert not changed[~seldom].any()


def test_the_golden_vectors_beside_it_can_be_repeated_with_them_alone(exported):
    file = exported.file
    modes = {path.stat().st_mode for path in file.parent.iterdir() if path.name.startswith(file.name)}
    assert len(modes) == 1, "whoever may read the model may read what belongs to it"
    vectors, said = load_file(f"{file}.golden.safetensors"), json.loads(file.with_name(f"{file.name}.json").read_text())
    inputs = {each["name"]: vectors[f"input.{each['name']}"] for each in said["inputs"]}
    for each in said["inputs"]:
        assert list(inputs[each["name"]].shape[1:]) == each["shape"][1:]
        assert inputs[each["name"]].dtype == each["dtype"]
    found = exported.run(inputs)
    for each in said["outputs"]:
        assert difference(found[each["name"]], vectors[f"output.{each['name']}"], whole=False) <= DIFFERENCE_MAX
    assert len(said["calendar"]) == inputs["calendar"].shape[2]


def test_what_was_learned_since_training_moves_the_intervals(exported):
    inputs = golden_vectors(SPEC, exported.bundle, 7, seed=1).inputs
    inputs["bounds"] = np.tile([0.0, np.inf], (7, 1))
    slope = np.broadcast_to(np.linspace(-1, 1, len(SPEC.quantile_levels), dtype=np.float32), inputs["offsets"].shape)
    usual, wide, crossed = (
        exported.run(inputs | {"offsets": np.ascontiguousarray(factor * slope)})["quantiles"][FAR_FROM_NOTHING]
        for factor in (0, 1, -4)
    )
    width_of = [quantiles[:, -1] - quantiles[:, 0] for quantiles in (usual, wide)]
    assert (width_of[1] > width_of[0]).all()
    assert (width_of[1] > 1.2 * width_of[0]).mean() > 0.5  # of rare sales there is no more than the largest
    assert (np.diff(crossed, axis=1) == 0).any()
    assert (np.diff(crossed, axis=1) >= 0).all()


def test_a_file_that_says_something_else_is_not_written(tmp_path, monkeypatch, rng):
    def disagreeing(_file, _form, outputs):
        return lambda inputs: {name: np.zeros(1, np.float32) for name in outputs}

    bundle = bundle_with_tables(rng)
    without_graph = Traced(SPEC, bundle, golden_vectors(SPEC, bundle, 3, seed=0), program=None)
    monkeypatch.setattr("stream_app.models.export.write_torch", lambda _program, file, _outputs: file.touch())
    monkeypatch.setattr("stream_app.models.export.runner", disagreeing)
    with pytest.raises(TidecastError, match="differs from the worker's forecasts"):
        write(without_graph, tmp_path / "model.pt2", "torch")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_stream_is_not_exported(rng):
    other = SPEC.model_copy(update={"quantile_levels": (0.1, 0.5, 0.9)})
    with pytest.raises(TidecastError, match="quantile_levels"):
        trace(other, bundle_with_tables(rng))


def test_golden_vectors_show_what_is_easily_lost(rng):
    """Own tables, bounds that bite, holes, a window that does not vary."""
    golden = golden_vectors(SPEC, bundle_with_tables(rng), 64, seed=3)
    assert set(golden.inputs["base_row"]) == {0, 1, 2, 3}
    quantiles, bounds = golden.outputs["quantiles"], golden.inputs["bounds"]
    assert (quantiles == bounds[:, 1, None, None].astype(np.float32)).any()
    assert np.isnan(golden.inputs["window"]).any(axis=(1, 2)).any()
    assert (np.nanstd(golden.inputs["window"][-2:, :, 0], axis=1) == 0).all()


def test_counts_on_an_edge_may_be_rounded_either_way():
    expected = np.full((10, 200), 3.0, np.float32)
    found = expected.copy()
    found[0, 0] = 4.0
    assert difference(found, expected, whole=True) == 0
    assert difference(found, expected, whole=False) > 0.1
    found[1] = 4.0
    assert difference(found, expected, whole=True) > 0.1


def test_the_command_writes_the_champion_and_says_how_near_it_is(traced, tmp_path, monkeypatch, capsys):
    registry = ModelRegistry(str(tmp_path / "models"))
    registry.publish("rivers", traced.bundle, {})
    registry.promote("rivers", traced.bundle.manifest.version)
    config = tmp_path / "tidecast.toml"
    config.write_text(
        f'application_id = "t"\n[kafka]\nbootstrap_servers = "none:1"\n[models]\nregistry = "{tmp_path / "models"}"\n'
        '[streams.rivers]\ntopic = "rivers"\nfreq = "1h"\n'
    )
    asked = []
    monkeypatch.setattr("stream_app.models.export.trace", lambda *given: asked.append(given) or traced)
    out = tmp_path / "made" / "river.pt2"
    with pytest.raises(SystemExit) as ended:
        main(["models", "export", "champion", "--format", "torch", "--out", str(out), "--config", str(config)])
    assert not ended.value.code
    assert asked[0][1].manifest == traced.bundle.manifest
    assert {path.name for path in out.parent.iterdir()} == {
        f"river.pt2{end}" for end in ("", ".json", ".golden.safetensors")
    }
    assert "repeats 64 forecasts of model v1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["models", "export", "--format", "torch", "--out", str(tmp_path / "river.pt"), "--config", str(config)])
    assert "river.pt2" in capsys.readouterr().err
