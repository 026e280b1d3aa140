"""Two plain charts as SVG text, readable on white and on dark: bars, and lines over a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, BAR, GAP, LEFT, RIGHT = 860, 22, 10, 330, 120
OURS, THEIRS, TOP = "#2b7fd4", "#8a94a0", "#e8710a"
STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:15px}.g{stroke:#9993}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>"
)
PLOT_W, PLOT_H, MARGIN = 380, 220, 60


def bars(title: str, values: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """values: (name, median, least, most)."""
    longest = max((most for _, _, _, most in values), default=1.0) or 1.0
    height = 50 + len(values) * (BAR + GAP)
    parts = [_open(WIDTH, height), f'<text class="t" x="12" y="24">{escape(title)}</text>']
    for number, (name, middle, least, most) in enumerate(values):
        y = 42 + number * (BAR + GAP)
        scale = (WIDTH - LEFT - RIGHT) / longest
        color = TOP if "ceiling" in name else OURS if "tidecast" in name or "," in name else THEIRS
        color = THEIRS if "Streams" in name else color
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{middle * scale:.1f}" height="{BAR}" rx="2" fill="{color}"/>',
            f'<path d="M{LEFT + least * scale:.1f} {y + BAR / 2}H{LEFT + most * scale:.1f}" stroke="#000" '
            'stroke-opacity=".55" stroke-width="2"/>',
            f'<text x="{LEFT + most * scale + 6:.1f}" y="{y + 16}">{human(middle)} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def lines(plots: Sequence[tuple[str, str, str, Sequence[tuple[float, float]]]]) -> str:
    """plots: (title, x axis, unit of y, [(x, y)]), two in a row."""
    rows = -(-len(plots) // 2)
    parts = [_open(2 * (PLOT_W + MARGIN) + 20, rows * (PLOT_H + 90))]
    for number, plot in enumerate(plots):
        x0 = 70 + (number % 2) * (PLOT_W + MARGIN)
        parts.append(_one(x0, 40 + (number // 2) * (PLOT_H + 90), *plot))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _one(x0: int, y0: int, title: str, axis: str, unit: str, points: Sequence[tuple[float, float]]) -> str:
    width = PLOT_W - 50
    logs = [math.log10(x) for x, _ in points]
    low, span = min(logs), (max(logs) - min(logs)) or 1.0
    most = max(y for _, y in points) or 1.0
    placed = [
        (x0 + (at - low) / span * width, y0 + PLOT_H - y / most * (PLOT_H - 30))
        for at, (_, y) in zip(logs, points, strict=True)
    ]
    parts = [
        f'<text class="t" x="{x0}" y="{y0 - 8}">{escape(title)}</text>',
        f'<path class="g" d="M{x0} {y0}V{y0 + PLOT_H}H{x0 + width}" fill="none" stroke="#999"/>',
        f'<text x="{x0 + width / 2}" y="{y0 + PLOT_H + 38}" text-anchor="middle">{escape(axis)}</text>',
        f'<polyline fill="none" stroke="{OURS}" stroke-width="2" points="'
        + " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        + '"/>',
    ]
    for (x, y), (value, height) in zip(placed, points, strict=True):
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{OURS}"/>',
            f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{human(height)}</text>',
            f'<text x="{x:.1f}" y="{y0 + PLOT_H + 18}" text-anchor="middle">{human(value)}</text>',
        ]
    parts.append(f'<text x="{x0 + 4}" y="{y0 + 12}">{escape(unit)}</text>')
    return "\n".join(parts)


def human(value: float) -> str:
    """Three significant digits, with thousands as k and M."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def _open(width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"{STYLE}"
    )
