"""The table at the end: a line a series and one in total, for people and, as JSON, for machines."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table as RichTable
from rich.text import Text

from model_core.arrays import FloatArray
from stream_app.demo.collecting import Collector
from stream_app.demo.scoring import SeriesScores
from stream_app.watch_view import short_number

NAIVES = ("seasonal_naive", "last_value")


@dataclass(frozen=True)
class Line:
    """Quality of the second half. None: nothing could be judged, or the worker published no baselines."""

    series_id: str
    readings: int
    forecasts: int  # of revision 0, second half
    missing: int  # readings of the second half that led to no forecast
    twice: int
    coverage: float | None  # of the widest central interval, all horizons
    pinball: float | None  # mean over levels and all horizons
    scored_pinball: float | None  # the worker's own, at the scored horizons, as are both naive ones
    pinball_seasonal_naive: float | None
    pinball_last_value: float | None
    skill: float | None  # 1 − scored pinball / that of the naive forecast that was better in the first half
    mase: float | None
    mase_seasonal_naive: float | None
    mase_last_value: float | None
    rungs: dict[str, int]  # forecasts by who answered


@dataclass(frozen=True)
class Report:
    stream: str
    interval: float  # nominal share of the interval whose coverage is given
    lines: list[Line]
    total: Line
    dead_letters: dict[str, int]
    revisions: int
    drifted: list[str]
    seconds: float
    page: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "series": [asdict(line) for line in self.lines]} | {"lines": len(self.lines)}


def make_report(collector: Collector, scores: list[SeriesScores], seconds: float) -> Report:
    plan, collected = collector.plan, collector.collected
    readings = np.bincount(plan.table.series, minlength=len(scores))
    scales = collector.scorer.scales()
    second_half = slice(plan.split_tick - collector.happened.first_tick, None)
    expected = ~np.isnan(collector.happened.values[:, second_half])
    seen = collected.seen[:, second_half]
    lines = []
    for code, series_id in enumerate(plan.table.series_ids):
        rungs: dict[str, int] = {}
        for (model, _), number in collected.answers[code].most_common():
            rungs[model] = rungs.get(model, 0) + number
        lines.append(
            Line(
                series_id=series_id,
                readings=int(readings[code]),
                forecasts=int(seen[code].sum()),
                missing=int((expected[code] & ~seen[code]).sum()),
                twice=int(collected.twice[code]),
                rungs=rungs,
                **_quality(scores[code], float(scales[code])),
                **_against_naive(collected.losses[:, code]),
            )
        )
    levels = plan.spec.quantile_levels
    return Report(
        stream=plan.name,
        interval=round(levels[-1] - levels[0], 6),
        lines=lines,
        total=_total(lines, scores),
        dead_letters=dict(collected.dead_letters),
        revisions=int(collected.revised.sum()),
        drifted=sorted(collected.drifted),
        seconds=round(seconds, 1),
    )


def _quality(scores: SeriesScores, scale: float) -> dict[str, float | None]:
    judged, naive_judged = scores.judged.sum(), scores.naive_judged.sum()
    return {
        "coverage": _share(scores.covered.sum(), judged),
        "pinball": _share(scores.pinball.sum(), judged),
        "mase": _share(scores.error.sum(), judged * scale),
        "mase_seasonal_naive": _share(scores.seasonal_error.sum(), naive_judged * scale),
        "mase_last_value": _share(scores.last_error.sum(), naive_judged * scale),
    }


def _against_naive(losses: FloatArray) -> dict[str, float | None]:
    """losses [2 halves, 4], the last their number.

    Which naive forecast is the better one is decided before the span that it is judged on.
    """
    chosen_in = losses[0] if losses[0, 1] > 0 and losses[0, 2] > 0 else losses[1]
    better = int(np.argmin(chosen_in[1:3]))
    ours, seasonal, last = (float(value) for value in losses[1, :3] / max(losses[1, 3], 1))
    if not seasonal or not last:
        return dict.fromkeys(("scored_pinball", "pinball_seasonal_naive", "pinball_last_value", "skill"))
    return {
        "scored_pinball": ours,
        "pinball_seasonal_naive": seasonal,
        "pinball_last_value": last,
        "skill": 1 - ours / (seasonal, last)[better],
    }


def _total(lines: list[Line], scores: list[SeriesScores]) -> Line:
    """Counts and pinballs are summed, coverage is over all forecasts, MASE and skill are means over series."""
    rungs: dict[str, int] = {}
    for line in lines:
        for model, number in line.rungs.items():
            rungs[model] = rungs.get(model, 0) + number
    return Line(
        series_id="total",
        readings=sum(line.readings for line in lines),
        forecasts=sum(line.forecasts for line in lines),
        missing=sum(line.missing for line in lines),
        twice=sum(line.twice for line in lines),
        coverage=_share(sum(each.covered.sum() for each in scores), sum(each.judged.sum() for each in scores)),
        pinball=_sum([line.pinball for line in lines]),
        scored_pinball=_sum([line.scored_pinball for line in lines]),
        pinball_seasonal_naive=_sum([line.pinball_seasonal_naive for line in lines]),
        pinball_last_value=_sum([line.pinball_last_value for line in lines]),
        skill=_mean([line.skill for line in lines]),
        mase=_mean([line.mase for line in lines]),
        mase_seasonal_naive=_mean([line.mase_seasonal_naive for line in lines]),
        mase_last_value=_mean([line.mase_last_value for line in lines]),
        rungs=rungs,
    )


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole and math.isfinite(whole) else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def render_table(report: Report, width: int) -> RichTable:
    """Narrow terminals get the columns that matter most."""
    wide = width >= 118
    table = RichTable(box=None, padding=(0, 1), header_style="dim", title_justify="left", show_footer=False)
    table.add_column("series", no_wrap=True, max_width=26 if wide else 16)
    if wide:
        table.add_column("readings", justify="right")
    table.add_column("forecasts", justify="right")
    table.add_column(f"{report.interval:.0%} cover", justify="right", no_wrap=True)
    if wide:
        table.add_column("pinball", justify="right")
    table.add_column("skill", justify="right")
    table.add_column("MASE", justify="right")
    table.add_column("seasonal", justify="right")
    table.add_column("last", justify="right")
    table.add_column("answered by", no_wrap=True)
    for line in report.lines:
        table.add_row(*_cells(line, report.interval, wide=wide))
    table.add_section()
    table.add_row(*_cells(report.total, report.interval, wide=wide), style="bold")
    return table


def _cells(line: Line, interval: float, *, wide: bool) -> list[Text]:
    best_naive = min(line.mase_seasonal_naive or math.inf, line.mase_last_value or math.inf)
    beats = line.mase is not None and line.mase < best_naive
    cells = [Text(line.series_id, overflow="ellipsis")]
    if wide:
        cells.append(Text(f"{line.readings:,}"))
    cells.append(Text(f"{line.forecasts:,}", style="" if not line.missing and not line.twice else "red"))
    near = line.coverage is not None and abs(line.coverage - interval) <= 0.03
    cells.append(Text(_percent(line.coverage), style="green" if near else "yellow"))
    if wide:
        cells.append(Text(short_number(line.pinball)))
    cells.append(Text(_percent(line.skill, signed=True), style="green" if (line.skill or 0) > 0 else "yellow"))
    cells.append(Text(_decimal(line.mase), style="green" if beats else "yellow"))
    cells += [Text(_decimal(line.mase_seasonal_naive), style="dim"), Text(_decimal(line.mase_last_value), style="dim")]
    cells.append(Text(_answered(line.rungs)))
    return cells


def _answered(rungs: dict[str, int]) -> str:
    """`ridge`, or `ridge 98%, seasonal naive 2%`."""
    total = sum(rungs.values())
    if len(rungs) == 1:
        return next(iter(rungs)).replace("_", " ")
    shares = sorted(rungs.items(), key=lambda item: -item[1])
    return ", ".join(f"{name.replace('_', ' ')} {_floor_percent(number, total)}" for name, number in shares)


def _floor_percent(number: int, total: int) -> str:
    """Never 100 % for what is not all, never 0 % for what is something."""
    return f"{min(max(number / total, 0.001), 0.999):.1%}"


def _percent(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.1%}" if signed else f"{value:.1%}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def closing_lines(report: Report) -> list[str]:
    """What the table does not say."""
    total = report.total
    lines = []
    if total.scored_pinball and total.pinball_seasonal_naive and total.pinball_last_value:
        lines.append(
            f"Pinball, sum over series at the scored horizons: against seasonal naive "
            f"{total.scored_pinball / total.pinball_seasonal_naive - 1:+.1%}, against last value "
            f"{total.scored_pinball / total.pinball_last_value - 1:+.1%}."
        )
    lines.append(
        f"{total.missing:,} forecasts missing, {total.twice:,} published twice, {report.revisions:,} revised; "
        + (_dead_letters(report.dead_letters) or "no dead letters.")
    )
    if report.drifted:
        lines.append(f"Drift was reported for {', '.join(report.drifted[:8])}{'…' if len(report.drifted) > 8 else ''}.")
    return lines


def _dead_letters(reasons: dict[str, int]) -> str:
    if not reasons:
        return ""
    parts = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items()))
    return f"dead letters: {parts}."
