"""Documents that a benchmark writes are what it makes of the figures that lie beside them: no number is typed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.accuracy import page as accuracy
from benchmarks.drift import page as drift
from benchmarks.ladder import page as ladder
from benchmarks.retraining import __main__ as retraining
from stream_app.pages import speed_page
from tests.tidy.test_tidy import REPOSITORY

DOCS = REPOSITORY / "docs"
# document → (the folder of its figures, what writes it into a folder of documents)
WRITTEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "ACCURACY.md": ("accuracy", accuracy.write_page),
    "DRIFT.md": ("drift", drift.write_page),
    "LADDER.md": (
        "ladder",
        lambda docs: ladder.write_page(docs, json.loads((docs / "ladder" / "record.json").read_text())),
    ),
    "RETRAINING.md": (
        "retraining",
        lambda docs: (docs / "RETRAINING.md").write_text(retraining.page(docs / "retraining")),
    ),
    "speed/speed.md": ("speed", lambda docs: speed_page.save(speed_page.load(docs / "speed"), docs / "speed")),
}


@pytest.mark.parametrize("document", WRITTEN)
def test_it_is_what_its_figures_make(document: str, tmp_path: Path) -> None:
    folder, write = WRITTEN[document]
    shutil.copytree(DOCS / folder, tmp_path / folder)
    (tmp_path / document).unlink(missing_ok=True)
    write(tmp_path)
    assert (tmp_path / document).read_text() == (DOCS / document).read_text(), f"write docs/{document} anew"
    for plot in sorted((DOCS / folder).glob("*.svg")):
        assert (tmp_path / folder / plot.name).read_text() == plot.read_text(), plot.name
