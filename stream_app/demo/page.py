"""The HTML page at the end: one file that includes everything, plotly.js too, and asks no other host for anything."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core.durations import format_duration
from stream_app.demo.collecting import Collector
from stream_app.demo.scoring import SeriesScores
from stream_app.demo.table import COVERAGE_NEAR, Line, Report, answered
from stream_app.pages.page import cards_html
from stream_app.pages.plots import Fan, Figure, fan_figure, horizon_figure, reliability_figure, strip_figure
from stream_app.pages.shell import filled, part, standalone
from stream_app.watch.view import short_number

PAST_HORIZONS = 3  # of what happened before the origin
SERIES_MAX = 200  # drawn; the table has all
DEFAULT_FOLDER = Path(".tidecast/demo")


def write_page(collector: Collector, report: Report, path: Path | None) -> Report:
    """Write the page. Returns the report with the address of the page in it."""
    target = path or DEFAULT_FOLDER / f"{report.stream}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    report = replace(report, page=str(target))
    target.write_text(_page(collector, report), encoding="utf-8")
    return report


def _page(collector: Collector, report: Report) -> str:
    plan, scores = collector.plan, collector.scorer.scores
    table = plan.table
    figures: dict[str, Any] = {
        "series": [_series_figures(collector, code) for code in range(min(len(scores), SERIES_MAX))],
        "reliability": _reliability(collector, scores),
        "horizon": _horizon(collector, scores),
    }
    values = {
        "stream": html.escape(report.stream),
        "subtitle": html.escape(
            f"{len(table.series_ids):,} series, one reading every {format_duration(plan.spec.freq)}, "
            f"{len(table):,} readings. The model learned from the first half; these are its forecasts of the second."
        ),
        "cards": _cards(report),
        "rows": "\n".join(_row(line, code, report.interval) for code, line in enumerate(report.lines)),
        "total": _row(report.total, None, report.interval),
        "interval": f"{report.interval:.0%}",
        "notes": _notes(collector, report),
    }
    body = filled(part("demo.html"), values)
    return standalone(f"tidecast · {report.stream}", body, figures, ["demo.js"], ["demo.css"])


def _series_figures(collector: Collector, code: int) -> dict[str, Any]:
    plan, happened = collector.plan, collector.happened
    step_ms, horizon = plan.spec.step_ms, plan.spec.horizon
    kept = sorted(collector.scorer.scores[code].kept, key=lambda each: each.origin)
    fans = []
    for each in kept:
        past = happened.at(code, np.arange(each.origin - PAST_HORIZONS * horizon + 1, each.origin + 1))
        actual = happened.at(code, np.arange(each.origin + 1, each.origin + horizon + 1))
        fans.append(Fan(each.origin * step_ms, each.quantiles, past, actual))
    return {
        "name": plan.table.series_ids[code],
        "origins": [each.origin * step_ms for each in kept],
        "fan": fan_figure(fans, plan.spec.quantile_levels, step_ms),
        "strip": _strip(collector, code),
    }


def _strip(collector: Collector, code: int) -> Figure:
    """Forecasts one horizon ahead over the whole second half, at the origins that were kept for this chart."""
    scores, horizon = collector.scorer.scores[code], collector.plan.spec.horizon
    targets = np.array(scores.strip_origins, np.int64) + horizon
    quantiles = np.array(scores.strip, np.float64).reshape(-1, 3)
    return strip_figure(
        targets * collector.plan.spec.step_ms,
        collector.happened.at(code, targets),
        quantiles[:, 0],
        quantiles[:, 1],
        quantiles[:, 2],
        interval=round(collector.scorer.levels[-1] - collector.scorer.levels[0], 6),
    )


def _reliability(collector: Collector, scores: list[SeriesScores]) -> Figure:
    judged = max(1.0, float(sum(each.judged.sum() for each in scores)))
    below = np.sum([each.below for each in scores], axis=0) / judged
    return reliability_figure(collector.plan.spec.quantile_levels, below.tolist())


def _horizon(collector: Collector, scores: list[SeriesScores]) -> Figure:
    """MASE by horizon, mean over series."""
    curves = []
    for name in ("error", "seasonal_error", "last_error"):
        each = [
            getattr(score, name) / np.maximum(score.judged if name == "error" else score.naive_judged, 1) / scale
            for score, scale in zip(scores, collector.scorer.scales(), strict=True)
            if np.isfinite(scale) and scale > 0
        ]
        curves.append(np.mean(each, axis=0) if each else np.zeros(collector.plan.spec.horizon))
    return horizon_figure(*curves)


def _cards(report: Report) -> str:
    total = report.total
    cards = [
        (_percent(total.coverage), f"of what happened lay inside the {report.interval:.0%} interval"),
        (f"{total.forecasts:,}", f"forecasts, {total.missing:,} missing, {total.twice:,} twice"),
    ]
    for name, naive in (("seasonal naive", total.pinball_seasonal_naive), ("last value", total.pinball_last_value)):
        if total.scored_pinball and naive:
            cards.append((f"{total.scored_pinball / naive - 1:+.1%}", f"loss (pinball) against {name}"))
    return cards_html(cards)


def _row(line: Line, code: int | None, interval: float) -> str:
    best_naive = min(value for value in (line.mase_seasonal_naive, line.mase_last_value, np.inf) if value is not None)
    good = line.mase is not None and line.mase < best_naive
    near = line.coverage is not None and abs(line.coverage - interval) <= COVERAGE_NEAR
    cells = [
        (html.escape(line.series_id), ""),
        (f"{line.forecasts:,}", ""),
        (_percent(line.coverage), "good" if near else "poor"),
        (short_number(line.pinball), ""),
        (_signed(line.skill), "good" if (line.skill or 0) > 0 else "poor"),
        (_decimal(line.mase), "good" if good else "poor"),
        (_decimal(line.mase_seasonal_naive), "quiet"),
        (_decimal(line.mase_last_value), "quiet"),
        (html.escape(answered(line.rungs)), "left"),
    ]
    row = "".join(f'<td class="{style}">{text}</td>' for text, style in cells)
    drawn = code is not None and code < SERIES_MAX
    return f'<tr data-code="{code}" tabindex=0>{row}</tr>' if drawn else f"<tr>{row}</tr>"


def _notes(collector: Collector, report: Report) -> str:
    season = format_duration(collector.plan.spec.default_season * collector.plan.spec.step_ms)
    notes = [
        f"Coverage, pinball and MASE are over all forecasts of the second half and all {collector.plan.spec.horizon} "
        "horizons whose target was read, computed from the file and the published messages alone.",
        f"MASE: absolute error of the median, in units of the mean change over a season ({season}) in the first half.",
        "Skill: 1 − pinball / that of the naive forecast that was better in the first half, at the scored horizons. "
        "Total: sums of counts and pinballs, coverage of all, means of skill and MASE.",
        f"{report.revisions:,} forecasts were revised. Dead letters: "
        f"{', '.join(f'{number:,} {reason}' for reason, number in report.dead_letters.items()) or 'none'}.",
    ]
    if collector.plan.packaged:
        notes.append(
            "Data: Candanedo, L. (2017). Appliances Energy Prediction. UCI Machine Learning Repository, "
            "doi.org/10.24432/C5VC8G, CC BY 4.0; two random columns dropped, rounded to 2 decimals."
        )
    return "".join(f"<p>{html.escape(note)}</p>" for note in notes)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1%}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
