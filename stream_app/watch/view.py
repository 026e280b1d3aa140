"""The live view as rich renderables: the lines of a WatchModel, fitted into a terminal of any size.

Each line draws the last values and the newest forecast in one chart. Where there is room for two rows a series, the
median is a line of braille dots on a shaded interval; in one row it is blocks that fade as the interval widens. The
numbers beside it are the ends of the interval.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model_core.arrays import FloatArray
from stream_app.watch import ForecastView, SeriesView

BLOCKS = "▁▂▃▄▅▆▇█"
BRAILLE_BASE = 0x2800
EIGHTHS = len(BLOCKS)  # a cell is eight levels of blocks high, and four of dots
# Bit of the dot in row r (0 the top) and column c of a braille cell.
BRAILLE_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
PAST, MEDIAN, QUIET = "default", "bold color(51)", "dim"
MEDIAN_ON_BAND, BAND = "bold color(231) on color(24)", "color(24)"
ENDS = "color(38)"
# Blocks from a narrow interval to one as wide as the whole chart.
FADING = ("bold color(51)", "color(45)", "color(38)", "color(31)", "color(24)")
DRIFT_MARKS = {"drift": ("▲", "bold red"), "warning": ("△", "yellow"), "ok": ("·", "dim")}
FRAME_ROWS = 4  # title, column heads, the line under them, the footer
INTERVAL_WIDTH = 15
FIXED_COLUMNS = 42  # last, interval, cover, skill, drift, and a gap after each column
CHART_MIN, CHART_MAX = 14, 72
CHART_LEAST = 6  # where even model and interval have gone for it
WIDE = 110  # from here on models and reasons have their full names
NAME_MIN, NAME_MAX = 8, 28
GOOD_COVERAGE = 0.05  # within so much of the nominal share


@dataclass(frozen=True)
class Frame:
    """What stands above and below the lines."""

    title: str
    status: str = ""
    sort: str = "name"


def render(lines: list[SeriesView], frame: Frame, *, width: int, height: int) -> RenderableType:
    """A frame that fits exactly: never more than `height` rows and `width` columns."""
    room = max(1, height - FRAME_ROWS)
    tall = 2 * len(lines) <= room
    shown = lines[: room // 2 if tall else room]
    name_width = max([NAME_MIN, *(len(line.series_id) for line in shown)])
    name_width = min(name_width, NAME_MAX, max(NAME_MIN, width // 5))
    columns = _columns(width, name_width)
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, expand=False, header_style="dim")
    table.add_column("series", width=name_width, no_wrap=True)
    table.add_column("last", justify="right", width=8, no_wrap=True)
    table.add_column("forecast" if columns.chart >= len("forecast") else "next", width=columns.chart, no_wrap=True)
    if columns.interval:
        table.add_column(_interval_title(shown), width=columns.interval, justify="center", no_wrap=True)
    if columns.model:
        table.add_column("model", width=columns.model, no_wrap=True)
    table.add_column("cover", justify="right", width=5, no_wrap=True)
    table.add_column("skill", justify="right", width=5, no_wrap=True)
    table.add_column("", width=1, no_wrap=True)
    for line in shown:
        table.add_row(*_cells(line, columns, tall=tall, wide=width >= WIDE))
    return Group(_title(frame, width), table, _footer(lines, shown, frame, width))


@dataclass(frozen=True)
class Columns:
    """How wide those are that depend on the terminal; 0: left out."""

    chart: int
    interval: int
    model: int


def _columns(width: int, name_width: int) -> Columns:
    """Where a chart has no room the model goes first, then the ends of the interval."""
    model, interval = 8 if width < WIDE else 14, INTERVAL_WIDTH
    chart = width - name_width - FIXED_COLUMNS - model
    if chart < CHART_MIN:
        chart, model = chart + model + 1, 0
    if chart < CHART_MIN:
        chart, interval = chart + interval + 1, 0
    return Columns(int(np.clip(chart, CHART_LEAST, CHART_MAX)), interval, model)


def _title(frame: Frame, width: int) -> Text:
    title = Text.assemble(("tidecast ", "bold"), (frame.title, "bold cyan"), ("  " + frame.status, ""))
    title.truncate(width, overflow="ellipsis")
    return title


def _footer(lines: list[SeriesView], shown: list[SeriesView], frame: Frame, width: int) -> Text:
    hidden = len(lines) - len(shown)
    parts = [f"{len(lines):,} series by {frame.sort}"]
    if hidden:
        parts.append(f"{hidden:,} do not fit")
    parts.append("skill: against the better naive")
    footer = Text(" · ".join(parts), style="dim")
    footer.truncate(width, overflow="ellipsis")
    return footer


def _cells(line: SeriesView, columns: Columns, *, tall: bool, wide: bool) -> list[Text]:
    forecast = line.forecast
    mark, mark_style = DRIFT_MARKS.get(line.drift or "", (" ", ""))
    return [
        Text(line.series_id, overflow="ellipsis"),
        Text(short_number(line.last_value)),
        _chart(line, columns.chart, rows=2 if tall else 1),
        *([_interval(forecast, tall=tall)] if columns.interval else []),
        *([_model(forecast, tall=tall, wide=wide)] if columns.model else []),
        _coverage(line.coverage, forecast),
        _skill(line.skill),
        Text(mark, style=mark_style),
    ]


def _interval_title(lines: list[SeriesView]) -> str:
    interval = next((line.forecast.interval for line in lines if line.forecast), 0.8)
    return f"{interval:.0%} at the end"


def _interval(forecast: ForecastView | None, *, tall: bool) -> Text:
    if forecast is None:
        return Text("", style=QUIET)
    low, high = short_number(forecast.lower[-1]), short_number(forecast.upper[-1])
    text = Text.assemble((f"{low:>7}", ENDS), (" ", ""), (f"{high:<7}", ENDS))
    if tall:
        text.append(f"\n{_clock(forecast.origin):^15}", style=QUIET)
    return text


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%m-%d %H:%M")


def _model(forecast: ForecastView | None, *, tall: bool, wide: bool) -> Text:
    if forecast is None:
        return Text("waiting", style=QUIET)
    text = Text(
        forecast.model.replace("_", " "), overflow="ellipsis", style="green" if forecast.status == "ok" else "yellow"
    )
    if tall and forecast.reason and forecast.status != "ok":
        text.append("\n" + forecast.reason.replace("_", " "), style=QUIET)
    return text


def _coverage(coverage: float | None, forecast: ForecastView | None) -> Text:
    if coverage is None:
        return Text("–", style=QUIET)
    nominal = forecast.interval if forecast else 0.8
    return Text(f"{coverage:.0%}", style="green" if abs(coverage - nominal) <= GOOD_COVERAGE else "yellow")


def _skill(skill: float | None) -> Text:
    if skill is None:
        return Text("–", style=QUIET)
    percent = round(100 * max(skill, -9.99))  # as a whole number there is no -0
    return Text(f"{percent:+d}%" if percent else "0%", style="green" if skill > 0 else "red")


def short_number(value: float | None) -> str:
    """Five significant digits at most, seven characters."""
    if value is None or not np.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.1e}"
    for limit, digits in ((1e4, 0), (1e3, 1), (1e1, 2)):
        if size >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def _chart(line: SeriesView, width: int, *, rows: int) -> Text:
    if line.forecast is None:
        return Text("no forecast yet" if line.history else "", style=QUIET)
    past_cells = max(2, width // 3) if line.history else 0
    cells = width - past_cells
    per_cell = 2 if rows > 1 else 1
    past = line.past(past_cells * per_cell)
    forecast = line.forecast
    lower, median, upper = (
        _resampled(values, cells * per_cell) for values in (forecast.lower, forecast.median, forecast.upper)
    )
    low = float(np.nanmin(np.concatenate([past, lower])))
    high = float(np.nanmax(np.concatenate([past, upper])))
    scale = (low, high if high > low else low + 1.0)
    if rows == 1:
        text = Text(_blocks(past, *scale), style=PAST)
        widths = _levels(low + upper - lower, *scale, len(FADING))
        for block, fading in zip(_blocks(median, *scale), widths, strict=True):
            text.append(block, style=FADING[fading])
        return text
    return _braille(past, lower, median, upper, past_cells, scale, rows)


def _resampled(values: FloatArray, number: int) -> FloatArray:
    """[H] → [number], linear."""
    return np.interp(np.linspace(0, len(values) - 1, number), np.arange(len(values)), values)


def _levels(values: FloatArray, low: float, high: float, number: int) -> list[int]:
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    return np.minimum((share * number).astype(int), number - 1).tolist()


def _blocks(values: FloatArray, low: float, high: float) -> str:
    levels = _levels(values, low, high, len(BLOCKS))
    known = np.isfinite(values).tolist()
    return "".join(BLOCKS[level] if there else " " for level, there in zip(levels, known, strict=True))


def _braille(
    past: FloatArray,
    lower: FloatArray,
    median: FloatArray,
    upper: FloatArray,
    past_cells: int,
    scale: tuple[float, float],
    rows: int,
) -> Text:
    """Past and median as lines of dots, the interval as blocks behind them: dots win where both meet in a cell."""
    dots, start = rows * 4, past_cells * 2
    line = np.zeros((rows, past_cells + len(median) // 2), np.int64)
    drawn_values = np.concatenate([past, median])
    known = np.isfinite(drawn_values).tolist()
    for column, level in enumerate(_levels(drawn_values, *scale, dots), start - len(past)):
        if not known[column]:
            continue
        row, within = divmod(dots - 1 - level, 4)
        line[row, column // 2] |= BRAILLE_BITS[within][column % 2]
    bottoms = [0] * past_cells + _levels(lower[::2], *scale, rows * EIGHTHS)
    tops = [0] * past_cells + [level + 1 for level in _levels(upper[::2], *scale, rows * EIGHTHS)]
    text = Text()
    for row in range(rows):
        floor = (rows - 1 - row) * EIGHTHS
        for drawn, bottom, top in zip(line[row].tolist(), bottoms, tops, strict=True):
            text.append(*_braille_cell(drawn, bottom - floor, top - floor))
        text.append("\n" if row < rows - 1 else "")
    return text


def _braille_cell(drawn: int, bottom: int, top: int) -> tuple[str, str]:
    """Character and style of a cell that the interval fills from `bottom` to `top`, in eighths, possibly beyond it."""
    bottom, top = max(bottom, 0), min(top, EIGHTHS)
    if drawn:
        style = PAST if top <= bottom else MEDIAN_ON_BAND if top - bottom > EIGHTHS // 2 else MEDIAN
        return chr(BRAILLE_BASE + drawn), style
    if top <= bottom:
        return " ", ""
    if bottom == 0:
        return BLOCKS[top - 1], BAND
    return BLOCKS[bottom - 1], f"{BAND} reverse"  # what is left free below the interval
