"""What `tidecast speed` has measured, as a table, a page and a plot. Records of other devices are kept beside a new
one.

A device without a record is shown as not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_app.errors import TidecastError
from stream_app.models.speed import DEVICES, FORMATS, Record
from stream_app.pages.svg import BLUE, GREY, ORANGE, VIOLET, NoCharts, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAW, PAGE, PLOT = "speed.json", "speed.md", "speed.svg"
NOT_RUN = "not run"
COLORS = dict(zip(FORMATS, (BLUE, GREY, VIOLET, ORANGE), strict=True))
PANEL_HEIGHT = 150

Records = Mapping[str, Record]  # device → its record
Line = tuple[str, ...]  # device, horizon, batch, then a cell for each format


def load(folder: Path) -> dict[str, Record]:
    """Records of earlier runs; TidecastError when the file is something else."""
    path = folder / RAW
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, Record])
    except msgspec.DecodeError as error:
        raise TidecastError(f"{path}: expected records of `tidecast speed`: {error}. Name another --out.") from error


def save(records: Records, folder: Path) -> tuple[list[Path], str | None]:
    """(what was written, why there is no plot)"""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {RAW: msgspec.json.format(msgspec.json.encode(dict(records)), indent=1).decode() + "\n"}
    undrawn = None
    try:
        texts[PLOT] = plot(records)
    except NoCharts as error:
        undrawn = f"{PLOT} was not drawn: {error}"
    texts[PAGE] = page(records, drawn=undrawn is None)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts], undrawn


def table(records: Records) -> list[Line]:
    """Microseconds a forecast; where a device has no record, one line that says so."""
    lines: list[Line] = []
    for device in DEVICES:
        record = records.get(device)
        if record is None:
            lines.append((device, "", "", *[NOT_RUN] * len(FORMATS)))
            continue
        found = {(cell.horizon, cell.batch, cell.format): _short(cell.us_a_forecast) for cell in record.cells}
        shapes = dict.fromkeys((horizon, batch) for horizon, batch, _ in found)
        lines += [
            (device, str(h), f"{b:,}", *(found.get((h, b, name), NOT_RUN) for name in FORMATS)) for h, b in shapes
        ]
    return lines


def heads() -> Line:
    return ("device", "horizon", "batch", *FORMATS)


def about(record: Record) -> str:
    """The sentence that a figure needs beside it."""
    driver = f", driver {record.driver}" if record.driver else ""
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    load = f"load {record.load[0]} before and {record.load[1]} after"
    clock = "processor time of one thread" if record.device == "cpu" else "wall clock, transfers included"
    return (
        f"{record.device}: {record.name}{driver}; commit {record.commit}, {record.at}; {load}; {versions}. "
        f"{record.context_length} steps of context, {record.levels} levels; {clock}, medians."
    )


def page(records: Records, *, drawn: bool) -> str:
    rule = "|---" * 3 + "|---:" * len(FORMATS) + "|"
    rows = ["| " + " | ".join(line) + " |" for line in (heads(), *table(records))]
    missing = [device for device in DEVICES if device not in records]
    said = [f"- {about(records[device])}" for device in DEVICES if device in records]
    said += [f"- {device}: {NOT_RUN}; a record names device, driver and commit." for device in missing]
    return "\n".join(
        [
            "# What a forecast costs",
            "",
            "Made by `tidecast speed --out FOLDER`: from windows in memory to quantiles in memory, ridge, microseconds",
            "a forecast. `worker` is what a worker runs; the other three are the exported model.",
            "",
            rows[0],
            rule,
            *rows[1:],
            "",
            *said,
            "",
            *([f"![forecasts a second]({PLOT})", ""] if drawn else []),
        ]
    )


def plot(records: Records) -> str:
    """Forecasts a second over the size of a batch: a row of panels for each device, a column for each horizon."""
    title = "Forecasts a second, by size of a batch"
    return svg(title, partial(_panels, records), len(records) * PANEL_HEIGHT, left=48, top=72, bottom=36)


def _panels(records: Records, figure: Figure) -> None:
    from matplotlib.ticker import EngFormatter

    cells = [cell for record in records.values() for cell in record.cells]
    horizons, batches = (sorted(set(found)) for found in ((c.horizon for c in cells), (c.batch for c in cells)))
    figure.subplots_adjust(wspace=0.06, hspace=0.25)
    panels = figure.subplots(len(records), len(horizons), squeeze=False, sharex=True, sharey=True)
    for row, record in zip(panels, records.values(), strict=True):
        for axes, horizon in zip(row, horizons, strict=True):
            _panel(axes, record, horizon)
    first = panels[0, 0]
    first.set(xscale="log", yscale="log")
    first.set_xticks(batches, [f"{batch:,}" for batch in batches])
    first.yaxis.set_major_formatter(EngFormatter(sep=""))
    first.legend(loc="lower left", bbox_to_anchor=(0, 1.12), ncols=len(FORMATS))
    for axes in panels.flat:
        axes.minorticks_off()
    for axes in panels[-1]:
        axes.set_xlabel("batch")


def _panel(axes: Axes, record: Record, horizon: int) -> None:
    """A line for each format, also for one without a cell: the first panel's legend names them all."""
    axes.set_title(f"{record.device}, horizon {horizon}")
    axes.grid(axis="y")
    for name, color in COLORS.items():
        mine = sorted((c.batch, c.us_a_forecast) for c in record.cells if (c.horizon, c.format) == (horizon, name))
        batches, rates = [batch for batch, _ in mine], [1e6 / us for _, us in mine]
        gid = f"{record.device}-{horizon}-{name.replace(' ', '-')}"
        axes.plot(batches, rates, "o-", color=color, markersize=4, label=name, gid=gid)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
