"""`tidecast speed`: every shape and format has its figure, and what nobody measured is not run."""

import sys
import xml.etree.ElementTree as ET
from itertools import product

import msgspec
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model_core.export_vectors import WorkerPath
from model_core.exported import ExportedForecast, as_tensors
from model_core.spec import StreamSpec
from stream_app.cli.command_line import build_app
from stream_app.errors import TidecastError
from stream_app.models.speed import EAGER, FORMATS, ON_CUDA, WORKER, Cell, Record, Shapes, measure, untrained
from stream_app.pages import speed_page

SMALL = Shapes(16, (2, 3), (1, 5), (WORKER, EAGER))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("stream_app.models.speed.BUDGET_S", 0.0)


def record_of(device: str, formats: tuple[str, ...] = FORMATS) -> Record:
    cells = tuple(Cell(24, batch, name, 2.5 * batch, 9) for name, batch in product(formats, (1, 256)))
    driver = None if device == "cpu" else "570.1"
    return Record(
        device, "a device", driver, "abc123", "2026-01-01T00:00:00Z", (0.1, 0.2), {"torch": "2"}, 512, 9, cells
    )


def test_every_shape_is_measured_in_every_format():
    record = measure("cpu", SMALL)
    assert [(c.horizon, c.format, c.batch) for c in record.cells] == list(product((2, 3), (WORKER, EAGER), (1, 5)))
    assert all(cell.us_a_forecast > 0 and cell.repeats >= 5 for cell in record.cells)
    assert record.commit
    assert record.name


def test_what_is_timed_makes_the_same_forecasts():
    spec = StreamSpec(topic="t", freq="1h", context_length=16, horizon=3)
    bundle = untrained(spec)
    worker = WorkerPath(spec, bundle, 5, seed=7)
    published = worker.publish()
    with torch.no_grad():
        found = ExportedForecast(spec, bundle)(**as_tensors(worker.inputs()))[0].numpy()
    np.testing.assert_allclose(found, published.quantiles, rtol=1e-5, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_is_measured_with_its_name_and_driver():
    record = measure("cuda", SMALL)
    assert {cell.format for cell in record.cells} == set(ON_CUDA)
    assert record.driver


def test_a_device_without_a_record_is_not_run(tmp_path):
    speed_page.save({"cpu": record_of("cpu")}, tmp_path)
    page = (tmp_path / speed_page.PAGE).read_text()
    assert "| cuda |  |  | not run | not run | not run | not run |" in page
    assert "cuda: not run" in page


def test_a_record_from_another_machine_stays_beside_a_new_one(tmp_path):
    speed_page.save({"cuda": record_of("cuda", ON_CUDA)}, tmp_path)
    records = speed_page.load(tmp_path) | {"cpu": record_of("cpu")}
    speed_page.save(records, tmp_path)
    assert speed_page.load(tmp_path) == records
    page = (tmp_path / speed_page.PAGE).read_text()
    assert "| cuda | 24 | 256 | 640 | 640 | not run | not run |" in page
    assert "a device, driver 570.1; commit abc123" in page


def test_the_plot_has_a_line_for_each_format_of_each_panel():
    records = {"cpu": record_of("cpu"), "cuda": record_of("cuda", ON_CUDA)}
    drawn = ET.fromstring(speed_page.plot(records))
    points = {group.get("id"): len(group.findall(".//{*}use")) for group in drawn.iterfind(".//{*}g[@id]")}
    for device, formats in (("cpu", FORMATS), ("cuda", ON_CUDA)):
        for name in FORMATS:
            assert points.get(f"{device}-24-{name.replace(' ', '-')}", 0) == (2 if name in formats else 0)


def test_without_what_draws_charts_the_rest_is_written_and_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("stream_app.models.speed.measure", lambda device, *_: record_of(device))
    result = CliRunner().invoke(build_app("speed"), ["speed", "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "speed.svg was not drawn: install matplotlib, which the extra `charts` brings" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {speed_page.RAW, speed_page.PAGE}
    page = (tmp_path / speed_page.PAGE).read_text()
    assert "| cpu | 24 | 256 | 640 |" in page
    assert speed_page.PLOT not in page


def test_another_file_of_that_name_is_refused(tmp_path):
    (tmp_path / speed_page.RAW).write_bytes(msgspec.json.encode({"cpu": {"rows": []}}))
    with pytest.raises(TidecastError, match="speed"):
        speed_page.load(tmp_path)
