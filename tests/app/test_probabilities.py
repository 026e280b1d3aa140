"""The probabilities benchmark: its counting against plain arithmetic, its alterations, and a part for every byte."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.probabilities import page
from benchmarks.probabilities.injected import KINDS, PHASE_TICKS, coverage_after, inject
from benchmarks.probabilities.measured import (
    against_points,
    coverage_by_level,
    coverage_error,
    coverage_error_of_series,
    coverage_of_series,
    mean_pinball,
    ratios,
)
from benchmarks.probabilities.streamed import NOTHING_CAME, Rows, Served, serve
from benchmarks.probabilities.weight import bytes_by_part
from model_core.spec import StreamSpec

HORIZON, SEASON = 6, 4
SPEC = StreamSpec(topic="t", freq="1h", context_length=12, horizon=HORIZON, seasonality=("4h",), corrector_steps=6)


def rows_of(rng: np.random.Generator, ticks: int = 160) -> Rows:
    cells = 10 + np.sin(np.arange(ticks)[:, None] * np.pi / 2 + np.arange(2)) + rng.normal(0, 0.3, (ticks, 2))
    cells[40, 1] = np.nan
    return Rows("made", ("a", "b"), 480_000, cells)


def test_what_is_counted_is_what_came(rng: np.random.Generator) -> None:
    rows, counted = rows_of(rng), 80
    served = serve(rows, SPEC, None, in_charge=len(rows.cells), counted=counted)
    assert sorted(set(served.origins.tolist())) == list(range(counted, 160))
    assert (served.below[served.targets >= 160] == NOTHING_CAME).all()
    came = served.came
    assert came.sum() == (served.targets < 160).sum()
    levels = np.array(SPEC.quantile_levels)
    found = coverage_by_level(served)
    bucket_of_step = [0, 1, 2, 3, 3, 3]  # of the scored horizons 1, 2, 3, 6
    for bucket in range(4):
        mine = came & (np.array(bucket_of_step) == bucket)
        for level in range(9):
            assert found[bucket, level] == pytest.approx(np.mean(served.below[mine] <= level))
    assert coverage_error(served) == pytest.approx(np.abs(found - levels).mean())
    apart = [coverage_error(replace(served, below=served.below[served.series == column])) for column in range(2)]
    assert coverage_error_of_series(served, 2) == pytest.approx(np.mean(apart))
    assert coverage_error_of_series(served, 2) >= coverage_error(served)
    inside = (served.upto > 0) & (served.below < 9) & came
    expected = [inside[served.series == column].sum() / came[served.series == column].sum() for column in range(2)]
    assert coverage_of_series(served, 2).tolist() == pytest.approx(expected)
    one = served.pinball[came].mean()
    assert mean_pinball(served, np.array([2.0, 2.0])) == pytest.approx(one / 2, rel=1e-6)


def test_the_better_naive_forecast_is_chosen_before_the_span_that_counts(rng: np.random.Generator) -> None:
    rows = rows_of(rng, 240)
    served = serve(rows, SPEC, None, in_charge=len(rows.cells), counted=120)
    found, chosen, by_horizon = ratios(served, 120, 2)
    assert chosen.tolist() == [0, 0]  # the seasonal one
    for column in range(2):
        after = (served.scored_series == column) & (served.scored_origins >= 120)
        rival = np.nanmean(served.baselines[after][:, :, 0], axis=0)
        own = np.nanmean(served.scored[after], axis=0)
        assert found[column] == pytest.approx(own.mean() / rival.mean())
    assert by_horizon.shape == (4,)


def test_copies_are_altered_from_their_row_on(rng: np.random.Generator) -> None:
    rows = Rows("made", ("a",), 0, rng.normal(5, 2, (3000, 1)))
    half, season = 1000, 20
    injected = inject(rows, half, season)
    original, deviation, mean = rows.cells[:, 0], rows.cells[:half, 0].std(), rows.cells[:half, 0].mean()
    assert set(injected.of.values()) == {"a"}
    for column, kind in enumerate(injected.kinds):
        cells, at = injected.rows.cells[:, column], int(injected.at[column])
        assert half + 7 * season <= at < 3000 - 21 * season
        np.testing.assert_array_equal(cells[:at], original[:at])
        later = {
            "level + 2 standard deviations": original[at:] + 2 * deviation,
            "scale × 2": mean + 2 * (original[at:] - mean),
            "phase + 8 h": original[at - PHASE_TICKS : 3000 - PHASE_TICKS],
            "nothing": original[at:],
        }
        np.testing.assert_allclose(cells[at:], later[kind])
    assert injected.kinds.count("scale × 2") == 2


def test_coverage_of_a_season_is_that_of_its_targets(rng: np.random.Generator) -> None:
    rows = rows_of(rng, 400)
    injected = inject(rows, 60, SEASON)
    served = serve(injected.rows, SPEC, None, in_charge=400, counted=60)
    kind = next(iter(KINDS))
    hits = []
    for column in (c for c, each in enumerate(injected.kinds) if each == kind):
        first = int(injected.at[column]) + 2 * SEASON
        for row in np.flatnonzero(served.series == column).tolist():
            for step in range(HORIZON):
                if first <= served.origins[row] + step + 1 < first + SEASON and served.came[row, step]:
                    hits.append(served.upto[row, step] > 0 and served.below[row, step] < 9)
    assert coverage_after(served, injected, kind, 3, 3, SEASON) == pytest.approx(np.mean(hits))


def test_a_rival_as_a_point_costs_half_its_absolute_error() -> None:
    rng = np.random.default_rng(3)
    rows = Rows("r", ("a", "b"), 0, rng.normal(size=(60, 2)).cumsum(axis=0))
    spec = SPEC.model_copy(update={"horizon": 6})
    origins = np.tile(np.arange(20, 50), 2)
    series, count = np.repeat([0, 1], 30), len(spec.scored_horizons)
    nothing = np.zeros((0, 6))
    scored = rng.uniform(1, 2, (60, count))
    made = Served(spec, *[nothing] * 6, series, origins, scored, np.ones((60, count, 2)))
    found = against_points(rows, made, 25, np.array([0, 1]), SEASON)
    for column in range(2):
        own, rival = [], []
        for row in np.flatnonzero((series == column) & (origins >= 25)).tolist():
            for k, h in enumerate(spec.scored_horizons):
                at = int(origins[row])
                seen = at if column else at + h - SEASON * -(-h // SEASON)
                own.append(scored[row, k])
                rival.append(0.5 * abs(rows.cells[at + h, column] - rows.cells[seen, column]))
        assert found[column] == pytest.approx(sum(own) / sum(rival))


def test_every_byte_of_a_series_belongs_to_a_part() -> None:
    parts = bytes_by_part(SPEC)
    assert all(weight > 0 for weight in parts.values())
    off = bytes_by_part(StreamSpec(**SPEC.model_dump(exclude={"corrector_steps"})))
    assert off["corrector"] == 0, "off unless it is asked for"
    assert {name for name in parts if parts[name] != off[name]} == {"corrector"}


def test_what_was_not_measured_is_not_in_the_page(tmp_path: Path) -> None:
    assert page.section(tmp_path, lambda _head, _lines: "table") == ""


def test_the_page_says_what_was_asked_and_missed(tmp_path: Path) -> None:
    folder = tmp_path / page.FOLDER
    folder.mkdir()
    for horizon, pinball in ((24, 0.1009), (96, 0.1011)):
        tracked = {"coverage_error": 0.026, "pinball": pinball, "forecasts": 1, "coverage_of_series": {"a": 0.8}}
        untracked = {"coverage_error": 0.05, "pinball": 0.1}
        saved = {"data": "ETTh1", "horizon": horizon, "tracked": tracked, "untracked": untracked}
        (folder / f"ETTh1-{horizon}.json").write_text(json.dumps(saved))
    kept = {"ratio": 0.7, "coverage": 0.76}
    good = {"ratio": 0.69, "worst_ratio": 0.7, "coverage": [0.76, 0.76], "ratio_by_horizon": {"1": 0.7}}
    good |= {"against_points": 0.6, "channels": {"c": kept | {"rival": "last value"}}}
    bad = good | {"ratio": 0.71, "channels": {"c": {"ratio": 1.01, "coverage": 0.75, "rival": "last value"}}}
    (folder / "appliances.json").write_text(json.dumps(dict.fromkeys(page.WAYS, good) | {page.WAYS[-1]: bad}))
    told = [line for line in page.section(tmp_path, lambda _head, _lines: "").splitlines() if line.startswith("Missed")]
    assert told == [
        "Missed: ETTh1 24 has a coverage error of 0.0260; ETTh1 96 has 1.10 % more pinball than with fixed offsets.",
        "Missed by ridge, without: the ratio (.710); c (a ratio of 1.010); the coverage of c (.750).",
    ]
