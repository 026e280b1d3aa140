"""What one model has looked at serves another as well: its answers are, bit for bit, those that it gives alone."""

from __future__ import annotations

import numpy as np
import pytest

from model_core import passes
from model_core.batches import RawForecast
from model_core.errors import ModelFailed
from model_core.export_vectors import golden_vectors
from model_core.ladder import Reason, Rung
from model_core.models import MODELS
from model_core.predictor import Predictor
from model_core.sight import look
from tests.core.test_predictor import HORIZON, LENGTH, make_batch, make_bundle, make_spec

PLAIN, DATED = make_spec(calendar=()), make_spec(holidays="DE")


def same(found: RawForecast, expected: RawForecast) -> None:
    for name in ("locations", "reason", "observed_share", "suspicious"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def broken(_inputs: object) -> None:
    raise ModelFailed("in the midst of it")


@pytest.mark.parametrize("first", ["usual", "none", "gone", "failing", "with other dates"])
def test_the_second_answer_is_what_that_model_says_alone(rng, monkeypatch, first: str) -> None:
    monkeypatch.setattr(passes, "PASS_CELLS_MAX", 30 * LENGTH)
    batch = make_batch(rng, 100, holes=0.18)
    batch.readings[rng.random(100) < 0.1] = 3
    bundle = None if first in ("none", "gone") else make_bundle(rng, DATED if first == "with other dates" else PLAIN)
    with monkeypatch.context() as patch:
        if first == "failing":
            patch.setitem(MODELS, "ridge", lambda _tensors, _library: broken)
        before = Predictor(PLAIN, bundle, device="cpu", gone=first == "gone")
    after = Predictor(PLAIN, make_bundle(rng, PLAIN, version="v2"), device="cpu")
    alone = [predictor.raw(batch) for predictor in (before, after)]
    sight = look(batch, HORIZON, again=True)
    same(before.answer(sight), alone[0])
    same(after.answer(sight), alone[1])
    assert {Reason.OK, Reason.TOO_MANY_HOLES, Reason.TOO_SHORT} == set(alone[1].reason.tolist())


def test_of_some_windows_it_says_the_same_and_leaves_the_first_answers_alone(rng) -> None:
    batch = make_batch(rng, 100, holes=0.1)
    before, after = (Predictor(PLAIN, make_bundle(rng, PLAIN), device="cpu") for _ in range(2))
    sight, some = look(batch, HORIZON, again=True), np.flatnonzero(rng.random(100) < 0.3)
    given = before.answer(sight)
    same(after.answer(sight.rows(some)), after.raw(batch.rows(some)))
    same(given, before.raw(batch))


def test_a_row_that_is_not_finite_keeps_nothing_of_the_answer_before(rng) -> None:
    batch = make_batch(rng, 10)
    before, after = (Predictor(PLAIN, make_bundle(rng, PLAIN), device="cpu") for _ in range(2))
    batch.windows[3, ::2, 0], batch.windows[3, 1::2, 0] = 3e38, -3e38  # their squares are beyond float32
    sight = look(batch, HORIZON, again=True)
    for predictor in (before, after):
        raw = predictor.answer(sight)
        assert raw.reason[3] == Reason.NON_FINITE
        assert np.isnan(raw.locations[3, Rung.MODEL]).all()


@pytest.mark.parametrize("gap_max", [0, 2, None])
def test_golden_windows_of_an_exported_model_end_so_that_it_is_asked(rng, gap_max: int | None) -> None:
    bundle = make_bundle(rng, PLAIN, gap_max=gap_max)
    vectors = golden_vectors(PLAIN, bundle, 64, seed=int(rng.integers(1000)))
    assert np.isfinite(vectors.outputs["quantiles"]).all()


def test_a_model_is_not_asked_where_more_of_the_newest_cells_are_missing_than_it_can_do_without(rng) -> None:
    batch = make_batch(rng, 4)
    for row, gap in enumerate((0, 1, 2, 3)):
        batch.windows[row, LENGTH - gap :] = np.nan
    usual, careful = (Predictor(PLAIN, make_bundle(rng, PLAIN, gap_max=most), device="cpu") for most in (None, 1))
    sight = look(batch, HORIZON, again=True)
    assert (usual.answer(sight).reason == Reason.OK).all()
    raw = careful.answer(sight)
    assert raw.reason.tolist() == [Reason.OK, Reason.OK, Reason.TOO_MANY_HOLES, Reason.TOO_MANY_HOLES]
    same(raw, careful.raw(batch))
    assert (usual.answer(look(batch, HORIZON)).reason == Reason.OK).all()
