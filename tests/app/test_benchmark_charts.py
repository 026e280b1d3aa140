"""Charts of the benchmarks: lengths are values, names are whole, W1 is alone, the same figures make the same text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest
from PIL import ImageFont

from benchmarks.charts import Growth, Value, bars, dots, growth, short
from benchmarks.figure import Figure, Row
from benchmarks.report import write_report

SVG = "{http://www.w3.org/2000/svg}"
LONG = "its own ceiling: fetch + decode + check as the worker does, nothing else, backlog of 20,000,000 readings"
GROUPS = [
    [Value(LONG, "ceiling", 2_000_000, (1_900_000, 2_500_000)), Value("another ceiling", "ceiling", 500_000)],
    [Value("tidecast", "ours", 1_234_567, (1_000_000, 1_300_000))],
]


def texts(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


def said(svg: str) -> str:
    return " ".join(each.text or "" for each in texts(svg))


@pytest.mark.parametrize("draw", [bars, dots])
def test_a_long_name_is_whole_and_inside_the_picture(draw) -> None:
    drawn = draw("A title", GROUPS, short)
    assert LONG in said(drawn)
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size=90)
    named = [each for each in texts(drawn) if "anchor: end" in each.get("style", "")]
    assert len(named) > len(GROUPS[0]) + len(GROUPS[1])  # the long one has several lines
    for each in named:
        (end,) = re.findall(r"translate\(([\d.]+)", each.get("transform", "")) or [each.get("x", "nan")]
        assert float(end) >= font.getlength(each.text or "") / 10, each.text


def test_each_value_is_said_in_three_digits() -> None:
    drawn = said(bars("A title", GROUPS, short))
    assert all(value in drawn.split() for value in ("2M", "500k", "1.23M"))


def test_bars_are_as_long_as_their_values() -> None:
    paths = [each.get("d", "") for each in ElementTree.fromstring(bars("", GROUPS, short)).iter(f"{SVG}path")]
    corners = [[float(x) for x in re.findall(r"[ML] ([\d.]+)", path)] for path in paths if path.count("L") == 3]
    lengths = [max(across) - min(across) for across in corners if len(across) == 4]
    assert [round(length / lengths[0], 4) for length in lengths[:3]] == [1.0, 0.25, 0.6173]


def test_the_same_figures_make_the_same_text_whatever_the_user_has_set() -> None:
    plots = [Growth("series", "readings/s", [(1_000, 5.0), (10_000, 7.0)])]
    drawn = [growth("A title", plots), dots("A title", GROUPS, short)]
    with matplotlib.rc_context({"svg.fonttype": "path", "font.size": 20, "axes.grid": True, "svg.hashsalt": "salt"}):
        assert [growth("A title", plots), dots("A title", GROUPS, short)] == drawn


def figure_of(name: str, *what: str) -> Figure:
    rows = [Row(each, 1_000.0 * (number + 1), "readings/s", 900.0, 9_000.0) for number, each in enumerate(what)]
    return Figure(name, name, [*rows, Row("memory", 5.0, "MB")], machine={"cores": 2, "at": "now"})


def test_w1_has_a_chart_for_itself(tmp_path: Path) -> None:
    grown = Figure("scaling", "scaling", machine={"cores": 2, "at": "now"})
    grown.plots.append({"title": "", "axis": "partitions", "unit": "readings/s", "points": [(1, 3.0), (8, 4.0)]})
    for figure in (figure_of("w1", "tidecast, one process", "Kafka Streams"), figure_of("packs", "in packs"), grown):
        figure.save(tmp_path / "benchmarks")
    page = write_report(tmp_path, ["w1", "packs", "scaling"], {}).read_text()
    drawn = {path.name: said(path.read_text()) for path in (tmp_path / "benchmarks").glob("*.svg")}
    assert set(drawn) == set(re.findall(r"\]\(benchmarks/(.*?)\)", page)) == {"w1.svg", "rates.svg", "growth.svg"}
    for words, where in (("tidecast, one process", "w1.svg"), ("in packs", "rates.svg"), ("partitions", "growth.svg")):
        assert [name for name, text in drawn.items() if words in text] == [where]
    assert not any("memory" in text for text in drawn.values())
