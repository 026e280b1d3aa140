"""Charts of the benchmarks' pages: values as bars or as dots, and how cost grows. What is measured, it does not know.

ladder/drawing.py draws the scenes of the ladder.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from stream_app.pages.svg import BLUE, GREY, ORANGE, svg

Kind = Literal["ours", "peer", "ceiling"]
COLORS: dict[Kind, str] = {"ours": BLUE, "peer": GREY, "ceiling": ORANGE}
NAME_LETTERS = 46  # in a line of a name
NAMES, VALUES = 262, 62  # points left and right of rows
LINE, BETWEEN_ROWS, BETWEEN_GROUPS, BAR = 12, 9, 8, 14  # points
PANEL_HEIGHT = 120
METRIC = EngFormatter(sep="")  # 1.2M


@dataclass(frozen=True)
class Value:
    """One row: a median and, where there were rounds, the lowest and the highest of them."""

    name: str
    kind: Kind
    value: float
    rounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Growth:
    """One panel: `unit` over `axis`."""

    axis: str
    unit: str
    points: Sequence[tuple[float, float]]


Groups = Sequence[Sequence[Value]]  # some space between two groups
Say = Callable[[float], str]  # a value in letters


def short(value: float) -> str:
    """Three significant digits, with thousands as k and millions as M."""
    return METRIC(float(f"{value:.3g}"))


def bars(title: str, groups: Groups, say: Say) -> str:
    """From zero, so that lengths compare."""
    return svg(title, partial(_rows, groups, say, _bar), _depth(groups), left=NAMES, right=VALUES, bottom=8)


def dots(title: str, groups: Groups, say: Say) -> str:
    """On a logarithmic axis, for what differs too much for bars."""
    first = min(value.rounds[0] if value.rounds else value.value for group in groups for value in group) / 1.2
    return svg(title, partial(_rows, groups, say, partial(_dot, first)), _depth(groups), left=NAMES, right=VALUES)


def growth(title: str, plots: Sequence[Growth]) -> str:
    """A row for each unit, a column for each axis."""
    units = list(dict.fromkeys(plot.unit for plot in plots))
    return svg(title, partial(_panels, plots, units), len(units) * PANEL_HEIGHT, top=50, bottom=36)


def _lines(name: str) -> list[str]:
    return textwrap.wrap(name, NAME_LETTERS)


def _placed(groups: Groups) -> Iterator[tuple[float, float, Value]]:
    """(top, bottom, value) in points downwards: a row is as high as its name needs."""
    down = 0
    for group in groups:
        for value in group:
            top, down = down, down + len(_lines(value.name)) * LINE + BETWEEN_ROWS
            yield top, down, value
        down += BETWEEN_GROUPS


def _depth(groups: Groups) -> float:
    return max(bottom for _, bottom, _ in _placed(groups))


def _rows(groups: Groups, say: Say, mark: Callable[[Axes, float, Value], None], figure: Figure) -> None:
    """The upward axis is in points, as names are."""
    axes = figure.subplots()
    for top, bottom, value in _placed(groups):
        middle = (top + bottom) / 2
        _name(axes, middle, value.name)
        mark(axes, middle, value)
        last = value.rounds[1] if value.rounds else value.value
        axes.annotate(say(value.value), (last, middle), (7, 0), textcoords="offset points", va="center_baseline")
    axes.set(ylim=(_depth(groups), 0), yticks=[])
    axes.xaxis.set_major_formatter(METRIC)


def _name(axes: Axes, middle: float, name: str) -> None:
    """A text for each line: one text of several lines would be set flush for the letters of a single font only."""
    lines = _lines(name)
    for number, line in enumerate(lines):
        axes.annotate(
            line,
            (0, middle + (number - (len(lines) - 1) / 2) * LINE),
            (-8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
        )


def _bar(axes: Axes, middle: float, value: Value) -> None:
    """Without an axis below: each value stands beside its bar."""
    axes.barh(middle, value.value, BAR, color=COLORS[value.kind], alpha=0.5)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    if value.rounds:
        _range(axes, middle, value, "|")


def _dot(first: float, axes: Axes, middle: float, value: Value) -> None:
    """A thin line leads from where the axis begins."""
    axes.plot([first, value.value], [middle, middle], color=GREY, alpha=0.4, linewidth=0.6)
    axes.set_xscale("log", subs=())
    axes.margins(x=0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.spines["left"].set_visible(False)
    _range(axes, middle, value, "o")


def _range(axes: Axes, middle: float, value: Value, marker: str) -> None:
    """The median, on a line from the lowest to the highest round."""
    color = COLORS[value.kind]
    axes.plot(value.rounds or (value.value, value.value), [middle, middle], color=color, linewidth=1.8)
    axes.plot([value.value], [middle], marker, color=color, markersize=6, clip_on=False)


def _panels(plots: Sequence[Growth], units: list[str], figure: Figure) -> None:
    names = list(dict.fromkeys(plot.axis for plot in plots))
    figure.subplots_adjust(wspace=0.34, hspace=0.45)
    panels = figure.subplots(len(units), len(names), squeeze=False, sharex="col")
    for plot in plots:
        row, column = units.index(plot.unit), names.index(plot.axis)
        axes, (across, up) = panels[row, column], zip(*plot.points, strict=True)
        axes.plot(across, up, "o-", color=BLUE, markersize=5)
        steep = 0.15 * max(up)
        for before, (x, y), after in zip((0, *up), plot.points, (*up[1:], 0), strict=False):
            aside = 6 * ((before - y > steep) - (after - y > steep))  # away from the line
            axes.annotate(short(y), (x, y), (aside, 7), textcoords="offset points", ha="center")
        axes.set_xscale("log", subs=())
        axes.set_xticks(across, [short(x) for x in across])
        axes.minorticks_off()
        axes.margins(x=0.22)
        axes.set(ylim=(0, 1.25 * max(up)), title="" if column else plot.unit)
        axes.set_xlabel(plot.axis if row == len(units) - 1 else "")
        axes.yaxis.set_major_formatter(METRIC)
