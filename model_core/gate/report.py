"""The findings of the gate as JSON, for the registry and for the page: numbers by bucket and series, and the worst
forecasts of the worst series beside what came.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from model_core.arrays import AnyArray
from model_core.gate.duel import WORST_KEPT, Duel
from model_core.gate.holes import Holed
from model_core.gate.speed import Speed
from model_core.gate.stress import Stressed
from model_core.quantiles import Levels
from model_core.training.dataset import TrainingWindows
from model_core.training.residuals import run_origins

PAST_HORIZONS = 3  # drawn before a forecast
RATIOS_MAX = 2_000  # listed; beyond, the worst ones
DIGITS = 6


def report_of(
    windows: TrainingWindows,
    span: tuple[int, int],
    number: int,
    alpha: float,
    block: int,
    first: Duel,
    ratios: dict[str, float],
    duels: Sequence[tuple[Duel, int]],
    stressed: Sequence[Stressed],
    holed: Holed | None,
    speed: Speed | None,
) -> dict[str, Any]:
    """The report. `span`: rows of both slices; `duels` with the strides of their origins."""
    levels = Levels(windows.spec)
    inside, counted = first.inside.sum(axis=1), first.counted.sum(axis=0)
    return {
        "attempt": number,
        "alpha": alpha,
        "block_origins": block,
        "series_ratios": dict(sorted(ratios.items(), key=lambda item: -item[1])[:RATIOS_MAX]),
        "coverage": [
            {"up_to_steps": int(horizon), "targets": int(count), "candidate": mine, "rival": theirs}
            for horizon, count, mine, theirs in zip(
                levels.horizons.tolist(), counted.tolist(), *(inside / np.maximum(counted, 1)).tolist(), strict=True
            )
        ],
        "nominal_coverage": _nominal(levels),
        "stress": [asdict(each) for each in stressed],
        "holes": asdict(holed) if holed else None,
        "speed": asdict(speed) if speed else None,
        "worst": _worst(windows, span, duels),
    }


def _nominal(levels: Levels) -> float | None:
    if not levels.intervals:
        return None
    low, high = levels.intervals[0]
    return round(float(levels.levels[high] - levels.levels[low]), 6)


def _worst(windows: TrainingWindows, span: tuple[int, int], duels: Sequence[tuple[Duel, int]]) -> list[dict[str, Any]]:
    spec = windows.spec
    every = [(each, stride) for duel, stride in duels for each in duel.worst]
    every.sort(key=lambda pair: -pair[0].ratio)
    cells = windows.target_cells()
    told = []
    for each, stride in every[:WORST_KEPT]:
        row = int(run_origins(spec, windows, *span)[::stride][each.row])
        past = cells[each.series, max(0, row + 1 - PAST_HORIZONS * spec.horizon) : row + 1]
        told.append(
            {
                "series_id": windows.series_ids[each.series],
                "ratio": each.ratio,
                "origin_ms": spec.grid.start_ms(windows.first_tick + row),
                "past": _numbers(past),
                "actual": _numbers(each.actual),
                "candidate": [_numbers(level) for level in each.candidate.T],
                "rival": [_numbers(level) for level in each.rival.T],
            }
        )
    return told


def _numbers(values: AnyArray) -> list[float | None]:
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
