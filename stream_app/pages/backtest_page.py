"""Models side by side on a log, from the report of `tidecast backtest`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from stream_app.pages.page import Document, Section, page
from stream_app.pages.plots import Fan, coverage_figure, fan_figure, losses_figure, with_other

SERIES_SHOWN_MAX = 200


def backtest_page(report: Mapping[str, Any]) -> str:
    """HTML."""
    models = report["models"]
    start = datetime.fromtimestamp(report["start_ms"] / 1000, UTC)
    cards = [(_number(row["scaled_pinball"]), f"scaled pinball, {name}") for name, row in models.items()]
    sections = [_models(report), _horizons(report), _series(models), *([_forecasts(report)] if report["drawn"] else [])]
    subtitle = f"Origins from {start:%Y-%m-%d %H:%M} UTC on; every forecast from what had arrived before it, as served."
    return page(Document(f"tidecast · {report['stream']} · backtest", subtitle, cards, sections))


def _models(report: Mapping[str, Any]) -> Section:
    models, nominal = report["models"], report["nominal_coverage"]
    notes = [
        "Learned from: the share of the judged time that a model was trained on; above 0 it knew answers beforehand.",
        *([f"Coverage: of the {nominal:.0%} interval."] if nominal is not None else []),
        *([f"No model was trained: {report['not_trained']}."] if report["not_trained"] else []),
    ]
    rows = [
        (
            name,
            _number(row["scaled_pinball"]),
            _share(row["coverage"]),
            "–" if row["forecasts"] is None else f"{row['forecasts']:,}",
            _share(row["answered_by_model"]),
            _share(row["seen"]),
        )
        for name, row in models.items()
    ]
    return Section(
        "Models",
        note=" ".join(notes),
        columns=("model", "scaled pinball", "coverage", "forecasts", "answered by the model", "learned from"),
        rows=rows,
    )


def _horizons(report: Mapping[str, Any]) -> Section:
    models = report["models"]
    losses = {name: np.array(row["by_horizon"], float) for name, row in models.items() if row["by_horizon"]}
    figures, captions = [losses_figure(report["horizons"], losses)], ["Loss by horizon"]
    covered = {
        name: np.array(row["coverage_by_horizon"], float) for name, row in models.items() if row["coverage_by_horizon"]
    }
    if covered and report["nominal_coverage"] is not None:
        figures.append(coverage_figure(report["horizons"], covered, report["nominal_coverage"]))
        captions.append("Coverage of the widest interval by horizon")
    return Section("By horizon", figures=figures, captions=captions)


def _series(models: Mapping[str, Any]) -> Section:
    names = sorted({series for row in models.values() for series in row["series"]})[:SERIES_SHOWN_MAX]
    rows = [(name, *(_number(row["series"].get(name)) for row in models.values())) for name in names]
    return Section("Series: scaled pinball", columns=("series", *models), rows=rows)


def _forecasts(report: Mapping[str, Any]) -> Section:
    figures, captions = [], []
    for each in report["drawn"]:
        (name, quantiles), *others = each["quantiles"].items()
        past, actual = (np.array(each[part], float) for part in ("past", "actual"))
        fan = Fan(each["origin_ms"], np.array(quantiles, float), past, actual)
        figure = fan_figure([fan], report["quantile_levels"], report["step_ms"])
        figure.pop("frames")
        for other, lines in others:
            figure = with_other(figure, other, np.array(lines, float), each["origin_ms"], report["step_ms"])
        figures.append(figure)
        captions.append(f"{each['series_id']}: {name}")
    return Section("One forecast of some series, in the middle of the judged time", figures=figures, captions=captions)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
