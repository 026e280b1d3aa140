"""The report of a training, for the registry, the terminal and the page: how the candidate was made and judged."""

from dataclasses import asdict
from typing import Any

import numpy as np

from model_core.bundle import Bundle
from model_core.gate.judge import Verdict
from model_core.training.dataset import TrainingWindows
from model_core.training.ridge import Choice
from model_core.training.season_search import SeasonSearch
from model_core.training.spans import Spans


def training_report(
    bundle: Bundle,
    season: SeasonSearch,
    windows: TrainingWindows,
    spans: Spans,
    verdict: Verdict,
    choice: Choice,
) -> dict[str, Any]:
    """What training found and the gate decided, JSON-able."""
    manifest = bundle.manifest
    starts = windows.spec.grid.starts_ms(windows.first_tick + np.array(list(asdict(spans).values())))
    return {
        "version": manifest.version,
        "model": manifest.model,
        "passed": verdict.passed,
        "reason": verdict.reason,
        "checks": [asdict(check) for check in verdict.checks],
        "slices": {"newest": asdict(verdict.newest), "earlier": asdict(verdict.earlier)},
        "gate": verdict.report,
        "quantile_levels": list(manifest.quantile_levels),
        "step_ms": manifest.step_ms,
        "scaled_pinball": {
            "candidate": verdict.candidate,
            "seasonal_naive": verdict.seasonal_naive,
            "last_value": verdict.last_value,
            "champion": verdict.champion,
        },
        "champion": verdict.champion_version,
        "champion_learned": verdict.champion_learned,
        "coverage_of_the_widest_interval": verdict.coverage,
        "season": asdict(season),
        "spans_ms": dict(zip(asdict(spans), starts.tolist(), strict=True)),
        "training": manifest.training.model_dump(),
        "losses": {
            f"penalty {penalty:.3g}, prior {prior}, lags {lags}": loss
            for (penalty, prior, lags), loss in choice.losses.items()
        },
        "cusum_threshold": manifest.cusum_threshold,
        "horizon_threshold": manifest.horizon_threshold,
        "level_threshold": manifest.level_threshold,
        "storm_share": manifest.storm_share,
        "gap_max": manifest.gap_max,
        "false_alarms_per_million": manifest.false_alarms_per_million,
        "constant_series": verdict.constant_series,
        "series": {
            name: dict(zip(("candidate", "seasonal_naive", "last_value", "champion"), losses, strict=True))
            for name, losses in verdict.series.items()
        },
    }
