"""Forecasts before and after covariates were set, from the report of `tidecast models try`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stream_app.pages.page import Document, Section, page
from stream_app.pages.plots import Fan, fan_figure, with_other


def try_page(report: Mapping[str, Any]) -> str:
    """HTML."""
    asked = ", ".join(f"{name} = {value:g}" for name, value in report["set"].items())
    figures, captions = [], []
    for each in report["drawn"]:
        before, after, past = (np.array(each[part], float) for part in ("before", "after", "past"))
        nothing = np.full(before.shape[1], np.nan)
        figure = fan_figure(
            [Fan(report["origin_ms"], after, past, nothing)], report["quantile_levels"], report["step_ms"]
        )
        figure.pop("frames")
        figures.append(with_other(figure, "as it is", before, report["origin_ms"], report["step_ms"]))
        captions.append(f"{each['series_id']}: forecast with {asked}; dotted as it is")
    sections = [Section("The newest forecasts", figures=figures, captions=captions)]
    subtitle = "Quantiles as trained, without what a worker has learned since."
    cards = [(asked, "was set"), (report["version"], "model")]
    return page(Document(f"tidecast · {report['stream']} · what if", subtitle, cards, sections))
