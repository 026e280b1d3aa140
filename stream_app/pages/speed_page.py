"""What `tidecast speed` has measured, as a table, a page and a plot. Records of other devices are kept beside a new
one.

A device without a record is shown as not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import msgspec

from stream_app.errors import TidecastError
from stream_app.models.speed import DEVICES, FORMATS, Cell, Record

RAW, PAGE, PLOT = "speed.json", "speed.md", "speed.svg"
NOT_RUN = "not run"
COLORS = dict(zip(FORMATS, ("#2b7fd4", "#8a94a0", "#b07cc6", "#e8710a"), strict=True))
STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:15px}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>"
)
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, BETWEEN = 360, 230, 70, 70, 90

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


def save(records: Records, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        RAW: msgspec.json.format(msgspec.json.encode(dict(records)), indent=1).decode() + "\n",
        PAGE: page(records),
        PLOT: plot(records),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


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


def page(records: Records) -> str:
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
            f"![forecasts a second]({PLOT})",
            "",
        ]
    )


def plot(records: Records) -> str:
    """SVG: forecasts a second over the size of a batch, a panel for each device and horizon."""
    panels = [
        (f"{device}, horizon {horizon}", [cell for cell in record.cells if cell.horizon == horizon])
        for device, record in records.items()
        for horizon in dict.fromkeys(cell.horizon for cell in record.cells)
    ]
    width = LEFT + len(panels) * (PANEL_WIDTH + BETWEEN)
    height = TOP + PANEL_HEIGHT + 60
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{STYLE}']
    for number, name in enumerate(FORMATS):
        x = LEFT + 130 * number
        parts.append(f'<rect x="{x}" y="12" width="14" height="4" fill="{COLORS[name]}"/>')
        parts.append(f'<text x="{x + 20}" y="19">{escape(name)}</text>')
    for number, (title, cells) in enumerate(panels):
        parts += _panel(LEFT + number * (PANEL_WIDTH + BETWEEN), title, cells)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(x0: int, title: str, cells: list[Cell]) -> Iterator[str]:
    """Both axes are logarithmic; the lower one runs over the batches, the other over decades."""
    batches = sorted({cell.batch for cell in cells})
    rates = [1e6 / cell.us_a_forecast for cell in cells]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)) + 1e-9)
    span = math.log(batches[-1] / batches[0]) or 1.0

    def across(batch: int) -> float:
        return x0 + math.log(batch / batches[0]) / span * PANEL_WIDTH

    def up(rate: float) -> float:
        return TOP + PANEL_HEIGHT - (math.log10(rate) - low) / (high - low) * PANEL_HEIGHT

    yield f'<text class="t" x="{x0}" y="{TOP - 14}">{escape(title)}: forecasts a second</text>'
    for decade in range(low, high + 1):
        y = up(10.0**decade)
        yield f'<path d="M{x0} {y:.1f}H{x0 + PANEL_WIDTH}" stroke="#999" stroke-opacity=".35"/>'
        yield f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>'
    for batch in batches:
        yield f'<text x="{across(batch):.1f}" y="{TOP + PANEL_HEIGHT + 20}" text-anchor="middle">{batch:,}</text>'
    yield f'<text x="{x0 + PANEL_WIDTH / 2}" y="{TOP + PANEL_HEIGHT + 40}" text-anchor="middle">batch</text>'
    for name in FORMATS:
        mine = sorted((cell.batch, 1e6 / cell.us_a_forecast) for cell in cells if cell.format == name)
        points = " ".join(f"{across(batch):.1f},{up(rate):.1f}" for batch, rate in mine)
        if points:
            yield f'<polyline fill="none" stroke="{COLORS[name]}" stroke-width="2" points="{points}"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
