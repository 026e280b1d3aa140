"""Charts as plotly figures: plain dictionaries in plotly's own form, so that pages and programs can both take them.

Blue is what was forecast, orange what happened, grey what one could have said without a model. Nothing sets a font or a
background: a page lays its own theme over it, light or dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import FloatArray, IntArray

Figure = dict[str, Any]

FORECAST, ACTUAL, NAIVE_A, NAIVE_B = "#2b7fd4", "#e8710a", "#8a94a0", "#b9975b"
NAIVE = {"seasonal_naive": NAIVE_A, "last_value": NAIVE_B, "rival": NAIVE_A}  # lines that have a colour of their own
MODELS = (FORECAST, "#7a4fbf", "#1f9e89", "#b5347a")  # of models beside each other, dashed from the fifth on
RATIOS_COUNTED = 20  # series up to which each has its own mark on the axis
BAND_OPACITY = (0.16, 0.20, 0.26, 0.34)  # from the widest interval to the narrowest
SIGNIFICANT_DIGITS = 5
COVERAGE_ROOM = 0.1  # shown of coverage around what is wanted at least: half a point must not look like a cliff
MARGIN = {"l": 56, "r": 12, "t": 12, "b": 40}


@dataclass(frozen=True)
class Fan:
    """One forecast over what happened; times in ms since the epoch."""

    origin_ms: int
    quantiles: FloatArray  # [Q, H]
    past: FloatArray  # [P], actual values up to the origin
    actual: FloatArray  # [H], what then happened; NaN where nothing was read


def fan_figure(fans: Sequence[Fan], levels: Sequence[float], step_ms: int, unit: str = "") -> Figure:
    """The first fan drawn, and each of them as a frame whose name is its position."""
    frames = [{"name": str(number), "data": _fan_traces(fan, levels, step_ms)} for number, fan in enumerate(fans)]
    return {
        "data": frames[0]["data"] if frames else [],
        "frames": frames,
        "layout": _layout(yaxis={"title": {"text": unit}}, hovermode="x unified", xaxis={"type": "date"}),
    }


def strip_figure(
    times_ms: IntArray, actual: FloatArray, lower: FloatArray, median: FloatArray, upper: FloatArray, *, interval: float
) -> Figure:
    """Forecasts of one horizon beside what happened, over a long time; all arrays [n]."""
    x = _moments(times_ms)
    band = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    data = [
        band | {"y": _numbers(lower)},
        band
        | {
            "y": _numbers(upper),
            "fill": "tonexty",
            "fillcolor": _rgba(FORECAST, 0.25),
            "name": f"{interval:.0%} interval",
            "showlegend": True,
        },
        _line("forecast", median, FORECAST, x=x, width=1),
        _line("actual", actual, ACTUAL, x=x, width=1.2),
    ]
    return {"data": data, "layout": _layout(hovermode="x unified", xaxis={"type": "date"})}


def reliability_figure(levels: Sequence[float], below: Sequence[float]) -> Figure:
    """How often the actual value was at or below each quantile, against how often it should have been."""
    percent = {"tickformat": ".0%", "range": [0, 1], "tick0": 0, "dtick": 0.2}
    ideal = {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": {"color": NAIVE_A, "dash": "dot", "width": 1}}
    found = {"x": list(levels), "y": _numbers(np.array(below)), "mode": "lines+markers"}
    data = [
        ideal | {"name": "ideal", "hoverinfo": "skip"},
        found | {"name": "observed", "line": {"color": FORECAST, "width": 2}},
    ]
    axes = {
        "xaxis": percent | {"title": {"text": "quantile"}},
        "yaxis": percent | {"title": {"text": "actual below it"}},
    }
    return {"data": data, "layout": _layout(**axes)}


def horizon_figure(model: FloatArray, seasonal_naive: FloatArray, last_value: FloatArray) -> Figure:
    """Error by horizon [H], in units in which series can be averaged."""
    steps = list(range(1, len(model) + 1))
    data = [
        _line("seasonal naive", seasonal_naive, NAIVE_B, x=steps, width=1.5),
        _line("last value", last_value, NAIVE_A, x=steps, width=1.5),
        _line("tidecast", model, FORECAST, x=steps, width=2.5),
    ]
    axes = {"xaxis": {"title": {"text": "steps ahead"}}, "yaxis": {"title": {"text": "MASE"}, "rangemode": "tozero"}}
    return {"data": data, "layout": _layout(hovermode="x unified", **axes)}


def interval_figure(names: Sequence[str], means: FloatArray, lower: FloatArray, upper: FloatArray) -> Figure:
    """A difference a line, with its interval; bounds that are not known are left out."""
    known = [np.where(np.isfinite(bound), np.abs(bound - means), 0.0) for bound in (lower, upper)]
    reach = {"type": "data", "symmetric": False, "arrayminus": _numbers(known[0]), "array": _numbers(known[1])}
    points = {"x": _numbers(means), "y": list(names), "mode": "markers", "error_x": reach, "showlegend": False}
    axes = {"xaxis": {"tickformat": "+.1%", "zeroline": True, "rangemode": "tozero"}, "yaxis": {"type": "category"}}
    return {"data": [points | {"marker": {"color": FORECAST, "size": 10}}], "layout": _layout(**axes)}


def ratio_figure(ratios: Sequence[float]) -> Figure:
    """Losses against the rival's, one point a series, worst first."""
    ranks = {"x0": 1, "dx": 1}
    losses = {"y": _numbers(np.array(ratios)), "mode": "markers", "name": "series", "marker": {"color": FORECAST}}
    same = _line("equal", np.ones(len(ratios)), NAIVE_A, width=1, **ranks)
    ticks = {"dtick": 1} if len(ratios) <= RATIOS_COUNTED else {}
    axes = {"xaxis": {"title": {"text": "series, worst first"}} | ticks, "yaxis": {"title": {"text": "loss / rival's"}}}
    return {"data": [losses | ranks, same], "layout": _layout(**axes)}


def losses_figure(horizons: Sequence[int], named: dict[str, FloatArray]) -> Figure:
    """Loss by horizon, a line a model."""
    steps = [str(step) for step in horizons]
    data = _beside_each_other(named, steps)
    axes = {
        "xaxis": {"title": {"text": "steps ahead"}, "type": "category"},
        "yaxis": {"title": {"text": "scaled pinball"}, "rangemode": "tozero"},
    }
    return {"data": data, "layout": _layout(**axes)}


def coverage_figure(up_to: Sequence[int], named: dict[str, FloatArray], nominal: float) -> Figure:
    """Share of what happened inside an interval, by bucket of horizons."""
    steps = [str(step) for step in up_to]
    data = _beside_each_other(named, steps)
    wanted = _line(f"{nominal:.0%} wanted", np.full(len(steps), nominal), ACTUAL, x=steps, width=1)
    shares = np.concatenate([*named.values(), [nominal - COVERAGE_ROOM, nominal + COVERAGE_ROOM]])
    axes = {
        "xaxis": {"title": {"text": "up to so many steps ahead"}, "type": "category"},
        "yaxis": {"tickformat": ".0%", "range": [float(np.nanmin(shares)) - 0.01, float(np.nanmax(shares)) + 0.01]},
    }
    return {"data": [*data, wanted], "layout": _layout(**axes)}


def _beside_each_other(named: dict[str, FloatArray], steps: list[str]) -> list[dict[str, Any]]:
    """A line each, as many as there are; a model has the same colour in every figure that shows the same models."""
    data, models = [], 0
    for name, values in named.items():
        line = _line(name, values, NAIVE.get(name, MODELS[models % len(MODELS)]), x=steps, width=2)
        line["line"]["dash"] = "solid" if name in NAIVE or models < len(MODELS) else "dash"
        models += name not in NAIVE
        data.append(line | {"mode": "lines+markers"})
    return data


def with_other(figure: Figure, name: str, quantiles: FloatArray, origin_ms: int, step_ms: int) -> Figure:
    """A fan figure with another forecast's lowest, middle and highest quantile over it; quantiles [Q, H]."""
    place = {"x0": origin_ms + step_ms, "dx": step_ms}
    rows = dict.fromkeys((0, len(quantiles) // 2, len(quantiles) - 1))
    lines = [
        _line(name, quantiles[row], NAIVE_A, width=2 if row == len(quantiles) // 2 else 1, **place)
        | {"showlegend": row == len(quantiles) // 2, "line": {"color": NAIVE_A, "dash": "dot"}}
        for row in rows
    ]
    return figure | {"data": [*figure["data"], *lines]}


def _fan_traces(fan: Fan, levels: Sequence[float], step_ms: int) -> list[dict[str, Any]]:
    ahead: dict[str, Any] = {"x0": fan.origin_ms + step_ms, "dx": step_ms}
    traces: list[dict[str, Any]] = []
    pairs = len(levels) // 2
    for number in range(pairs):
        share = levels[-1 - number] - levels[number]
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, **ahead}
        traces.append(edge | {"y": _numbers(fan.quantiles[number])})
        opacity = BAND_OPACITY[min(number, len(BAND_OPACITY) - 1)]
        top = {"fill": "tonexty", "fillcolor": _rgba(FORECAST, opacity), "name": f"{share:.0%} interval"}
        traces.append(edge | {"y": _numbers(fan.quantiles[-1 - number]), "showlegend": number == 0} | top)
    middle = int(np.argmin(np.abs(np.array(levels) - 0.5)))
    traces.append(_line("forecast", fan.quantiles[middle], FORECAST, width=2, **ahead))
    happened = np.concatenate([fan.past, fan.actual])
    start = fan.origin_ms - (len(fan.past) - 1) * step_ms
    traces.append(_line("actual", happened, ACTUAL, width=2, x0=start, dx=step_ms))
    return traces


def _line(name: str, values: FloatArray, color: str, *, width: float, **place: Any) -> dict[str, Any]:
    line = {"color": color, "width": width}
    return {"name": name, "y": _numbers(values), "mode": "lines", "line": line, "connectgaps": False, **place}


def _layout(**more: Any) -> dict[str, Any]:
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return {"margin": MARGIN, "legend": legend, "showlegend": True} | more


def _numbers(values: FloatArray) -> list[float | None]:
    """Short for the page: five significant digits; missing ones as null."""
    return [float(f"{value:.{SIGNIFICANT_DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]


def _moments(times_ms: IntArray) -> list[str]:
    return [text.rstrip("Z") for text in np.datetime_as_string(times_ms.astype("datetime64[ms]"), unit="m").tolist()]


def _rgba(color: str, opacity: float) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def live_figure(
    times_ms: IntArray, values: FloatArray, levels: Sequence[float], step_ms: int, fans: Sequence[tuple[str, str, Fan]]
) -> Figure:
    """What was read [n], and forecasts over it as (name, color, fan): the earlier ones first, the newest on top."""
    data: list[dict[str, Any]] = []
    for name, color, fan in fans:
        data += _bands(fan, levels, step_ms, color, name)
    data.append(_line("actual", values, ACTUAL, width=2, x=_moments(times_ms)))
    return {"data": data, "layout": _layout(hovermode="x unified", xaxis={"type": "date"})}


def _bands(fan: Fan, levels: Sequence[float], step_ms: int, color: str, name: str) -> list[dict[str, Any]]:
    """The widest and the middle interval, and the median, of one forecast."""
    ahead: dict[str, Any] = {"x0": fan.origin_ms + step_ms, "dx": step_ms}
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, **ahead}
    traces: list[dict[str, Any]] = []
    for number in sorted({0, len(levels) // 4} if len(levels) > 1 else set()):
        traces.append(edge | {"y": _numbers(fan.quantiles[number])})
        traces.append(
            edge | {"y": _numbers(fan.quantiles[-1 - number]), "fill": "tonexty", "fillcolor": _rgba(color, 0.22)}
        )
    middle = int(np.argmin(np.abs(np.array(levels) - 0.5)))
    return [*traces, _line(name, fan.quantiles[middle], color, width=2, **ahead)]


def over_time_figure(times_ms: IntArray, coverage: FloatArray, skill: FloatArray, nominal: float | None) -> Figure:
    """Running coverage, beside what it should be, and skill; all [n]."""
    x = _moments(times_ms)
    data = [_line("coverage", coverage, FORECAST, x=x, width=2), _line("skill", skill, NAIVE_B, x=x, width=2)]
    if nominal is not None and len(x):
        data.append(_line(f"{nominal:.0%} wanted", np.full(len(x), nominal), NAIVE_A, x=x, width=1))
    axes = {"xaxis": {"type": "date"}, "yaxis": {"tickformat": ".0%"}}
    return {"data": data, "layout": _layout(hovermode="x unified", **axes)}
