"""The verdict: a candidate passes all checks (checks.py), or the model in charge stays.

Of the two newest slices of the history, the newest must show that the candidate is better by a margin, and the one
before it that this was no accident of a few weeks. Penalty, prior and quantiles were learned before both. A champion
that was trained on them has an advantage there, and may stay because of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.bundle import Bundle
from model_core.gate.attempt import Attempt
from model_core.gate.checks import (
    MARGIN,
    Check,
    coverage_check,
    holes_check,
    response_check,
    share_inside,
    slice_check,
    speed_check,
    stress_check,
    tail_check,
)
from model_core.gate.duel import Contender, Duel, against_champion, against_naive, naive_losses, run_over
from model_core.gate.holes import with_holes
from model_core.gate.interval import Difference, relative_difference, spent
from model_core.gate.report import report_of
from model_core.gate.speed import Clock, measure_speed
from model_core.gate.stress import responses, stress
from model_core.grid import WEEK_MS
from model_core.predictor import Predictor
from model_core.quantiles import Levels
from model_core.training.dataset import TrainingWindows
from model_core.training.residuals import Run, Tables, run_origins
from model_core.training.season_search import SeasonSearch

BLOCKS_WANTED = 8  # of a slice, where the history allows it
TAIL_ORIGINS = 256  # of a slice, at which series are looked at that had no place among the first


@dataclass(frozen=True)
class Slices:
    """Rows of the history that are origins: the earlier slice, the newest, and what was before for tables and units."""

    before: tuple[int, int]
    earlier: tuple[int, int]
    newest: tuple[int, int]

    @property
    def both(self) -> tuple[int, int]:
        return self.earlier[0], self.newest[1]


@dataclass(frozen=True)
class Verdict:
    """Losses are means over series of 2 · pinball / a[s], a[s] the mean |y_t − y_{t−m}| of the series. NaN: nobody to
    compare."""

    passed: bool
    reason: str
    checks: tuple[Check, ...]
    attempt: Attempt
    number: int  # which attempt it is, from 1, of those that share ticks and rival
    newest: Difference
    earlier: Difference
    candidate: float
    seasonal_naive: float
    last_value: float
    champion: float
    champion_version: str | None
    coverage: float  # of the candidate's widest interval
    champion_learned: float  # share of the judged ticks that the champion was trained on
    series: dict[str, tuple[float, float, float, float]]  # id → candidate, seasonal naive, last value, champion
    constant_series: int  # never moved: counted, not averaged
    report: dict[str, Any]  # JSON-able


def block_steps(windows: TrainingWindows, *, first_model: bool) -> int:
    """Steps of a bootstrap block: a week, or the horizon where that is longer. Where only the naive forecasts are there
    to be replaced, the horizon, beyond which forecasts share no target: a stream must not wait months for a model."""
    spec = windows.spec
    return spec.horizon if first_model else max(spec.horizon, WEEK_MS // spec.step_ms)


def judge(
    windows: TrainingWindows,
    slices: Slices,
    candidate: Contender,
    errors: Run,
    late: Run,
    season: SeasonSearch,
    champion: Bundle | None,
    *,
    version: str,
    attempts: Sequence[Attempt] = (),
    clock: Clock | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Verdict:
    """`late` is the candidate's run over both slices, `errors` its run before, of as many series as fit into one."""
    rival = _contender(windows, champion, device)
    rival_version = rival.predictor.version if rival else None
    scored = (slices.both[0] + 1, slices.both[1] - 1 + windows.spec.horizon)
    attempt = Attempt(version, rival_version, windows.first_tick + scored[0], windows.first_tick + scored[1])
    number = 1 + sum(attempt.looks_again_at(each) for each in attempts)
    alpha = spent(number)
    steps = _seasonal_steps(windows, season.ticks if season.found else 1, slices.earlier[0])
    duels = _Duels(windows, slices, candidate, rival, errors, late, steps > 0)
    first, units = duels.first, steps[late.series]
    block = -(-block_steps(windows, first_model=rival is None) // windows.spec.forecast_every)
    rows = run_origins(windows.spec, windows, *slices.both)
    newest, earlier = (_difference(first, units, rows, span, block, alpha) for span in (slices.newest, slices.earlier))
    (ratios, every), origin = duels.tails(), slices.newest[1] - 1
    of = windows, candidate.predictor, candidate.season
    stressed, holed = stress(*of, origin, seed), with_holes(*of, slices.newest, seed)
    predictors = candidate.predictor, rival.predictor if rival else None
    speed = clock and measure_speed(windows, *predictors, candidate.season, origin, clock)
    checks = (
        slice_check("newest slice", newest, -MARGIN, needed=True),
        slice_check("earlier slice", earlier, 0.0, needed=rival is not None),
        tail_check(ratios, first_model=rival is None),
        coverage_check(first, Levels(windows.spec), block, alpha, first_model=rival is None),
        stress_check(stressed),
        holes_check(holed),
        *map(response_check, responses(*of, origin)),
        speed_check(speed),
    )
    naive = naive_losses(late, errors, windows, np.isfinite(first.candidate))
    passed, learned = all(check.passed for check in checks), _learned(champion, attempt) if rival and champion else 0.0
    return Verdict(
        passed=passed,
        reason=_reason(checks, rival_version, learned),
        checks=checks,
        attempt=replace(attempt, passed=passed),
        number=number,
        newest=newest,
        earlier=earlier,
        champion_version=rival_version,
        champion_learned=learned,
        constant_series=int((steps <= 0).sum()),
        coverage=share_inside(first.inside[0], first.counted),
        report=report_of(windows, slices.both, number, alpha, block, first, ratios, every, stressed, holed, speed),
        **_losses(windows, first, naive, units, against_model=rival is not None),
    )


def _losses(
    windows: TrainingWindows, first: Duel, naive: FloatArray, units: FloatArray, *, against_model: bool
) -> dict[str, Any]:
    """The losses of a verdict, from those of the duel and of both naive forecasts [2, S]."""
    mine, theirs = (_mean_scaled(losses, units) for losses in (first.candidate, first.rival))
    champions = theirs if against_model else np.full_like(theirs, np.nan)
    scaled = np.stack([mine, *(2.0 * naive / np.where(units > 0, units, np.nan)), champions], axis=1)  # [S, 4]
    judged = np.flatnonzero(np.isfinite(scaled[:, :3]).all(axis=1))
    return {
        "candidate": _mean(mine),
        "seasonal_naive": _mean(scaled[judged, 1]),
        "last_value": _mean(scaled[judged, 2]),
        "champion": _mean(theirs) if against_model else float("nan"),
        "series": {windows.series_ids[first.series[s]]: tuple(scaled[s].tolist()) for s in judged.tolist()},
    }


class _Duels:
    """All series, as many at a time as fit into one run. Those of the first run are judged at every origin."""

    def __init__(
        self,
        windows: TrainingWindows,
        slices: Slices,
        candidate: Contender,
        rival: Contender | None,
        errors: Run,
        late: Run,
        moving: BoolArray,
    ) -> None:
        self._moving = moving
        self._windows, self._slices, self._candidate, self._rival = windows, slices, candidate, rival
        self.first = self._duel(errors, late, 1)

    def tails(self) -> tuple[dict[str, float], list[tuple[Duel, int]]]:
        """Ratio of each series that was scored often enough, and the worst ones as (duel, stride)."""
        ratios: dict[str, float] = {}
        duels = [(self.first, 1)]
        for duel in self._all(duels):
            known = np.flatnonzero(np.isfinite(duel.ratios()))
            ratios |= {self._windows.series_ids[duel.series[s]]: float(duel.ratios()[s]) for s in known.tolist()}
        return ratios, duels

    def _all(self, duels: list[tuple[Duel, int]]) -> Iterator[Duel]:
        yield self.first
        every = np.arange(len(self._windows))
        rest = every[~np.isin(every, self.first.series)]
        origins = min(end - first for first, end in (self._slices.before, self._slices.both))
        stride = _odd_stride(origins // self._windows.spec.forecast_every, self._candidate.season)
        for group in np.array_split(rest, -(-len(rest) // len(self.first.series)) or 1):
            if len(group):
                errors, late = (
                    run_over(self._windows, self._candidate, span, group, stride)
                    for span in (self._slices.before, self._slices.both)
                )
                duels.append((self._duel(errors, late, stride), stride))
                yield duels[-1][0]

    def _duel(self, errors: Run, late: Run, stride: int) -> Duel:
        tables, moving = self._candidate.tables, self._moving[late.series]
        if self._rival is None:
            return against_naive(late, tables, self._windows, errors, moving)
        served = run_over(self._windows, self._rival, self._slices.both, late.series, stride)
        return against_champion(late, tables, self._rival, self._windows, served, moving)


def _contender(windows: TrainingWindows, champion: Bundle | None, device: str) -> Contender | None:
    """The champion, if it can serve this stream at all."""
    if champion is None or champion.misfit(windows.spec) is not None:
        return None
    facts = champion.facts()
    return Contender(Predictor(windows.spec, champion, device=device), facts.season, Tables.of_facts(facts))


def _difference(
    first: Duel, units: FloatArray, rows: IntArray, span: tuple[int, int], block: int, alpha: float
) -> Difference:
    """The difference over the origins within `span`; `rows` are those of the duel."""
    inside = (rows >= span[0]) & (rows < span[1])
    mine, theirs = (_by_origin(losses[inside], units) for losses in (first.candidate, first.rival))
    return relative_difference(mine, theirs, block, alpha)


def _odd_stride(origins: int, season: int) -> int:
    """The stride between judged origins. It has no common divisor with the season, so that every hour is seen."""
    stride = max(1, origins // TAIL_ORIGINS)
    while stride > 1 and np.gcd(stride, season) > 1:
        stride -= 1
    return stride


def _learned(champion: Bundle, attempt: Attempt) -> float:
    """The share of the judged ticks that the champion had been trained on."""
    ticks = attempt.last_tick + 1 - attempt.first_tick
    return max(0.0, min(champion.manifest.training.last_tick, attempt.last_tick) + 1 - attempt.first_tick) / ticks


def _reason(checks: Sequence[Check], rival: str | None, learned: float) -> str:
    against = f"the champion {rival}" if rival else "the naive forecasts"
    if learned:
        against += f" (which had learned from {learned:.0%} of what both are judged on)"
    failed = [check for check in checks if not check.passed]
    told = "; ".join(f"{check.name}: {check.said}" for check in failed or checks[:2])
    return f"{'refused' if failed else 'better'} against {against}: {told}"


# --- means ----------------------------------------------------------------------------------------------------------


def _by_origin(losses: FloatArray, a: FloatArray) -> FloatArray:
    """Losses [n, S] → mean over the series that move, in units of their steps a [S]: float64 [n], NaN where none."""
    scaled = losses[:, a > 0] / a[a > 0]
    there = np.isfinite(scaled)
    count = there.sum(axis=1)
    return np.where(count > 0, np.where(there, scaled, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _mean_scaled(losses: FloatArray, a: FloatArray) -> FloatArray:
    """float64 [S], 2 · mean loss / a; NaN where a series never moves or was never scored."""
    there = np.isfinite(losses)
    count = there.sum(axis=0)
    total = np.where(there, losses, 0.0).sum(axis=0)
    known = (count > 0) & (a > 0)
    return np.where(known, 2.0 * total / np.maximum(count, 1) / np.where(known, a, 1.0), np.nan)


def _seasonal_steps(windows: TrainingWindows, season: int, before: int) -> FloatArray:
    """float64 [S], mean |y_t − y_{t−m}| over rows before the judged span; 0 where a series never moves."""
    cells = windows.target_cells()[:, :before].astype(np.float64)
    change = np.abs(cells[:, season:] - cells[:, :-season])
    seen = np.isfinite(change)
    return np.where(seen, change, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def _mean(values: FloatArray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


__all__ = ["Contender", "Slices", "Verdict", "block_steps", "judge"]
