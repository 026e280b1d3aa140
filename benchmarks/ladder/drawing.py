"""One scene as an SVG: what was read, the forecasts one step ahead with their 80 % interval, and who answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from typing import Any

from benchmarks.ladder.story import Scene

WIDTH, PLOT_H, LEFT, RIGHT, TOP, STRIP = 860, 230, 56, 16, 44, 16
COLORS = {
    "model": "#2b7fd4",
    "seasonal_naive": "#e8a410",
    "last_value": "#d9600b",
    "level": "#b3123d",
    "nobody": "#9aa3ad",
}
STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:15px}.r{fill:#333}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.r{fill:#eee}}</style>"
)
Forecast = dict[str, Any]


def rung(forecast: Forecast) -> str:
    """Its colour: naive forecasts and the level go by their own names, every trained model is the model."""
    name: str = forecast["model"]
    return name if name in COLORS else "model"


def answers(scene: Scene, forecasts: Sequence[Forecast]) -> list[tuple[str, str | None, int, int]]:
    """(rung, reason, first origin, last origin) within what is drawn, as long as they stay the same."""
    first, last = scene.drawn
    by_origin = {each["origin"]: each for each in forecasts}
    said = []
    for tick in range(first, last):
        made = by_origin.get(tick)
        said.append(("nobody", None, tick) if made is None else (rung(made), made["reason"], tick))
    parts = [(key, [tick for _, _, tick in group]) for key, group in groupby(said, key=lambda each: each[:2])]
    return [(*key, ticks[0], ticks[-1]) for key, ticks in parts]


def draw(scene: Scene, read: Sequence[float | None], forecasts: Sequence[Forecast]) -> str:
    """`read` by tick, None: nothing; forecasts of one series by origin."""
    first, last = scene.drawn
    seen = [(tick, value) for tick in range(first, last) if (value := read[tick]) is not None]
    ahead = [each for each in forecasts if first <= each["origin"] + 1 < last]
    values = [value for _, value in seen]
    low, high = min(values), max(values)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)

    def x(tick: float) -> float:
        return LEFT + (tick - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - min(max(value, low), high)) / (high - low) * PLOT_H

    height = TOP + PLOT_H + STRIP + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        STYLE,
        f'<text class="t" x="{LEFT}" y="22">{escape(scene.title)}</text>',
        f'<rect x="{x(max(scene.fault[0], first)):.1f}" y="{TOP}" '
        f'width="{x(scene.fault[1]) - x(max(scene.fault[0], first)):.1f}" height="{PLOT_H}" fill="#9992"/>',
        *_axes(first, last, low, high, x, y),
    ]
    for name, group in _runs(ahead):
        points = [(x(each["origin"] + 1), each) for each in group]
        upper = [f"{at:.1f},{y(each['high']):.1f}" for at, each in points]
        lower = [f"{at:.1f},{y(each['low']):.1f}" for at, each in reversed(points)]
        middle = " ".join(f"{at:.1f},{y(each['middle']):.1f}" for at, each in points)
        parts += [
            f'<polygon points="{" ".join(upper + lower)}" fill="{COLORS[name]}" fill-opacity=".25"/>',
            f'<polyline points="{middle}" fill="none" stroke="{COLORS[name]}" stroke-width="1.6"/>',
        ]
    parts += [f'<circle class="r" cx="{x(tick):.1f}" cy="{y(value):.1f}" r="1.7"/>' for tick, value in seen]
    parts += _strip(answers(scene, forecasts), x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _runs(ahead: Sequence[Forecast]) -> list[tuple[str, list[Forecast]]]:
    """Neighbours of one rung; a run ends where an origin has no forecast, too."""
    keyed = [(rung(each), each["origin"] - number, each) for number, each in enumerate(ahead)]
    return [(key[0], [each for *_, each in group]) for key, group in groupby(keyed, key=lambda each: each[:2])]


def _axes(
    first: int, last: int, low: float, high: float, x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    parts = [f'<path d="M{LEFT} {TOP}V{TOP + PLOT_H}H{WIDTH - RIGHT}" fill="none" stroke="#999"/>']
    for part in range(5):
        value = low + (high - low) * (part + 0.5) / 5
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f}</text>')
    for tick in range(-(-first // 24) * 24, last, 24):
        parts.append(f'<text x="{x(tick):.1f}" y="{TOP + PLOT_H + STRIP + 20}" text-anchor="middle">{tick} h</text>')
    return parts


def _strip(said: Sequence[tuple[str, str | None, int, int]], x: Callable[[float], float]) -> list[str]:
    """Who answered, below the plot, and the legend."""
    top = TOP + PLOT_H + 3
    parts = [
        f'<rect x="{x(begin):.1f}" y="{top}" width="{x(end + 1) - x(begin):.1f}" height="{STRIP - 4}" '
        f'fill="{COLORS[name]}"><title>{escape(name)}, {reason or "ok"}: origins {begin} to {end}</title></rect>'
        for name, reason, begin, end in said
    ]
    at = LEFT
    for name in dict.fromkeys(each[0] for each in said):
        reasons = ", ".join(dict.fromkeys(reason for rung_, reason, _, _ in said if rung_ == name and reason))
        text = f"{name.replace('_', ' ')}{f' ({reasons})' if reasons else ''}"
        parts += [
            f'<rect x="{at}" y="{top + STRIP + 20}" width="12" height="12" fill="{COLORS[name]}"/>',
            f'<text x="{at + 17}" y="{top + STRIP + 31}">{escape(text)}</text>',
        ]
        at += 40 + 7 * len(text)
    return parts
