"""How a candidate was judged, from the report that the registry keeps with it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stream_app.pages.page import Document, Section, page
from stream_app.pages.plots import Fan, coverage_figure, fan_figure, interval_figure, ratio_figure, with_other

SERIES_SHOWN_MAX = 100


def training_page(stream: str, report: Mapping[str, Any]) -> str:
    """HTML of a report as `train` makes it, read back from JSON: unknown numbers are None."""
    return page(training_document(stream, report))


def training_document(stream: str, report: Mapping[str, Any]) -> Document:
    gate, rival = report["gate"], report["champion"] or "the naive forecasts"
    scaled = report["scaled_pinball"]
    cards = [
        ("passed" if report["passed"] else "refused", f"against {rival}"),
        (_share(report["slices"]["newest"]["mean"]), "pinball, newest slice"),
        (_share(report["slices"]["earlier"]["mean"]), "pinball, slice before it"),
        (_number(scaled["candidate"]), "scaled pinball"),
        *([(_number(scaled["champion"]), "of the champion")] if report["champion"] else []),
        (_number(scaled["seasonal_naive"]), "of seasonal naive"),
        (_number(scaled["last_value"]), "of last value"),
    ]
    sections = [_checks(report), _slices(report)]
    if gate["coverage"] and gate["nominal_coverage"] is not None:
        sections.append(_coverage(gate))
    sections += [_series(report), _stress(gate), *([_worst(report)] if gate["worst"] else [])]
    subtitle = f"Model {report['version']} ({report['model']}), {report['reason']}."
    return Document(f"tidecast · {stream} · {report['version']}", subtitle, cards, sections)


def _checks(report: Mapping[str, Any]) -> Section:
    gate = report["gate"]
    return Section(
        "Checks",
        note=f"Attempt {gate['attempt']} on these readings: a bound may be wrong with probability {gate['alpha']:.2g}.",
        columns=("check", "passed", "found"),
        rows=[(check["name"], "yes" if check["passed"] else "no", check["said"]) for check in report["checks"]],
        sentences=("found",),
    )


def _slices(report: Mapping[str, Any]) -> Section:
    slices = report["slices"]
    names = list(slices)
    values = {
        name: np.array([_float(slices[each][name]) for each in names], float) for name in ("mean", "lower", "upper")
    }
    figure = interval_figure(names, values["mean"], values["lower"], values["upper"])
    return Section(
        "Pinball against the rival, on two disjoint slices of the newest history",
        note=f"Left of 0 the candidate lost less. Intervals by blocks of {report['gate']['block_origins']} origins.",
        columns=("slice", "difference", "lower", "upper", "origins", "blocks"),
        rows=[
            (
                name,
                *(_share(slices[name][each]) for each in ("mean", "lower", "upper")),
                f"{slices[name]['origins']:,}",
                str(slices[name]["blocks"]),
            )
            for name in names
        ],
        figures=[figure],
    )


def _coverage(gate: Mapping[str, Any]) -> Section:
    rows = gate["coverage"]
    named = {side: np.array([row[side] for row in rows], float) for side in ("candidate", "rival")}
    figure = coverage_figure([row["up_to_steps"] for row in rows], named, gate["nominal_coverage"])
    return Section("Coverage of the widest interval, before the worker's own tracking", figures=[figure])


def _series(report: Mapping[str, Any]) -> Section:
    ratios = report["gate"]["series_ratios"]
    losses = report["series"]
    shown = {key: title for key, title in _LOSSES.items() if key != "champion" or report["champion"]}
    rows = [
        (name, f"{ratio:.3f}", *(_number(losses.get(name, {}).get(key)) for key in shown))
        for name, ratio in list(ratios.items())[:SERIES_SHOWN_MAX]
    ]
    return Section(
        "Series, worst first",
        note="Loss as a multiple of the rival's; then scaled pinball of each.",
        columns=("series", "ratio", *shown.values()),
        rows=rows,
        figures=[ratio_figure(list(ratios.values()))] if ratios else [],
    )


_LOSSES = {
    "candidate": "candidate",
    "champion": "champion",
    "seasonal_naive": "seasonal naive",
    "last_value": "last value",
}


def _stress(gate: Mapping[str, Any]) -> Section:
    rows = [
        (each["name"], "yes" if each["passed"] else "no", _number(each["excursion"]), str(each["windows"]))
        for each in gate["stress"]
    ]
    speed = gate["speed"]
    note = (
        f"A window takes {speed['candidate'] * 1e6:.0f} µs, all series {speed['step_share']:.2%} of a step."
        if speed
        else ""
    )
    columns = ("stress", "passed", "ranges outside its window", "windows")
    return Section("Stress and speed", note=note, columns=columns, rows=rows)


def _worst(report: Mapping[str, Any]) -> Section:
    figures, captions = [], []
    step_ms = report["step_ms"]
    for each in report["gate"]["worst"]:
        candidate, rival = (np.array(each[side], float) for side in ("candidate", "rival"))
        fan = Fan(each["origin_ms"], candidate, np.array(each["past"], float), np.array(each["actual"], float))
        figure = fan_figure([fan], report["quantile_levels"], step_ms)
        figure.pop("frames")
        figures.append(with_other(figure, "rival", rival, each["origin_ms"], step_ms))
        captions.append(f"{each['series_id']}: {each['ratio']:.3f} times the rival's loss; its worst forecast")
    return Section("The worst series", figures=figures, captions=captions)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
