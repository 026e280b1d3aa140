"""The table at the end, one line a series and a total, for people and as JSON."""

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table as RichTable
from rich.text import Text

from model_core.arrays import FloatArray
from stream_app.demo.collecting import Collector
from stream_app.demo.scoring import SeriesScores
from stream_app.watch.view import short_number

NARROW = 64  # below it only what says how good the forecasts are
WIDE = 110  # columns of a terminal from which on the table shows all it has
COVERAGE_NEAR = 0.03
DRIFTED_SHOWN = 8


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
    rungs: dict[str, int]  # forecasts by who answered, most first
    reasons: dict[str, int]  # forecasts by why the model did not answer


@dataclass(frozen=True)
class Report:
    stream: str
    interval: float  # nominal share of the interval whose coverage is given
    lines: list[Line]
    total: Line
    dead_letters: dict[str, int]
    revisions: int
    drifted: dict[str, int]  # alarms of each series in the second half, most first
    seconds: float
    training: str = ""  # what came of it
    page: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the lines under the name `series`."""
        fields = asdict(self)
        return {"stream": fields.pop("stream"), "series": fields.pop("lines"), **fields}


def make_report(collector: Collector, scores: list[SeriesScores], seconds: float) -> Report:
    plan, collected = collector.plan, collector.collected
    readings = np.bincount(plan.table.series, minlength=len(scores))
    scales = collector.scorer.scales()
    second_half = slice(plan.split_tick - collector.happened.first_tick, None)
    expected = ~np.isnan(collector.happened.values[:, second_half])
    seen = collected.seen[:, second_half]
    lines = []
    for code, series_id in enumerate(plan.table.series_ids):
        rungs, reasons = _by_rung_and_reason(collected.answers[code])
        lines.append(
            Line(
                series_id=series_id,
                readings=int(readings[code]),
                forecasts=int(seen[code].sum()),
                missing=int((expected[code] & ~seen[code]).sum()),
                twice=int(collected.twice[code]),
                rungs=rungs,
                reasons=reasons,
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
        drifted=dict(collected.drifted.most_common()),
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
    """`losses` [2 halves, 4]: the sums of ours, seasonal naive and last value, and their number.

    Which naive forecast is the better one is decided on the first half, if both were scored there.
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
    rungs: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for line in lines:
        rungs.update(line.rungs)
        reasons.update(line.reasons)
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
        rungs=dict(rungs.most_common()),
        reasons=dict(reasons.most_common()),
    )


def _by_rung_and_reason(answers: Counter[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int]]:
    rungs: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for (model, reason), number in answers.items():
        rungs[model] += number
        if reason != "ok":
            reasons[reason] += number
    return dict(rungs.most_common()), dict(reasons.most_common())


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole and math.isfinite(whole) else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def render_table(report: Report, width: int) -> RichTable:
    """A narrow terminal gets only the most important columns."""
    wide, narrow = width >= WIDE, width < NARROW
    table = RichTable(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("series", no_wrap=True, max_width=26 if wide else 12 if narrow else 16)
    if wide:
        table.add_column("readings", justify="right")
    if not narrow:
        table.add_column("forecasts", justify="right", no_wrap=True)
    table.add_column(f"{report.interval:.0%} cover", justify="right", no_wrap=True)
    table.add_column("skill", justify="right", no_wrap=True)
    if wide:
        table.add_column("pinball", justify="right", no_wrap=True)
    table.add_column("MASE", justify="right", no_wrap=True)
    if not narrow:
        for name in ("seasonal", "last") if wide else ("naive",):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("answered by", no_wrap=True, overflow="ellipsis")
    for line in report.lines:
        table.add_row(*_cells(line, report.interval, wide=wide, narrow=narrow))
    table.add_section()
    table.add_row(*_cells(report.total, report.interval, wide=wide, narrow=narrow), style="bold")
    return table


def _cells(line: Line, interval: float, *, wide: bool, narrow: bool) -> list[Text]:
    naives = [value for value in (line.mase_seasonal_naive, line.mase_last_value) if value is not None]
    best_naive = min(naives, default=None)
    beats = line.mase is not None and best_naive is not None and line.mase < best_naive
    near = line.coverage is not None and abs(line.coverage - interval) <= COVERAGE_NEAR
    cells = [Text(line.series_id, overflow="ellipsis")]
    if wide:
        cells.append(Text(f"{line.readings:,}"))
    if not narrow:
        cells.append(Text(f"{line.forecasts:,}", style="red" if line.missing or line.twice else ""))
    cells.append(Text(_percent(line.coverage), style="green" if near else "yellow"))
    cells.append(Text(_percent(line.skill, signed=True), style="green" if (line.skill or 0) > 0 else "yellow"))
    if wide:
        cells.append(Text(short_number(line.pinball)))
    cells.append(Text(_decimal(line.mase), style="green" if beats else "yellow"))
    if not narrow:
        naive = (line.mase_seasonal_naive, line.mase_last_value) if wide else (best_naive,)
        cells += [Text(_decimal(value), style="dim") for value in naive]
        cells.append(Text(answered(line.rungs, all_of_them=wide)))
    return cells


def answered(rungs: dict[str, int], *, all_of_them: bool = True) -> str:
    """`ridge`, or `ridge 97.9%, seasonal naive 2.1%`. Where there is little room, only the most frequent one."""
    total = sum(rungs.values())
    names = {name: name.replace("_", " ") for name in rungs}
    if len(rungs) <= 1:
        return "".join(names.values())
    parts = [f"{names[name]} {_inner_percent(number / total)}" for name, number in rungs.items()]
    return ", ".join(parts if all_of_them else parts[:1])


def _inner_percent(share: float) -> str:
    """Never 100 % for less than all, and never 0 % for more than nothing."""
    return f"{min(max(share, 0.001), 0.999):.1%}"


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
    if report.training.startswith("no model"):
        lines.append(f"{report.training[0].upper()}{report.training[1:]}")
    if report.total.reasons:
        parts = (f"{number:,} {reason.replace('_', ' ')}" for reason, number in report.total.reasons.items())
        lines.append(f"Where the model did not answer: {', '.join(parts)}.")
    if report.drifted:
        named = [f"{series_id} ({alarms})" for series_id, alarms in report.drifted.items()]
        more = f" and {len(named) - DRIFTED_SHOWN:,} more series" if len(named) > DRIFTED_SHOWN else ""
        lines.append(f"Drift: {sum(report.drifted.values()):,} alarms, {', '.join(named[:DRIFTED_SHOWN])}{more}.")
    return lines


def _dead_letters(reasons: dict[str, int]) -> str:
    if not reasons:
        return ""
    parts = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items()))
    return f"dead letters: {parts}."
