"""Candidate against the model in charge, on the newest part of the history, which decided nothing else.

This is where the full gate (rolling origins, bootstrap, stress inputs) takes its place; until then: lower mean scaled
pinball over all series wins, a draw keeps the champion. Without a model in charge the naive forecasts are: the better
of the two in each series. A champion that was trained on the newest part too has an advantage there, and may keep its
place by it.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray
from model_core.bundle import Bundle
from model_core.dataset import TrainingWindows
from model_core.ladder import Rung
from model_core.predictor import Predictor
from model_core.quantiles import pinball
from model_core.residuals import Run, Tables, run, score
from model_core.season_search import SeasonSearch


@dataclass(frozen=True)
class Verdict:
    """Mean over series of 2 · pinball / a[s], a[s] the mean |y_t − y_{t−m}| of the series. NaN: nobody to compare."""

    passed: bool
    reason: str
    candidate: float
    seasonal_naive: float
    last_value: float
    champion: float
    champion_version: str | None
    coverage: float  # of the candidate's widest interval
    series: dict[str, tuple[float, float, float]]  # id → candidate, seasonal naive, last value
    constant_series: int  # never moved: counted, not averaged


def judge(
    windows: TrainingWindows,
    errors: Run,
    late: Run,
    span: tuple[int, int],
    tables: Tables,
    season: SeasonSearch,
    champion: Bundle | None,
    device: str,
) -> Verdict:
    """`late` is the candidate's run over the rows `span`; `errors` its run before, `tables` what they taught."""
    scale = _seasonal_steps(windows, season.ticks if season.found else 1, span[0])[late.series]
    moving = scale > 0
    scores = score(late, tables, windows)
    losses = np.stack([scores.pinball[:, Rung.MODEL], *naive_losses(errors, late, windows)], axis=1)
    scaled = 2.0 * losses / np.where(moving, scale, np.nan)[:, None]  # [S, 3]
    judged = np.isfinite(scaled).all(axis=1)
    candidate, seasonal, last = (_mean(scaled[judged, rung]) for rung in (0, 1, 2))
    rival, rival_name, version = float("nan"), "the naive forecasts", None
    if champion is not None and champion.manifest.misfit(windows.spec) is None:
        mine, theirs = _against(champion, windows, late, span, tables, device)
        both = judged & np.isfinite(theirs)
        if both.any():
            candidate, rival = (_mean(2.0 * loss[both] / scale[both]) for loss in (mine, theirs))
            version = champion.manifest.version
            rival_name = f"the champion {version}"
    against = rival if np.isfinite(rival) else _mean(scaled[judged][:, 1:].min(axis=1))
    passed = bool(np.isfinite(candidate) and candidate < against)
    compared = f"scaled pinball {candidate:.4f} against {against:.4f} of {rival_name}"
    names = [windows.series_ids[s] for s in late.series]
    return Verdict(
        passed=passed,
        reason=compared if judged.any() else "no series could be judged on the newest part of the history",
        candidate=candidate,
        seasonal_naive=seasonal,
        last_value=last,
        champion=rival,
        champion_version=version,
        coverage=_mean(scores.coverage[judged, Rung.MODEL]),
        series={names[s]: tuple(scaled[s].tolist()) for s in np.flatnonzero(judged).tolist()},
        constant_series=int((~moving).sum()),
    )


def _against(
    champion: Bundle, windows: TrainingWindows, late: Run, span: tuple[int, int], tables: Tables, device: str
) -> tuple[FloatArray, FloatArray]:
    """Pinball float64 [S] of the candidate and of the champion, each with its own season and tables, on equal terms:
    the targets that both have an answer for, and units that learned for as many seasons."""
    facts = champion.facts()
    served = run(windows, Predictor(windows.spec, champion, device=device), facts.season, *span, late.series)
    both = np.isfinite(late.residuals[:, :, Rung.MODEL]) & np.isfinite(served.residuals[:, :, Rung.MODEL])
    mine = score(late.where(both), tables, windows).pinball[:, Rung.MODEL]
    return mine, score(served.where(both), Tables.of_facts(facts), windows).pinball[:, Rung.MODEL]


def naive_losses(errors: Run, late: Run, windows: TrainingWindows) -> list[FloatArray]:
    """Pinball float64 [S] of seasonal naive and last value, each with its series' own earlier error quantiles.

    In units of the series, not of u: the one-step error of a last value says little about its later ones (a sensor of
    coarse steps has none for hours), and a rival must not be weakened by that.
    """
    levels = np.array(windows.spec.quantile_levels)
    both = []
    for rung in (Rung.SEASONAL_NAIVE, Rung.LAST_VALUE):
        losses = np.full(len(late.series), np.nan)
        for place_of, s in enumerate(late.series.tolist()):
            known = errors.residuals[:, errors.series == s, rung].reshape(-1, windows.spec.horizon)
            known = known[np.isfinite(known).all(axis=1)]
            residual = late.residuals[:, place_of, rung]
            there = np.isfinite(residual)
            if len(known) and there.any():
                quantiles = np.quantile(known, levels, axis=0).T  # [H, Q]
                losses[place_of] = pinball(residual, quantiles, levels)[there].mean()
        both.append(losses)
    return both


def _seasonal_steps(windows: TrainingWindows, season: int, before: int) -> FloatArray:
    """float64 [S], mean |y_t − y_{t−m}| over rows before the judged span; 0 where a series never moves."""
    cells = windows.target_cells()[:, :before].astype(np.float64)
    change = np.abs(cells[:, season:] - cells[:, :-season])
    seen = np.isfinite(change)
    return np.where(seen, change, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def _mean(values: FloatArray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
