"""`tidecast backtest`: no forecast knows what came after it, the models stand side by side, and the page is whole."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from model_core.backtest import play
from model_core.readings import Readings
from model_core.spec import StreamSpec
from stream_app.cli.backtest import show
from stream_app.cli.command_line import build_app
from stream_app.errors import TidecastError
from stream_app.models.registry import ModelRegistry
from stream_app.pages.backtest_page import backtest_page
from stream_app.training import backtest_job, train_job
from tests.app.test_train_job import FIRST_MS, SERIES, STEP_MS, configured, waves, write_csv

START_MS = FIRST_MS + 500 * STEP_MS


def test_models_stand_side_by_side_and_the_trained_one_is_better(tmp_path, rng):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    until = FIRST_MS + 600 * STEP_MS  # it has learned from a part of what is judged, and the report says so
    version = train_job.run(settings, "ovens", file=file, until_ms=until).version
    report = backtest_job.run(settings, "ovens", file=file, start_ms=START_MS)
    models = report["models"]
    champion = f"{version} (champion, candidate)"
    trained = ["ridge, trained now", "patch_mixer, trained now"]
    assert list(models) == [*trained, champion, "seasonal_naive", "last_value"]
    losses = {name: row["scaled_pinball"] for name, row in models.items()}
    for each in trained:
        assert losses[each] < 0.9 * min(losses["seasonal_naive"], losses["last_value"])
        assert models[each]["forecasts"] == 198 * len(SERIES)  # the watermark never passes the last two steps
        assert models[each]["answered_by_model"] == 1.0
        assert models[each]["seen"] == 0.0
        assert 0.65 < models[each]["coverage"] < 0.95
    assert losses[trained[0]] != losses[trained[1]], "two models, not one twice"
    assert 0.4 < models[champion]["seen"] < 0.6
    assert set(models[champion]["series"]) == set(SERIES)


@pytest.mark.parametrize("late_by", [0, 3])
def test_no_forecast_knows_what_arrived_after_it(rng, late_by):
    """The same log with other values from one place on: all forecasts that were due before are the same bytes."""
    spec = StreamSpec(topic="t", freq="1h", context_length=24, horizon=6, allowed_lateness="6h", readings_per_step=1)
    ticks = np.arange(200)
    times = FIRST_MS + ticks * STEP_MS
    values = rng.normal(size=200)
    order = np.argsort(ticks + late_by * (ticks % 7 == 0), kind="stable")
    changed_from = 150
    other = values.copy()
    other[order[changed_from:]] += 100.0

    def kept(cells):
        log = Readings(["a"] * 200, times[order], cells[order], np.arange(200))
        first = spec.grid.tick(FIRST_MS)
        origins = frozenset(range(first, first + 200))
        return play(spec, [(log, 0)], None, first_origin=first, kept_origins=origins).kept

    last_before = spec.grid.tick(int(times[order[:changed_from]].min() + (changed_from - 5) * STEP_MS))
    mine, theirs = kept(values), kept(other)
    before = [key for key in mine if key[1] < last_before]
    assert len(before) > 100
    assert all(mine[key].tobytes() == theirs[key].tobytes() for key in before)
    assert any(mine[key].tobytes() != theirs[key].tobytes() for key in mine)


def test_the_command_prints_a_table_a_report_and_a_page(tmp_path, rng):
    config, page = tmp_path / "tidecast.toml", tmp_path / "page.html"
    config.write_text(
        f'[models]\nregistry = "{tmp_path / "models"}"\n'
        '[streams.ovens]\ntopic = "ovens"\nfreq = "1h"\ncontext_length = 48\nhorizon = 6\n'
    )
    words = ["backtest", "--config", str(config), "--file", str(write_csv(tmp_path / "ovens.csv", waves(rng)).path)]

    def tidecast(*more: str) -> str:
        result = CliRunner().invoke(build_app("backtest"), [*words, *more], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    assert "last_value" in tidecast("--html", str(page))
    report = json.loads(tidecast("--json"))
    assert report["horizons"] == [1, 2, 3, 6]
    assert all(len(row["by_horizon"]) == 4 for row in report["models"].values())
    frame, figures = page.read_text().split("<script>")[0], page.read_text().rsplit("const figures = ", 1)[1]
    assert len(json.loads(figures.split(";\n", 1)[0])) == frame.count("<figure>") == 2 + len(SERIES)
    assert all(f"<td>{name}</td>" in frame for name in (*report["models"], *SERIES))


def test_what_a_model_had_learned_from_is_explained_where_it_is_more_than_nothing(tmp_path, rng, capsys):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    told = []
    for _ in range(2):
        show(backtest_job.run(settings, "ovens", file=file, start_ms=START_MS, kinds=["ridge"]))
        told.append(" ".join(capsys.readouterr().out.split()))
        train_job.run(settings, "ovens", file=file)
    assert "coverage: of the 80% interval" in told[0]
    assert "patch_mixer" not in told[0]
    assert ["it knew answers beforehand" in each for each in told] == [False, True]


def test_of_demand_its_own_model_is_trained_and_no_other(tmp_path, rng):
    settings = configured(tmp_path, aggregate="sum")
    report = backtest_job.run(settings, "ovens", file=write_csv(tmp_path / "ovens.csv", waves(rng)), start_ms=START_MS)
    assert list(report["models"]) == ["demand, trained now", "seasonal_naive", "last_value"]


def test_nothing_to_judge_says_what_was_found(tmp_path, rng):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng, 100))
    with pytest.raises(TidecastError, match="200 readings before and 0 steps after"):
        backtest_job.run(settings, "ovens", file=file, start_ms=FIRST_MS + 1000 * STEP_MS)


def test_a_grid_finer_than_the_readings_is_asked_about(tmp_path, rng):
    file = write_csv(tmp_path / "ovens.csv", waves(rng, 100))
    with pytest.raises(TidecastError, match=r"could be judged.* check that freq, 1min, is the step"):
        backtest_job.run(configured(tmp_path, freq="1min"), "ovens", file=file)


@pytest.mark.parametrize(("width", "horizons"), [(40, "2 ahead"), (80, "1 ahead"), (200, "2 ahead")])
def test_the_table_fits_the_terminal(tmp_path, rng, monkeypatch, capsys, width, horizons):
    monkeypatch.setenv("COLUMNS", str(width))
    settings = configured(tmp_path, horizon=12)
    report = backtest_job.run(settings, "ovens", file=write_csv(tmp_path / "ovens.csv", waves(rng, 100)))
    show(report)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(name in printed for name in report["models"])
    assert {"all", "1 ahead", horizons, "12 ahead", "coverage", "learned from"} <= {
        each.strip() for each in re.split(r"  +|\n", printed)
    }


@pytest.mark.parametrize("width", range(80, 145))
def test_a_wide_terminal_shows_a_table_with_the_horizons_it_has_room_for(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    row = {"scaled_pinball": 0.5, "by_horizon": [0.5] * 8, "coverage": 0.8, "seen": 0.0, "forecasts": 9}
    names = ("20260301T000000Z-4be1c2 (champion)", "patch_mixer, trained now", "seasonal_naive")
    report = {"stream": "m", "horizons": [1, 2, 4, 8, 16, 32, 64, 96], "models": dict.fromkeys(names, row)}
    show(report | {"start_ms": 0, "nominal_coverage": 0.8, "not_trained": None})
    lines = capsys.readouterr().out.splitlines()
    (head,) = (line for line in lines if line.startswith("model "))
    assert len(head.rstrip()) <= width
    assert head.count(" ahead") >= 2 + (width - 79) // 10
    assert " 1 ahead " in head
    assert " 96 ahead " in head


def test_without_any_model_the_naive_forecasts_are_judged_and_the_reason_is_told(tmp_path, rng, capsys):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng, 100))
    report = backtest_job.run(settings, "ovens", file=file)
    assert list(report["models"]) == ["no model", "seasonal_naive", "last_value"]
    assert "training needs" in report["not_trained"]
    show(report)
    assert "No model was trained: training needs" in " ".join(capsys.readouterr().out.split())
    assert "No model was trained: training needs" in backtest_page(report)
    assert ModelRegistry(settings.models.registry).versions("ovens") == []
