"""The gate: who passes and who does not, on losses that are known beforehand; and how often its interval is wrong."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from model_core.bundle import Bundle
from model_core.gate import judge as judging
from model_core.gate.attempt import Attempt
from model_core.gate.duel import Contender
from model_core.gate.interval import block_error, relative_difference, spent, t_quantile
from model_core.gate.judge import Slices, Verdict, judge
from model_core.gate.stress import stress
from model_core.ladder import Reason, Rung
from model_core.models.ridge import WINDOW_WEIGHT
from model_core.predictor import Predictor
from model_core.training.dataset import TrainingWindows
from model_core.training.residuals import Run, Tables, run
from model_core.training.season_search import SeasonSearch
from model_core.training.train import train
from tests.core.test_training import daily_waves, make_history, make_spec

SERIES, TICKS = 200, 360
SLICES = Slices((60, 117), (120, 237), (240, 357))
SEASON = SeasonSearch(7, True, {})


# --- the interval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "freedom", "tabled"),
    [(0.95, 1, 6.3138), (0.95, 2, 2.9200), (0.975, 5, 2.5706), (0.99, 10, 2.7638), (0.995, 30, 2.7500)],
)
def test_quantiles_of_t_are_those_of_the_tables(probability, freedom, tabled):
    assert t_quantile(probability, freedom) == pytest.approx(tabled, abs=5e-5)


def test_attempts_together_spend_what_one_may():
    assert sum(spent(attempt) for attempt in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)


def test_the_error_of_a_mean_is_what_drawing_blocks_gives(rng):
    values, block = ar(rng, 1, 600)[0], 30
    starts = rng.integers(0, len(values) - block + 1, (20_000, len(values) // block))
    drawn = values[starts[..., None] + np.arange(block)].mean(axis=(1, 2)).std()
    taken_from_the_sample = (len(values) / (len(values) - block)) ** 0.5
    assert block_error(values, block) == pytest.approx(drawn * taken_from_the_sample, rel=0.03)


def test_losses_that_resemble_their_neighbours_seldom_fool_blocks_and_often_fool_independence(rng):
    """Equal in truth: the share of 1,000 pairs in which one seems better. Of independent errors 1.645 is the bound."""
    differences, level = ar(rng, 1000, 1200), 10.0
    wrong = [relative_difference(level + each, np.full(1200, level), 100, 0.05).upper < 0 for each in differences]
    naive = differences.mean(axis=1) + 1.645 * differences.std(axis=1) / 1200**0.5 < 0
    assert np.mean(wrong) < 0.1, ".054 in the mean of many seeds, and .01 beside it in one"
    assert np.mean(naive) > 0.25


def test_too_few_blocks_tell_nothing():
    losses = np.arange(1.0, 30.0)
    assert relative_difference(losses, losses * 2, 10, 0.05).upper == np.inf
    assert relative_difference(losses * np.nan, losses, 3, 0.05).blocks == 0


def ar(rng, paths: int, steps: int):
    """float64 [paths, steps]: each value nine tenths of the one before, and noise."""
    values = rng.normal(size=(paths, steps + 100))
    for step in range(1, values.shape[1]):
        values[:, step] += 0.9 * values[:, step - 1]
    return values[:, 100:]


# --- the verdict ----------------------------------------------------------------------------------------------------


class Ring:
    """A champion, and candidates that are the champion with other errors."""

    def __init__(self, series: int, noise: float = 0.3) -> None:
        rng = np.random.default_rng(7)
        self.spec = make_spec(freq="1d", context_length=28, horizon=2, quantile_levels=(0.1, 0.5, 0.9))
        waves = daily_waves(rng, ticks=300, series=4, period=7, noise=noise)
        self.champion = champion = train(make_history(waves), self.spec, version="v1", created_at="").bundle
        self.windows = windows = TrainingWindows(
            self.spec, make_history(daily_waves(rng, ticks=TICKS, series=series, period=7, noise=noise))
        )
        self.tables = Tables.of_facts(champion.facts())
        predictor = Predictor(self.spec, champion, device="cpu")
        self.candidate = Contender(predictor, champion.facts().season, self.tables)
        self.errors, self.late = (
            run(windows, predictor, self.candidate.season, *span, np.arange(series))
            for span in (SLICES.before, SLICES.both)
        )

    def judge(self, factors=0.9, *, width: float = 0.9, late: Run | None = None, **given) -> Verdict:
        """The champion's errors times `factors`, which is anything that fits [n, S, H]; intervals times `width`."""
        late = late or self.late
        residuals = late.residuals.copy()
        candidate = replace(self.candidate, tables=scaled(self.tables, width))
        residuals[:, :, Rung.MODEL] *= factors
        late = replace(late, residuals=residuals)
        of = {"champion": self.champion, "version": "v2", "device": "cpu"} | given
        return judge(self.windows, SLICES, candidate, self.errors, late, SEASON, **of)


def scaled(tables: Tables, width: float) -> Tables:
    return Tables(tables.base * width, tables.series, tables.own * width)


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring(SERIES)


def failed(verdict: Verdict) -> set[str]:
    assert verdict.passed is all(check.passed for check in verdict.checks)
    return {check.name for check in verdict.checks if not check.passed}


def first_ones(worse: int, factor: float, of: int = SERIES):
    factors = np.full((1, of, 1), 0.9)
    factors[:, :worse] = factor
    return factors


def test_an_honestly_better_one_passes(ring):
    verdict = ring.judge(0.9)
    assert not failed(verdict)
    assert verdict.candidate < 0.95 * verdict.champion
    assert -0.12 < verdict.newest.mean < -0.05
    assert len(verdict.series) == SERIES


def test_better_on_average_but_terrible_on_one_series_in_a_thousand_is_refused():
    verdict = Ring(1000).judge(first_ones(1, 4.0, of=1000))
    assert verdict.candidate < 0.95 * verdict.champion
    assert failed(verdict) == {"series"}
    worst = verdict.report["worst"][0]
    assert worst["series_id"] == "s0"
    assert worst["ratio"] > 2


def test_somewhat_worse_on_one_series_in_fifty_is_refused(ring):
    assert failed(ring.judge(first_ones(4, 1.25))) == {"series"}
    assert not failed(ring.judge(first_ones(1, 1.25)))  # the worst half of a hundredth may be


def test_a_series_without_a_place_in_the_first_run_is_judged_too(ring, monkeypatch):
    """Few series fit into one run: the others are looked at in further ones."""
    few = np.arange(0, SERIES, 25)
    errors, late = (
        Run(few, each.targets[:, few], each.residuals[:, few], each.units[:, few]) for each in (ring.errors, ring.late)
    )
    ran = judging.run_over

    def spoiled(windows, contender, span, series, stride=1):
        done = ran(windows, contender, span, series, stride)
        if contender.predictor is ring.candidate.predictor and span == SLICES.both:
            done.residuals[:, :, Rung.MODEL] *= np.where(series == 77, 4.0, 0.9)[:, None]
        return done

    monkeypatch.setattr(judging, "run_over", spoiled)
    monkeypatch.setattr(ring, "errors", errors)
    verdict = ring.judge(0.9, late=late)
    assert len(verdict.series) == len(few)
    assert failed(verdict) == {"series"}
    assert verdict.report["worst"][0]["series_id"] == "s77"


def test_an_accident_of_the_newest_weeks_is_refused(ring):
    newest = np.arange(*SLICES.both)[:, None, None] >= SLICES.newest[0]
    assert failed(ring.judge(np.where(newest, 0.9, 1.02), width=0.95)) == {"earlier slice"}
    assert failed(ring.judge(np.where(newest, 1.0, 0.9), width=0.95)) == {"newest slice"}


def test_what_is_better_by_less_than_the_margin_is_not_worth_a_change(ring):
    assert failed(ring.judge(0.995, width=1.0)) == {"newest slice"}
    assert failed(ring.judge(1.0, width=1.0)) == {"newest slice"}


def test_intervals_that_are_too_narrow_are_refused(ring):
    honest, narrow = ring.judge(0.7, width=0.7), ring.judge(0.7, width=0.5)
    assert not failed(honest)
    assert failed(narrow) == {"coverage"}
    assert narrow.coverage < honest.coverage - 0.05


def test_what_of_the_judged_ticks_the_champion_had_learned_is_said(ring):
    attempt = ring.judge(1.0).attempt
    ticks = attempt.last_tick - attempt.first_tick + 1
    for until, share in ((-1, 0.0), (ticks // 2 - 1, ticks // 2 / ticks), (ticks + 50, 1.0)):
        training = ring.champion.manifest.training.model_copy(update={"last_tick": attempt.first_tick + until})
        manifest = ring.champion.manifest.model_copy(update={"training": training})
        verdict = ring.judge(1.0, champion=replace(ring.champion, manifest=manifest))
        assert verdict.champion_learned == pytest.approx(share)
        assert (f"had learned from {share:.0%} of what both are judged on" in verdict.reason) == (share > 0)


def test_each_further_look_at_the_same_data_must_be_surer(ring):
    first = ring.judge(0.9)
    assert (first.number, first.attempt.rival) == (1, "v1")
    apart = Attempt("a", "v1", 0, first.attempt.first_tick - 1)
    other = replace(first.attempt, rival=None)
    assert ring.judge(0.9, attempts=[apart, other]).number == 1
    again = ring.judge(0.9, attempts=[first.attempt, apart, first.attempt])
    assert again.number == 3
    assert again.newest.upper > first.newest.upper
    assert again.newest.mean == first.newest.mean


def test_a_slow_candidate_is_refused(ring):
    """The clock moves with every question: hours for a window, then for the candidate more than for the champion."""

    def clock(*seconds: float) -> Iterator[float]:
        total = 0.0
        for turn in count():
            yield total
            total += seconds[turn % len(seconds)]

    assert failed(ring.judge(0.9, clock=clock(3600.0 * 512).__next__)) == {"speed"}
    assert not failed(ring.judge(0.9, clock=clock(1e-3).__next__))
    assert failed(ring.judge(0.9, clock=clock(10_000.0, 0.0, 100.0, 0.0).__next__)) == {"speed"}


def test_a_model_that_runs_away_is_found_by_what_no_history_shows(ring):
    usual = stress(ring.windows, ring.candidate.predictor, 7, TICKS - 3, seed=0)
    assert [each.name for each in usual] == ["spike", "level shift", "×10", "20 % missing", "flatline"]
    assert all(each.passed and each.windows > 50 for each in usual)
    wild = dict(ring.champion.tensors)
    wild[WINDOW_WEIGHT] = wild[WINDOW_WEIGHT] * 1000
    bundle = replace(ring.champion, tensors=wild)
    found = stress(ring.windows, Predictor(ring.spec, bundle, device="cpu"), 7, TICKS - 3, seed=0)
    assert not any(each.passed for each in found)


def leaning(bundle: Bundle, strength: float) -> Bundle:
    """A model that leans on differences over a season, which are next to nothing while no cell is missing."""
    tensors = dict(bundle.tensors)
    weights = tensors[WINDOW_WEIGHT] = tensors[WINDOW_WEIGHT].copy()
    signs = np.random.default_rng(3).choice([-strength, strength], 28 - 7)
    weights[2 + 7 : 2 + 28] += signs[:, None].astype(np.float32)
    weights[2 : 2 + 28 - 7] -= signs[:, None].astype(np.float32)
    return replace(bundle, tensors=tensors)


def test_a_model_that_falls_apart_where_cells_are_missing_is_refused(monkeypatch):
    clean = Ring(SERIES, noise=0.05)
    honest = clean.judge(0.9)
    assert not failed(honest)
    assert honest.report["holes"]["worse"] < 1
    spoiled = Predictor(clean.spec, leaning(clean.champion, 0.15), device="cpu")
    assert all(each.passed for each in stress(clean.windows, spoiled, 7, TICKS - 3, seed=0)), "nothing runs away"
    monkeypatch.setattr(clean, "candidate", replace(clean.candidate, predictor=spoiled))
    refused = clean.judge(0.9)
    assert failed(refused) == {"holes"}
    assert refused.report["holes"]["whole"] < 1, "whole windows do not show it"


@pytest.mark.parametrize("kind", ["waves of a week", "a walk"])
def test_the_ladder_answers_where_the_newest_cells_are_missed_too_much(kind):
    """Seasonal naive needs none of them, and of a walk there is nothing better than the newest one."""
    rng = np.random.default_rng(11)
    cells = daily_waves(rng, ticks=400, period=7)
    if kind == "a walk":
        cells = rng.normal(size=(3, 400)).cumsum(axis=1).T + 0.3 * rng.normal(size=(400, 3))
    spec = make_spec(freq="1d", context_length=28, horizon=2)
    trained = train(make_history(cells), spec, version="v1", created_at="", device="cpu")
    gap_max = trained.bundle.manifest.gap_max
    season = trained.bundle.manifest.season
    assert gap_max is not None
    assert (gap_max < 3) if kind == "waves of a week" else (gap_max == min(5, season // 2))
    windows = TrainingWindows(spec, make_history(cells))
    batch = windows.batch(np.arange(3), np.full(3, 390), season)
    batch.windows[1, -gap_max - 1 :] = np.nan
    raw = Predictor(spec, trained.bundle, device="cpu").raw(batch)
    assert raw.reason.tolist() == [Reason.OK, Reason.TOO_MANY_HOLES, Reason.OK]


def test_covariates_at_an_extreme_are_part_of_the_stress(rng):
    spec = make_spec(freq="1d", context_length=28, horizon=2, past_covariates=("rain",))
    cells = daily_waves(rng, ticks=200, series=2, period=7)
    names = ["a.flow", "a.rain"]
    trained = train(make_history(cells, names), spec, version="v1", created_at="", device="cpu")
    windows = TrainingWindows(spec, make_history(cells, names))
    found = stress(windows, Predictor(spec, trained.bundle, device="cpu"), 7, 190, seed=0)
    assert found[-1].name == "a covariate at an extreme"
    assert found[-1].passed


def test_a_history_too_short_to_tell_leaves_the_champion_in_charge(rng):
    spec = make_spec(freq="1d", context_length=28, horizon=3)
    history = make_history(daily_waves(rng, ticks=110, period=7))
    first = train(history, spec, version="v1", created_at="")
    verdict = train(history, spec, version="v2", created_at="", champion=first.bundle).verdict
    assert {"newest slice", "earlier slice"} <= failed(verdict)
    assert "too few to tell" in verdict.reason
