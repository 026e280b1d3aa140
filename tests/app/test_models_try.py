"""`tidecast models try`: twenty inches of rain, before and after."""

import json
from pathlib import Path

import pytest

from model_core.training.train import train
from stream_app.cli import main
from stream_app.models.registry import ModelRegistry
from stream_app.pages.try_page import instead_of, where_set
from tests.core.river import WEEK, River, river
from tests.core.test_river import WITH_RAIN, history_of, readings_of


@pytest.fixture(scope="module")
def rainy(tmp_path_factory) -> tuple[Path, Path]:
    """(configuration of a stream whose champion knows rain, the log of its river)"""
    folder = tmp_path_factory.mktemp("rainy")
    made = river(2, stations=2, weeks=9)
    past = River(made.rain[: 8 * WEEK], made.flow[: 8 * WEEK])
    bundle = train(
        history_of(WITH_RAIN, readings_of(past)), WITH_RAIN, version="v1", created_at="", device="cpu"
    ).bundle
    registry = ModelRegistry(str(folder / "models"))
    registry.publish("river", bundle, {})
    registry.promote("river", "v1")
    log, config = readings_of(made), folder / "tidecast.toml"
    rows = zip(log.series_ids, log.timestamps_ms.tolist(), log.values.tolist(), strict=True)
    file = folder / "river.csv"
    file.write_text("series_id,timestamp,value\n" + "".join(f"{name},{at},{value}\n" for name, at, value in rows))
    config.write_text(
        f'application_id = "t"\n[kafka]\nbootstrap_servers = "none:1"\n[models]\nregistry = "{folder / "models"}"\n'
        '[streams.river]\ntopic = "river"\nfreq = "1h"\ncontext_length = 72\nhorizon = 24\nseasonality = ["1d"]\n'
        'targets = ["flow"]\npast_covariates = ["rain"]\nmonotone = { rain = "rising" }\n'
    )
    return config, file


def said(rainy: tuple[Path, Path], capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    config, file = rainy
    with pytest.raises(SystemExit) as ended:
        main(["models", "try", "--config", str(config), "--file", str(file), *words])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_the_river_rises_with_twenty_inches_of_rain_and_the_page_draws_both(rainy, capsys, tmp_path):
    page = tmp_path / "try.html"
    code, out, err = said(rainy, capsys, "--set", "rain=508", "--json", "--html", str(page))
    assert code == 0, err
    report = json.loads(out[out.index("{") :])
    assert [each["series_id"] for each in report["drawn"]] == ["gauge-0.flow", "gauge-1.flow"]
    middle = report["quantile_levels"].index(0.5)
    for each in report["drawn"]:
        moved = [b - a for a, b in zip(each["before"][middle], each["after"][middle], strict=True)]
        assert sum(moved[11:20]) / 9 > 0.1
        assert len(each["past"]) == 72
    rows = (row.split(",") for row in rainy[1].read_text().splitlines())
    newest = {name: value for name, _, value in rows}  # the last one of each wins
    read = {each["series_id"]: each["instead_of"]["rain"] for each in report["drawn"]}
    assert read == {f"gauge-{n}.flow": pytest.approx(float(newest[f"gauge-{n}.rain"]), rel=1e-6) for n in (0, 1)}
    told = page.read_text()
    assert f"gauge-1.flow: forecast with rain = 508 instead of {read['gauge-1.flow']:.4g}" in told
    assert "rain = 508 in the newest step, " in told


def test_the_terminal_shows_where_the_forecast_moves_most(rainy, capsys):
    code, out, _ = said(rainy, capsys, "--set", "rain=508", "--series", "gauge-1.flow")
    assert code == 0
    assert "rain = 508" in out
    assert "gauge-1.flow" in out
    assert "gauge-0" not in out
    assert "rain = 508 in the newest step, " in " ".join(out.split())
    assert "+" in out


def test_of_a_future_covariate_all_that_is_ahead_is_set_and_that_is_said():
    report = {"set": {"rain": 20.0, "outlook": 3.5}, "set_ahead": ["outlook"], "origin_ms": 1_700_000_000_000}
    said = "rain = 20, outlook = 3.5 in the newest step, 2023-11-14 22:13 UTC, outlook also in all that is ahead."
    assert where_set(report) == said
    assert instead_of({"instead_of": {"rain": None}}) == ", where nothing was read"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--set", "snow=1"), "is no covariate of stream river; its covariates: rain"),
        (("--set", "rain"), "expected VARIABLE=VALUE"),
        ((), "expected a covariate and its value"),
        (("--set", "rain=1", "--series", "gauge-9.flow"), "has no readings"),
    ],
)
def test_questions_that_make_no_sense_are_refused_with_the_reason(rainy, capsys, words, expected):
    code, _, err = said(rainy, capsys, *words)
    assert code == 2
    assert expected in " ".join(err.split())
