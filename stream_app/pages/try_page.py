"""Forecasts before and after covariates were set, from the report of `tidecast models try`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from stream_app.pages.page import Document, Section, page
from stream_app.pages.plots import Fan, fan_figure, with_other


def asked_for(report: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in report["set"].items())


def where_set(report: Mapping[str, Any]) -> str:
    """Which cells have the value: a sentence."""
    newest = datetime.fromtimestamp(report["origin_ms"] / 1000, UTC)
    ahead = ", ".join(report["set_ahead"])
    more = f", {ahead} also in all that is ahead" if ahead else ""
    return f"{asked_for(report)} in the newest step, {newest:%Y-%m-%d %H:%M} UTC{more}."


def instead_of(drawn: Mapping[str, Any]) -> str:
    """What was read there: of one covariate alone."""
    (read, *others) = drawn["instead_of"].values()
    return "" if others else f" instead of {read:.4g}" if read is not None else ", where nothing was read"


def try_page(report: Mapping[str, Any]) -> str:
    """HTML."""
    asked = asked_for(report)
    figures, captions = [], []
    for each in report["drawn"]:
        before, after, past = (np.array(each[part], float) for part in ("before", "after", "past"))
        nothing = np.full(before.shape[1], np.nan)
        figure = fan_figure(
            [Fan(report["origin_ms"], after, past, nothing)], report["quantile_levels"], report["step_ms"]
        )
        figure.pop("frames")
        figures.append(with_other(figure, "as it is", before, report["origin_ms"], report["step_ms"]))
        captions.append(f"{each['series_id']}: forecast with {asked}{instead_of(each)}; dotted as it is")
    sections = [Section("The newest forecasts", figures=figures, captions=captions)]
    subtitle = f"{where_set(report)} Quantiles as trained, without what a worker has learned since."
    cards = [(asked, "was set"), (report["version"], "model")]
    return page(Document(f"tidecast · {report['stream']} · what if", subtitle, cards, sections))
