"""The demo tells the truth about any file: its settings follow from freq alone, its table from what was published."""

import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import numpy as np
import pytest
from rich.console import Console

from model_core.durations import parse_duration_ms
from stream_app.demo import collecting
from stream_app.demo.page import write_page
from stream_app.demo.plan import configuration, make_plan, stream_spec
from stream_app.demo.table import make_report, render_table
from stream_app.errors import TidecastError
from stream_app.settings import Settings
from stream_app.tables import TableFile
from tests.app.published import LEVELS, accuracy, forecast
from tests.conftest import REPOSITORY

TIDECAST = (sys.executable, "-c", "from stream_app.cli import main; main()")
STEPS = 600


def hourly_file(folder, rng, steps=STEPS):
    """Two daily rhythms and a series with holes."""
    hours = np.arange(steps)
    values = 10 + 3 * np.sin(hours[:, None] * 2 * np.pi / 24 + np.arange(3)) + rng.normal(scale=0.5, size=(steps, 3))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lines = ["time,north,south,holes"]
    for hour, (north, south, holes) in zip(hours.tolist(), values.tolist(), strict=True):
        last = "" if hour % 17 == 3 else f"{holes:.3f}"
        lines.append(f"{(start + timedelta(hours=hour)).isoformat()},{north:.3f},{south:.3f},{last}")
    path = folder / "my sensors.csv"
    path.write_text("\n".join(lines))
    return path


class _Message:
    def __init__(self, record, headers=()):
        self._record, self._headers = record, list(headers)

    def key(self):
        return self._record[0]

    def value(self):
        return self._record[1]

    def headers(self):
        return self._headers


class _Published:
    """Stands for the topics: what was published, in the order of publication."""

    def __init__(self):
        self.topics = {}

    def poll(self, timeout_s):
        came, self.topics = self.topics, {}
        return came


@pytest.fixture
def collector(tmp_path, rng, monkeypatch):
    published = _Published()
    monkeypatch.setattr(collecting, "TopicFollower", lambda *_, **__: published)
    made = collecting.Collector(make_plan(TableFile(hourly_file(tmp_path, rng)), "1h"), {}, watch=False)
    made.published = published
    return made


def publish_second_half(collector, *, without=(), twice=()):
    """A forecast for each tick of the second half: the last value, with a fixed interval."""
    plan, happened = collector.plan, collector.happened
    last, offsets = happened.last_values(), np.array(LEVELS)[:, None] - 0.5
    step_ms = plan.spec.step_ms
    messages, records = [], []
    for tick in range(plan.split_tick, happened.last_tick + 1):
        for code, name in enumerate(plan.table.series_ids):
            quantiles = last[code, tick - happened.first_tick] + 4 * offsets * np.ones(plan.spec.horizon)
            message = forecast(name, tick, quantiles.tolist(), step_ms=step_ms)
            messages += [] if (name, tick) in without else [message] * (2 if (name, tick) in twice else 1)
            naive = {"seasonal_naive": 2.0, "last_value": 1.25}
            scored = [{"horizon": 1, "actual": 1.0, "pinball": 1.0, "baselines": naive}]
            records.append(accuracy(name, tick, scored, step_ms=step_ms))
    collector.published.topics = {
        f"{plan.name}.forecasts": [_Message(each) for each in messages],
        f"{plan.name}.accuracy": [_Message(each) for each in records],
        f"{plan.name}.dead-letters": [_Message((b"a", b"?"), [("tidecast.error.reason", b"malformed")])],
    }
    collector.pump()


def test_a_complete_stream_has_nothing_missing_and_nothing_twice(collector):
    publish_second_half(collector)
    report = make_report(collector, collector.scorer.finish(), 1.0)
    assert [(line.missing, line.twice) for line in report.lines] == [(0, 0)] * 3
    assert report.total.forecasts == 3 * STEPS // 2
    assert report.total.mase == pytest.approx(report.total.mase_last_value), "it is the last value"
    assert report.total.skill == pytest.approx(1 - 1 / 1.25)
    assert report.total.rungs == {"ridge": 3 * STEPS // 2}
    assert report.dead_letters == {"malformed": 1}


def test_what_is_missing_or_came_twice_is_told(collector):
    at = collector.plan.split_tick + 40
    publish_second_half(collector, without={("north", at)}, twice={("south", at)})
    report = make_report(collector, collector.scorer.finish(), 1.0)
    by_name = {line.series_id: (line.missing, line.twice) for line in report.lines}
    assert by_name == {"north": (1, 0), "south": (0, 1), "holes": (0, 0)}


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_and_names_who_answered(collector, width):
    publish_second_half(collector)
    report = make_report(collector, collector.scorer.finish(), 1.0)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_table(report, width))
    rows = console.export_text().splitlines()
    assert all(len(row) <= width for row in rows)
    assert all("ridge" in row for row in rows[1:])


def test_a_narrow_table_says_how_good_the_forecasts_are(collector):
    publish_second_half(collector)
    report = make_report(collector, collector.scorer.finish(), 1.0)
    console = Console(width=40, record=True, file=io.StringIO())
    console.print(render_table(report, 40))
    head, *rows = console.export_text().splitlines()
    assert head.split() == ["series", "80%", "cover", "skill", "MASE"]
    assert "…" not in "".join(rows)
    assert all(len(row.split()) == 4 for row in rows)


def test_the_page_has_everything_in_it_and_asks_nobody(collector, tmp_path):
    publish_second_half(collector)
    report = make_report(collector, collector.scorer.finish(), 1.0)
    report = write_page(collector, report, tmp_path / "out" / "page.html")
    text = (tmp_path / "out" / "page.html").read_text()
    assert report.page == str(tmp_path / "out" / "page.html")
    ours = text.replace((files("plotly") / "package_data" / "plotly.min.js").read_text(), "")
    assert len(ours) < len(text) / 2, "plotly.js is inside"
    # hashes of scripts are base64, in which // may stand as well
    rest = re.sub(r"https://doi.org|'sha256-[\w+/]{43}='", "", ours)
    assert "//" not in rest, "no address of anything else"
    assert "default-src 'none'" in text
    assert "{{" not in text.split("<script>")[0]
    figures = json.loads(text.split("const figures = ")[1].split(";\n")[0])
    assert [series["name"] for series in figures["series"]] == ["north", "south", "holes"]
    assert len(figures["series"][0]["origins"]) == collecting.KEPT_ORIGINS
    assert len(figures["series"][0]["fan"]["frames"]) == collecting.KEPT_ORIGINS


@pytest.mark.parametrize("freq", ["1s", "7s", "1min", "7min", "10min", "15min", "1h", "6h", "12h", "1d"])
def test_settings_follow_from_freq_and_are_valid(freq, tmp_path, rng):
    spec = stream_spec("x", freq)
    assert 64 <= spec.context_length <= 432
    assert all(season % parse_duration_ms(freq) == 0 for season in spec.seasonality)


def test_the_written_configuration_is_what_was_planned(tmp_path, rng):
    plan = make_plan(TableFile(hourly_file(tmp_path, rng)), "1h")
    path = tmp_path / "tidecast.toml"
    places = {"bootstrap": "127.0.0.1:1", "redis_url": "redis://127.0.0.1:2/0", "registry": tmp_path / "models"}
    path.write_text(configuration(plan, **places, http_port=0))
    name, spec = Settings.load(path, environ={}).stream()
    assert (name, spec) == (plan.name, plan.spec)
    assert name == "my-sensors"


BAD = {
    "no freq": (None, "name the grid step of your data as well, such as --freq 1h"),
    "no step": ("often", "--freq: expected a duration"),
    "too fine": ("10ms", "between 1s and 1d"),
    "too coarse": ("1d", "too little to learn from"),
    "finer than the readings": ("20min", "found them 3 steps apart: set --freq"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_freq_that_cannot_be_is_one_clear_sentence(name, tmp_path, rng):
    freq, message = BAD[name]
    with pytest.raises(TidecastError, match=message):
        make_plan(TableFile(hourly_file(tmp_path, rng)), freq)


@pytest.mark.services
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("steps", "rungs"), [(1600, {"ridge"}), (600, {"seasonal_naive", "last_value"})])
def test_the_demo_runs_on_any_file_and_prints_its_table_for_machines(steps, rungs, tmp_path, rng):
    """Also where there is too little history to learn from."""
    page = tmp_path / "page.html"
    file = str(hourly_file(tmp_path, rng, steps))
    arguments = ["demo", "--data", file, "--freq", "1h", "--json", "--page", str(page)]
    done = subprocess.run(
        [*TIDECAST, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["total"]["forecasts"] == 3 * steps // 2
    assert report["total"]["rungs"].keys() & rungs, report["training"]
    assert (report["total"]["missing"], report["total"]["twice"], report["dead_letters"]) == (0, 0, {})
    assert report["page"] == str(page)
    assert page.stat().st_size > 1_000_000
