"""The shadow is what the worker would be that had gone over to the candidate when it began, and is scored fairly."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from model_core import ledger
from model_core.bundle import Bundle
from model_core.ladder import Rung
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.shadow import Shadow, ShadowScore
from model_core.shadow_offsets import BYTES_MAX, ShadowOffsets
from model_core.spec import StreamSpec
from tests.core.partition_run import stopped_and_restored
from tests.core.test_predictor import SEASON, make_bundle, make_spec

HOUR, FIRST = 3_600_000, 480_000
SERIES = ("a", "b", "c", "d", "e")
LEVELS = (0.1, 0.5, 0.9)


def spec_of() -> StreamSpec:
    return make_spec(
        readings_per_step=1,
        max_out_of_orderness=0,
        min_readings=1,
        quantile_levels=LEVELS,
        seasonality=[SEASON * HOUR],
    )


def models(rng: np.random.Generator, spec: StreamSpec) -> tuple[Bundle, Bundle]:
    """Champion and candidate; what they say does not matter."""
    return tuple(make_bundle(rng, spec, version=version) for version in ("champion", "candidate"))  # type: ignore[return-value]


@dataclass
class Side:
    """A partition with a model in charge, and perhaps another in its shadow; forecasts by (series, origin)."""

    spec: StreamSpec
    state: PartitionState
    model: Predictor
    forecasts: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    shadow: Shadow | None = None
    candidate: Predictor | None = None
    scores: list[ShadowScore] = field(default_factory=list)

    @classmethod
    def of(cls, spec: StreamSpec, bundle: Bundle) -> Side:
        return cls(spec, PartitionState(spec, 0, bundle.facts()), Predictor(spec, bundle, device="cpu", strict=True))

    def begin(self, bundle: Bundle, series_max: int = 100) -> None:
        self.candidate = Predictor(self.spec, bundle, device="cpu", strict=True)
        self.shadow = self.state.begin_shadow(bundle.facts(), series_max)

    def take(self, readings: Readings) -> None:
        for observed in self.state.observe(readings):
            raw = self.model.raw(observed.windows) if observed.windows is not None else None
            made = self.state.settle_and_issue(observed, raw).forecasts
            for name, origin, quantiles in zip(made.series_ids, made.origins.tolist(), made.quantiles, strict=True):
                self.forecasts[name, origin] = quantiles
            if self.shadow is not None and self.candidate is not None:
                rows = self.shadow.rows(observed)
                answers = None
                if len(rows) and observed.windows is not None:
                    answers = self.candidate.raw(observed.windows.rows(rows))
                self.scores += self.shadow.settle(observed, rows, answers, self.state.take_losses())


def polls(cells: dict[str, np.ndarray], first: int, last: int, gone: dict[int, str] | None = None) -> list[Readings]:
    """Ticks [first, last) of all series, a few ticks a poll; NaN: no reading. `gone`: at these ticks one is deleted."""
    made, offset = [], first * 100
    for start in range(first, last, 3):
        rows, deletions = [], []
        for tick in range(start, min(start + 3, last)):
            if gone and tick in gone:
                deletions.append((offset, gone[tick]))
                offset += 1
            for name, values in cells.items():
                if np.isfinite(values[tick]):
                    rows.append((name, (FIRST + tick) * HOUR, values[tick], offset))
                    offset += 1
        names, times, values, offsets = zip(*rows, strict=True)
        columns = (np.array(times, np.int64), np.array(values, np.float64), np.array(offsets, np.int64))
        made.append(Readings(list(names), *columns, tuple(deletions)))
    return made


def walks(rng: np.random.Generator, ticks: int, series: tuple[str, ...] = SERIES) -> dict[str, np.ndarray]:
    waves = np.sin(2 * np.pi * np.arange(ticks) / SEASON)
    return {name: np.round(20 + 3 * waves + rng.normal(0, 1, ticks).cumsum() * 0.1, 3) for name in series}


def gone_over(live: Side, spec: StreamSpec, candidate: Bundle) -> Side:
    """A worker with the same state that goes over now; what the champion issued is not scored as the candidate's."""
    other = Side(spec, stopped_and_restored(live.state, spec), Predictor(spec, candidate, device="cpu", strict=True))
    other.state.swap_model(candidate.facts())
    ledger.drop(other.state.columns, np.arange(other.state.columns.used))
    return other


def test_offsets_and_units_are_those_of_a_worker_that_went_over_when_the_shadow_began(rng: np.random.Generator) -> None:
    spec = spec_of()
    champion, candidate = models(rng, spec)
    cells = walks(rng, 260)
    cells["b"][rng.random(260) < 0.2] = np.nan
    cells["late"] = np.where(np.arange(260) < 120, np.nan, walks(rng, 260)["a"])
    cells["e"][150:170] = np.nan
    live = Side.of(spec, champion)
    for readings in polls(cells, 0, 100):
        live.take(readings)
    other = gone_over(live, spec, candidate)
    live.begin(candidate)
    for readings in polls(cells, 100, 260, gone={140: "c", 150: "e"}):
        live.take(readings)
        other.take(readings)
    assert live.shadow is not None
    learned = live.shadow.learned()
    assert set(learned.series) == {*SERIES, "late"}
    columns = [other.state.columns.index[name] for name in learned.series]
    for name, found in (("offsets", learned.offsets), ("unit", learned.unit)):
        expected = other.state.columns.flat(name)[columns, Rung.MODEL].astype(found.dtype)
        np.testing.assert_array_equal(found, expected, err_msg=name)
    cohort = other.state._settlement.calibration.cohort.offsets[Rung.MODEL]
    np.testing.assert_array_equal(learned.cohort, cohort.astype(np.float32))
    assert np.abs(learned.offsets).max() > 0.02, "something was learned"


def lost(side: Side, cells: dict[str, np.ndarray], first: int) -> dict[tuple[str, int], float]:
    """(series, tick) → mean pinball over the scored horizons of what was issued from tick `first` on; by hand."""
    found: dict[tuple[str, int], float] = {}
    for name, values in cells.items():
        for tick in range(first, len(values)):
            losses = []
            for horizon in side.spec.scored_horizons:
                origin = FIRST + tick - horizon
                if (name, origin) in side.forecasts and origin >= FIRST + first:
                    for level, row in zip(LEVELS, side.forecasts[name, origin], strict=True):
                        miss = float(np.float32(values[tick])) - float(row[horizon - 1])
                        losses.append(max(level * miss, (level - 1) * miss))
            if losses:
                found[name, FIRST + tick] = sum(losses) / len(losses)
    return found


def test_both_are_scored_on_the_same_cells_that_came_after_their_forecasts(rng: np.random.Generator) -> None:
    spec = spec_of()
    champion, candidate = models(rng, spec)
    ticks = np.arange(200)
    # A season later each is higher by 2: pinball in units of a season's step is half of the plain one.
    pattern = rng.normal(0, 2, SEASON)
    cells = {name: 10.0 * n + pattern[ticks % SEASON] + 2 * (ticks // SEASON) for n, name in enumerate(SERIES)}
    live = Side.of(spec, champion)
    for readings in polls(cells, 0, 100):
        live.take(readings)
    other = gone_over(live, spec, candidate)
    live.begin(candidate)
    for readings in polls(cells, 100, 200):
        live.take(readings)
        other.take(readings)
    mine, theirs = lost(other, cells, 100), lost(live, cells, 0)
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for (name, tick), loss in mine.items():
        bins[tick // spec.horizon].append((loss / 2, theirs[name, tick] / 2))
    assert len(live.scores) > 15
    for score in live.scores:
        expected = bins[score.since // spec.horizon]
        assert (score.scored, score.until) == (len(expected), score.since + spec.horizon - 1)
        assert score.candidate == pytest.approx(np.mean([loss for loss, _ in expected]), rel=1e-5)
        assert score.champion == pytest.approx(np.mean([loss for _, loss in expected]), rel=1e-5)
    assert [score.since for score in live.scores] == sorted({score.since for score in live.scores})


def test_the_model_in_charge_does_not_notice_the_shadow(rng: np.random.Generator) -> None:
    spec = spec_of()
    champion, candidate = models(rng, spec)
    cells = walks(rng, 150)
    alone, watched = Side.of(spec, champion), Side.of(spec, champion)
    for start, last in ((0, 100), (100, 150)):
        for readings in polls(cells, start, last):
            alone.take(readings)
            watched.take(readings)
        if not start:
            watched.begin(candidate)
    for name, array in alone.state.columns.arrays.items():
        np.testing.assert_array_equal(array, watched.state.columns.arrays[name], err_msg=name)
    assert alone.state.meta() == watched.state.meta()


def test_of_many_series_some_are_taken_from_everywhere(rng: np.random.Generator) -> None:
    spec = spec_of()
    champion, candidate = models(rng, spec)
    names = tuple(f"s{number:03}" for number in range(400))
    cells = walks(rng, 66, names)
    live = Side.of(spec, champion)
    for readings in polls(cells, 0, 45):
        live.take(readings)
    live.begin(candidate, series_max=50)
    for readings in polls(cells, 45, 66):
        live.take(readings)
    assert live.shadow is not None
    taken = [names.index(name) for name in live.shadow.learned().series]
    assert 30 <= len(taken) <= 50
    assert min(np.histogram(taken, bins=4, range=(0, 400))[0]) >= 5
    assert {score.scored for score in live.scores} <= {len(taken) * k for k in range(1, spec.horizon + 1)}


def test_a_swap_takes_over_what_was_learned_and_the_rest_what_was_learned_together(rng: np.random.Generator) -> None:
    spec = spec_of()
    champion, candidate = models(rng, spec)
    cells = walks(rng, 200)
    live = Side.of(spec, champion)
    for readings in polls(cells, 0, 100):
        live.take(readings)
    live.begin(candidate, series_max=3)
    for readings in polls(cells, 100, 200):
        live.take(readings)
    assert live.shadow is not None
    said = json.loads(json.dumps(live.shadow.learned().to_json()))
    learned = ShadowOffsets.from_json(said)
    assert 0 < len(learned.series) < len(SERIES)
    naive = live.state.columns.flat("offsets")[: len(SERIES), Rung.SEASONAL_NAIVE].copy()
    live.state.end_shadow()
    live.state.swap_model(candidate.facts(), learned)
    flat, index = live.state.columns.flat, live.state.columns.index
    for name in SERIES:
        expected = learned.cohort
        if name in learned.series:
            row = learned.series.index(name)
            expected = learned.offsets[row]
            np.testing.assert_array_equal(flat("unit")[index[name], Rung.MODEL], learned.unit[row])
        np.testing.assert_array_equal(flat("offsets")[index[name], Rung.MODEL], expected.astype(np.float32))
    np.testing.assert_array_equal(flat("offsets")[: len(SERIES), Rung.SEASONAL_NAIVE], naive)


def offsets_of(names: tuple[str, ...], horizons: int = 8, levels: int = 9) -> ShadowOffsets:
    rng = np.random.default_rng(1)
    return ShadowOffsets(
        names,
        rng.normal(0, 1, (len(names), horizons, levels)).astype(np.float16),
        rng.random((len(names), 2)).astype(np.float32),
        rng.normal(0, 1, (horizons, levels)).astype(np.float32),
    )


def same(found: ShadowOffsets, expected: ShadowOffsets, rows: Any) -> None:
    assert found.series == tuple(np.array(expected.series, object)[rows])
    np.testing.assert_array_equal(found.offsets, expected.offsets[rows])
    np.testing.assert_array_equal(found.unit, expected.unit[rows])
    np.testing.assert_array_equal(found.cohort, expected.cohort)


def test_what_was_learned_survives_its_way_through_json_within_the_size_of_a_record() -> None:
    few = offsets_of(("a", "half a pair \ud800", "c"))
    same(ShadowOffsets.from_json(json.loads(json.dumps(few.to_json()))), few, [0, 2])
    none = offsets_of(())
    same(ShadowOffsets.from_json(json.loads(json.dumps(none.to_json()))), none, [])
    many = offsets_of(tuple(f"plant-{number}.temperature" for number in range(5_000)))
    text = json.dumps(many.to_json(), separators=(",", ":"))
    assert 0.9 * BYTES_MAX < len(text) < 1.05 * BYTES_MAX
    kept = ShadowOffsets.from_json(json.loads(text))
    same(kept, many, slice(len(kept.series)))
