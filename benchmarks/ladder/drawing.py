"""One scene as an SVG: what was read, the forecasts one step ahead with their 80 % interval, and who answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.ladder.story import SEASON, Scene
from stream_app.pages.svg import BLUE, GREY, svg

PLOT_HEIGHT = 190
COLORS = {"model": BLUE, "seasonal_naive": "#d9a00b", "last_value": "#d9600b", "level": "#c9184a", "nobody": GREY}
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
    return svg(scene.title, partial(_scene, scene, read, forecasts), PLOT_HEIGHT, bottom=52)


def _scene(scene: Scene, read: Sequence[float | None], forecasts: Sequence[Forecast], figure: Figure) -> None:
    """The upward axis is that of the readings: an interval may leave the picture."""
    first, last = scene.drawn
    plot, strip = figure.subplots(2, sharex=True, height_ratios=(18, 1), gridspec_kw={"hspace": 0.03})
    plot.axvspan(*scene.fault, color=GREY, alpha=0.15, linewidth=0)
    seen = [(tick, value) for tick in range(first, last) if (value := read[tick]) is not None]
    plot.plot(*zip(*seen, strict=True), "o", color=GREY, markersize=2.6, gid="readings")
    plot.margins(y=0.08)
    plot.set_ylim(plot.get_ylim())
    for name, group in _runs([each for each in forecasts if first <= each["origin"] + 1 < last]):
        at = [each["origin"] + 1 for each in group]
        low, middle, high = ([each[key] for each in group] for key in ("low", "middle", "high"))
        plot.fill_between(at, low, high, color=COLORS[name], alpha=0.25, linewidth=0, gid=f"{name}-{at[0]}")
        plot.plot(at, middle, color=COLORS[name], linewidth=1.3)
    _who(strip, answers(scene, forecasts))
    plot.tick_params(bottom=False)
    strip.set(xlim=(first, last), xticks=range(-(-first // SEASON) * SEASON, last, SEASON))
    strip.xaxis.set_major_formatter("{x:.0f} h")


def _runs(ahead: Sequence[Forecast]) -> list[tuple[str, list[Forecast]]]:
    """Neighbours of one rung; a run ends where an origin has no forecast, too."""
    keyed = [(rung(each), each["origin"] - number, each) for number, each in enumerate(ahead)]
    return [(key[0], [each for *_, each in group]) for key, group in groupby(keyed, key=lambda each: each[:2])]


def _who(strip: Axes, said: Sequence[tuple[str, str | None, int, int]]) -> None:
    """Who answered, and the legend of it below."""
    for rung_ in dict.fromkeys(name for name, *_ in said):
        mine = [each for each in said if each[0] == rung_]
        reasons = ", ".join(dict.fromkeys(reason for _, reason, _, _ in mine if reason))
        label = f"{rung_.replace('_', ' ')}{f' ({reasons})' if reasons else ''}"
        strip.broken_barh(
            [(begin, end + 1 - begin) for *_, begin, end in mine], (0, 1), color=COLORS[rung_], label=label, linewidth=0
        )
    strip.set(ylim=(0, 1), yticks=[])
    strip.spines[:].set_visible(False)
    strip.legend(loc="upper left", bbox_to_anchor=(0, -2.2), ncols=4, borderaxespad=0, borderpad=0, handlelength=1.2)
