"""Pictures of the ladder say what was recorded: who answered from when to when, and where nothing was read."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ladder import story
from benchmarks.ladder.drawing import answers, draw
from benchmarks.ladder.page import write_page
from benchmarks.ladder.story import SCENES, SERIES, Scene

SVG = "{http://www.w3.org/2000/svg}"
SCENE = Scene("s", "A <story>", "a", (10, 30), (14, 20))


def forecast(origin: int, model: str, reason: str | None = None) -> dict[str, Any]:
    return {"origin": origin, "model": model, "reason": reason, "low": 1.0, "middle": 2.0, "high": 3.0}


def a_record() -> list[dict[str, Any]]:
    """Nobody before 12, ridge, holes from 15 to 20 without 18, ridge again."""
    made = [forecast(origin, "ridge") for origin in (12, 13, 14, *range(21, 30))]
    return sorted([*made, *(forecast(o, "last_value", "too_many_holes") for o in (15, 16, 17, 19, 20))], key=_origin)


def _origin(each: dict[str, Any]) -> int:
    return each["origin"]


def test_who_answered_is_told_run_by_run() -> None:
    assert answers(SCENE, a_record()) == [
        ("nobody", None, 10, 11),
        ("model", None, 12, 14),
        ("last_value", "too_many_holes", 15, 17),
        ("nobody", None, 18, 18),
        ("last_value", "too_many_holes", 19, 20),
        ("model", None, 21, 29),
    ]


def test_a_picture_has_a_dot_for_each_reading_and_a_band_for_each_run() -> None:
    read = [None if tick in (15, 16) else float(tick % 4) for tick in range(40)]
    picture = ElementTree.fromstring(draw(SCENE, read, a_record()))
    groups = {each.get("id", ""): each for each in picture.iter(f"{SVG}g")}
    dots = groups["readings"].findall(f".//{SVG}use")
    assert len(dots) == 30 - 10 - 2
    bands = [name for name in groups if name.startswith(("model", "last_value"))]
    assert bands == ["model-13", "last_value-16", "last_value-20", "model-22"]
    places = [float(each.get("x", "nan")) for each in dots]
    assert places == sorted(places)
    height = float(picture.get("height", "nan").removesuffix("pt"))
    assert all(0 <= float(each.get("y", "nan")) <= height for each in dots)
    assert any("A <story>" in (each.text or "") for each in picture.iter(f"{SVG}text"))


def test_the_page_shows_every_scene(tmp_path: Path) -> None:
    (tmp_path / "ladder").mkdir()
    of = story.read(story.waves()[story.HISTORY :])
    record = {"read": of, "forecasts": {name: a_record() for name in SERIES}}
    text = write_page(tmp_path, record).read_text()
    for scene in SCENES:
        assert f"](ladder/{scene.name}.svg)" in text
        assert (tmp_path / "ladder" / f"{scene.name}.svg").is_file()


def test_the_story_spoils_one_series_in_its_time_and_no_other() -> None:
    values = story.waves()[story.HISTORY :]
    of = story.read(values)
    changed = {
        name: {tick for tick in range(story.TICKS) if of[name][tick] != values[tick, column]}
        for column, name in enumerate(SERIES)
    }
    for scene in SCENES:
        assert (changed[scene.series] == set()) == (scene.spoil is None)
        assert all(scene.fault[0] <= tick < scene.fault[1] for tick in changed[scene.series])
    sent = [key for key, _ in story.messages(of, 0, story.TICKS)]
    assert len(sent) == sum(np.isfinite(np.array(row, float)).sum() for row in of.values())
