"""A chart as the text of an SVG for a Markdown page, and the look of all such charts; knows nothing of what they show.

The same figures make the same bytes, so that a test can hold a document against them. matplotlib draws them, which the
extra `charts` installs. plotly draws our HTML pages, but an SVG file only by way of a browser.
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Each is read on white and on the dark of a page: about 4:1 against both.
GREY, BLUE, ORANGE, VIOLET = "#6f7781", "#2b7fd4", "#d9690b", "#a35fbf"
WIDTH = 640  # points, as wide as a page of Markdown
POINTS_AN_INCH = 72
LOOK: dict[str, Any] = {
    "svg.fonttype": "none",  # letters stay letters: small, searchable
    "svg.hashsalt": "tidecast",  # ids would be drawn by lot
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: text is measured alike everywhere
    "text.parse_math": False,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "font.size": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "grid.alpha": 0.25,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), GREY
    ),
}


class NoCharts(TidecastError):
    """What draws charts is not installed; everything else can be written."""


def svg(
    title: str,
    draw: Callable[[Figure], None],
    height: float,
    *,
    left: float = 40,
    right: float = 12,
    top: float = 30,
    bottom: float = 24,
) -> str:
    """What `draw` puts onto a figure. `height` is that of the plots, in points as are the margins around them."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoCharts(f"install matplotlib, which the extra `charts` brings ({error})") from error
    whole = top + height + bottom
    # On top of the defaults, not of what a file of the user's may say.
    with style.context(["default", LOOK]):
        figure = Figure(figsize=(WIDTH / POINTS_AN_INCH, whole / POINTS_AN_INCH))
        figure.subplots_adjust(left / WIDTH, bottom / whole, 1 - right / WIDTH, 1 - top / whole)
        figure.text(8 / WIDTH, 1 - 15 / whole, title, weight="bold", size=10)
        draw(figure)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    return text.getvalue()
