"""The predictor: both naive forecasts, when the model is asked, and that a strict row depends on itself alone."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from model_core.batches import FILL_CODES, WindowBatch
from model_core.bundle import BASE, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.calendar_features import calendar_features, calendar_of
from model_core.errors import CorruptBundle, LayoutMismatch
from model_core.ladder import Reason, Rung
from model_core.libraries import CPU
from model_core.models import MODELS, build_model
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.predictor import Predictor
from model_core.preparation import prepare
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary
from tests.core.devices import TORCH_DEVICES, prepared_on

LENGTH, HORIZON, SEASON = 40, 5, 12


def make_spec(**changes) -> StreamSpec:
    return StreamSpec(topic="t", freq="1h", context_length=LENGTH, horizon=HORIZON, **changes)


def make_batch(rng, rows: int, *, covariates: int = 0, known: int = 0, holes: float = 0.0, season: int = SEASON):
    windows = rng.normal(20, 3, (rows, LENGTH, 1 + covariates)).cumsum(axis=1).astype(np.float32)
    windows[rng.random(windows.shape) < holes] = np.nan
    return WindowBatch(
        windows=windows,
        known=rng.normal(size=(rows, HORIZON, known)).astype(np.float32),
        season=windows[:, LENGTH - season :, 0],
        origins=rng.integers(480_000, 480_100, rows),
        center=np.full((rows, 1 + covariates), 400.0),
        scale=np.full((rows, 1 + covariates), 250.0),
        level=np.zeros(rows),
        fill=rng.integers(0, 3, rows).astype(np.int8),
        readings=np.full(rows, 10_000),
    )


def make_bundle(rng, spec: StreamSpec, **changes) -> Bundle:
    covariates = len(spec.past_covariates) + len(spec.future_covariates)
    calendar = calendar_of(spec.grid, calendar_features(spec), spec.holidays)
    facts = ModelFacts.none(spec)
    window = rng.normal(0, 0.1, (window_width(LENGTH, covariates, len(spec.future_covariates) * HORIZON), HORIZON))
    target = rng.normal(0, 0.1, (calendar.width + len(spec.future_covariates), HORIZON))
    tensors = {
        BASE: facts.base,
        SERIES_TABLES: facts.series_tables,
        WINDOW_WEIGHT: window.astype(np.float32),
        TARGET_WEIGHT: target.astype(np.float32),
    }
    fields = {
        "model": "ridge",
        "version": "v1",
        "created_at": "2026-01-01T00:00:00Z",
        **Manifest.of_stream(spec),
        "season": SEASON,
        "season_found": True,
        "cusum_threshold": 20.0,
        "false_alarms_per_million": None,
        "series": (),
        "training": Training(),
    }
    return Bundle.sealed(tensors, **(fields | changes))


# --- naive forecasts ------------------------------------------------------------------------------------------------


def test_last_value_is_the_newest_observed_cell_of_the_last_season(rng):
    batch = make_batch(rng, 300, holes=0.6)
    batch.windows[:20, -SEASON:, 0] = np.nan
    found = Predictor(make_spec(), None).raw(batch).locations[:, Rung.LAST_VALUE]
    for row in range(len(batch)):
        recent = [cell for cell in batch.windows[row, -SEASON:, 0].tolist() if not np.isnan(cell)]
        expected = recent[-1] if recent else np.nan
        np.testing.assert_array_equal(found[row], np.full(HORIZON, expected))


@pytest.mark.parametrize("season", [2, 3, 12])
def test_seasonal_naive_repeats_the_last_season_however_long_the_horizon(rng, season):
    batch = make_batch(rng, 300, holes=0.3, season=season)
    raw = Predictor(make_spec(), None).raw(batch)
    for row in range(len(batch)):
        cells = batch.season[row].astype(float).tolist()
        asked = cells[: min(HORIZON, season)]
        last = raw.locations[row, Rung.LAST_VALUE, 0]
        there = sum(not np.isnan(cell) for cell in asked)
        expected = [last if np.isnan(cells[h % season]) else cells[h % season] for h in range(HORIZON)]
        if there < len(asked) / 2 or np.isnan(last):
            expected = [np.nan] * HORIZON
        np.testing.assert_array_equal(raw.locations[row, Rung.SEASONAL_NAIVE], expected)


def test_without_a_model_every_row_says_so(rng):
    raw = Predictor(make_spec(), None).raw(make_batch(rng, 7))
    assert (raw.reason == Reason.NO_MODEL).all()
    assert np.isnan(raw.locations[:, Rung.MODEL]).all()


# --- when the model is asked ----------------------------------------------------------------------------------------


def test_the_model_answers_only_for_windows_that_are_long_and_full_enough(rng):
    spec = make_spec()
    batch = make_batch(rng, 4)
    batch.windows[1, :9, 0] = np.nan  # 31 of 40 observed
    batch.season[2, :7] = np.nan  # 5 of 12 observed
    batch.readings[3] = 31
    raw = Predictor(spec, make_bundle(rng, spec), device="cpu").raw(batch)
    expected = [Reason.OK, Reason.TOO_MANY_HOLES, Reason.TOO_MANY_HOLES, Reason.TOO_SHORT]
    assert raw.reason.tolist() == expected
    assert np.isfinite(raw.locations[:, Rung.MODEL]).all(axis=1).tolist() == [True, False, False, False]
    np.testing.assert_allclose(raw.observed_share[:2], [1.0, 31 / 40])


def test_one_sick_series_leaves_the_others_their_model(rng):
    spec = make_spec()
    batch = make_batch(rng, 50)
    healthy = Predictor(spec, make_bundle(np.random.default_rng(1), spec), device="cpu", strict=True)
    before = healthy.raw(batch)
    batch.windows[10, ::2, 0] = 3e38  # its squares are beyond float32
    batch.windows[10, 1::2, 0] = -3e38
    after = healthy.raw(batch)
    assert after.reason[10] == Reason.NON_FINITE
    others = np.arange(50) != 10
    assert (after.reason[others] == Reason.OK).all()
    np.testing.assert_array_equal(after.locations[others, Rung.MODEL], before.locations[others, Rung.MODEL])


@pytest.mark.parametrize("error", [RuntimeError, TypeError, AttributeError, ZeroDivisionError])
def test_a_model_that_raises_fails_its_rows_and_nothing_else(rng, monkeypatch, error):
    spec = make_spec()

    def broken(_inputs):
        raise error("singular")

    monkeypatch.setitem(MODELS, "ridge", lambda _tensors, _library: broken)
    predictor = Predictor(spec, make_bundle(rng, spec), device="cpu")
    raw = predictor.raw(make_batch(rng, 5))
    assert (raw.reason == Reason.MODEL_FAILED).all()
    assert np.isfinite(raw.locations[:, Rung.LAST_VALUE]).all()


def test_three_newest_cells_far_out_a_wide_spread_and_none_are_suspicious_but_a_calm_one_is_not(rng):
    spec = make_spec()
    batch = make_batch(rng, 7)
    noise = rng.normal(0, 1, batch.windows.shape)  # of forty cells: its own spread is anything from .7 to 1.4
    batch.windows[...] = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    batch.center[...], batch.scale[...] = 0.0, 1.0
    batch.windows[1, -3:, 0] = 9.0
    batch.windows[2, -2:, 0] = 9.0
    batch.scale[3] = 1 / 7
    batch.scale[5:, 0] = 70.0, 150.0
    batch.windows[4, -4:-1, 0], batch.windows[4, -1, 0] = 9.0, np.nan
    raw = Predictor(spec, make_bundle(rng, spec), device="cpu").raw(batch)
    assert raw.suspicious.tolist() == [False, True, False, True, True, False, True]


def test_a_scale_that_is_not_known_yet_makes_nothing_suspicious(rng):
    spec = make_spec()
    batch = make_batch(rng, 5)
    batch.scale[...] = 0.0
    assert not Predictor(spec, make_bundle(rng, spec), device="cpu").raw(batch).suspicious.any()


def test_a_model_of_other_shapes_is_refused_with_what_differs(rng):
    bundle = make_bundle(rng, make_spec())
    with pytest.raises(LayoutMismatch, match="horizon"):
        Predictor(StreamSpec(topic="t", freq="1h", context_length=LENGTH, horizon=7), bundle)


def test_an_unknown_model_is_refused(rng):
    spec = make_spec()
    with pytest.raises(CorruptBundle, match="ridge"):
        Predictor(spec, make_bundle(rng, spec, model="oracle"))


# --- filling and scaling --------------------------------------------------------------------------------------------


def test_holes_are_filled_as_a_plain_loop_would(rng):
    spec = make_spec()
    batch = make_batch(rng, 200, holes=0.15)
    batch.windows[0, :3, 0] = np.nan
    batch.windows[1, -3:, 0] = np.nan
    calendar = calendar_of(spec.grid, calendar_features(spec), None)
    prepared = prepare(batch, calendar)
    found = prepared.inputs.target.astype(float) * prepared.scale[:, None] + prepared.center[:, None]
    for row in range(len(batch)):
        cells = batch.windows[row, :, 0].astype(float)
        observed = np.flatnonzero(~np.isnan(cells))
        code = int(batch.fill[row])
        if code == FILL_CODES["zero"]:
            expected = np.nan_to_num(cells)
        elif code == FILL_CODES["interpolate"]:
            expected = np.interp(np.arange(LENGTH), observed, cells[observed])
        else:
            expected = np.array([cells[observed[max(0, np.sum(observed <= i) - 1)]] for i in range(LENGTH)])
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(float(prepared.center[row]), cells[observed].mean(), rtol=1e-5)
        np.testing.assert_allclose(float(prepared.scale[row]), cells[observed].std(), rtol=1e-4)


def test_a_constant_window_is_forecast_as_constant(rng):
    spec = make_spec()
    batch = make_batch(rng, 3)
    batch.windows[...] = np.array([0.0, 7.5, -1e6])[:, None, None]
    raw = Predictor(spec, make_bundle(rng, spec), device="cpu").raw(batch)
    np.testing.assert_allclose(raw.locations[:, Rung.MODEL, 0], [0.0, 7.5, -1e6], rtol=1e-5, atol=1e-9)


def test_a_high_level_costs_no_digits(rng):
    spec = make_spec()
    low = make_batch(rng, 20)
    low.windows[...] = rng.integers(-50, 50, low.windows.shape) / 4
    high = make_batch(rng, 20)
    for name in ("origins", "fill"):
        getattr(high, name)[...] = getattr(low, name)
    high.windows[...] = low.windows + np.float32(100_000)
    predictor = Predictor(spec, make_bundle(np.random.default_rng(0), spec), device="cpu")
    difference = predictor.raw(high).locations[:, 0] - predictor.raw(low).locations[:, 0]
    np.testing.assert_allclose(difference, 100_000, atol=1e-3)


def test_unknown_covariates_say_nothing(rng):
    spec = make_spec(past_covariates=("rain",), future_covariates=("price",))
    bundle = make_bundle(np.random.default_rng(0), spec)
    batch = make_batch(rng, 10, covariates=2, known=1)
    predictor = Predictor(spec, bundle, device="cpu")
    batch.windows[:, :, 1:], batch.known[...] = np.nan, np.nan
    absent = predictor.raw(batch).locations[:, 0]
    batch.windows[:, :, 1:], batch.known[...] = 400.0, 400.0  # the usual value
    usual = predictor.raw(batch).locations[:, 0]
    batch.known[...] = 1e9  # an extreme one counts as eight standard deviations
    extreme = predictor.raw(batch).locations[:, 0]
    np.testing.assert_array_equal(absent, usual)
    assert np.abs(extreme - usual).max() > 0
    assert np.isfinite(extreme).all()


# --- strict mode ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", ["1", "2"])
def test_strict_rows_do_not_depend_on_their_neighbours(threads, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)  # read when numpy is imported, so in a process of its own
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        assert process.submit(strict_rows_that_depend_on_their_neighbours).result() == []


def strict_rows_that_depend_on_their_neighbours() -> list[int]:
    rng = np.random.default_rng(0)
    spec = make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE")
    predictor = Predictor(spec, make_bundle(rng, spec), device="cpu", strict=True)
    pool = make_batch(rng, 700, covariates=2, known=1, holes=0.1)
    pool.windows[rng.random(700) < 0.5] = np.nan_to_num(pool.windows[0])
    alone = predictor.raw(pool)
    different: list[int] = []
    for _ in range(25):
        rows = rng.integers(0, 700, int(rng.integers(1, 400)))
        raw = predictor.raw(pool.rows(rows))
        same = [
            found[i].tobytes() == expected[row].tobytes()
            for i, row in enumerate(rows.tolist())
            for found, expected in (
                (raw.locations, alone.locations),
                (raw.reason, alone.reason),
                (raw.suspicious, alone.suspicious),
            )
        ]
        different += [int(rows[i // 3]) for i, equal in enumerate(same) if not equal]
    return different


def test_without_strict_rows_agree_closely(rng):
    spec = make_spec()
    bundle = make_bundle(rng, spec)
    batch = make_batch(rng, 2500)
    fast = Predictor(spec, bundle, device="cpu").raw(batch)
    strict = Predictor(spec, bundle, device="cpu", strict=True).raw(batch)
    np.testing.assert_allclose(fast.locations, strict.locations, rtol=1e-5, atol=1e-3)


# --- the libraries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", TORCH_DEVICES)
@pytest.mark.parametrize("holes", [0.0, 0.15])
def test_torch_says_what_numpy_says(rng, holes, device):
    spec = make_spec(past_covariates=("rain",), future_covariates=("price",), holidays="DE")
    bundle, batch = make_bundle(rng, spec), make_batch(rng, 300, covariates=2, known=1, holes=holes)
    batch.windows[0, -6:, 0] += 1e4
    batch.scale[1] = 0.0
    calendar = calendar_of(spec.grid, bundle.manifest.calendar, "DE")
    found = {}
    for library in (CPU, TorchLibrary(device)):
        prepared = prepared_on(library, batch, calendar)
        answers = build_model("ridge", bundle.tensors, library)(prepared.inputs)
        inputs = (prepared.inputs.target, prepared.inputs.roughness, answers, prepared.suspicious, prepared.constant)
        found[type(library)] = [library.numpy(each) for each in inputs]
    for ours, torchs in zip(*found.values(), strict=True):
        assert ours.dtype == torchs.dtype
        np.testing.assert_allclose(ours, torchs, rtol=1e-4, atol=1e-4)
    assert 0 < found[TorchLibrary][3].sum() < 300


def test_a_model_whose_weights_are_for_other_inputs_is_refused_at_load(rng):
    """As models of streams with future covariates, from before known values were among the window's features."""
    spec = make_spec(future_covariates=("price",))
    bundle = make_bundle(rng, spec)
    older = bundle.tensors | {WINDOW_WEIGHT: bundle.tensors[WINDOW_WEIGHT][:-HORIZON]}
    fields = bundle.manifest.model_dump(exclude={"tensors", "sha256"})
    with pytest.raises(LayoutMismatch, match=r"model v1 has weights of shapes .* train a new one"):
        Predictor(spec, Bundle.sealed(older, **fields), device="cpu")
