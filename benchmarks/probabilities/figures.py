"""What is measured, figure by figure. What is fitted or chosen is fitted and chosen on rows before those that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.ours import MADE_AT
from benchmarks.accuracy.protocol import CONTEXT, TRAIN_END, VALIDATION_END, history_of
from benchmarks.probabilities import data
from benchmarks.probabilities.injected import KINDS, coverage_after, inject
from benchmarks.probabilities.measured import (
    NAIVE,
    against_points,
    coverage_by_level,
    coverage_error,
    coverage_error_of_series,
    coverage_of_series,
    mean_pinball,
    ratios,
)
from benchmarks.probabilities.streamed import Rows, aliased, serve
from benchmarks.probabilities.weight import bytes_by_part
from model_core.bundle import Bundle
from model_core.spec import StreamSpec
from model_core.training.train import train

FOLDER = "probabilities"
HORIZONS = (24, 96)
NO_TRACKING = 1e-12  # a rate at which nothing moves
CORRECTED = 24  # steps ahead; the corrector is off unless it is asked for
APPLIANCES = StreamSpec(topic="readings", freq="10min", context_length=432, horizon=24, corrector_steps=CORRECTED)
MODELS = ("patch_mixer", "ridge")


def trained(rows: Rows, spec: StreamSpec, end: int) -> Bundle:
    """What `tidecast train` makes of the rows before `end`."""
    history = history_of(rows.cells[:end], rows.series, rows.first_tick)
    return train(history, spec, version="benchmark", created_at=MADE_AT, device="cpu").bundle


def long_horizon(folder: Path, *, name: str, horizon: int) -> dict[str, Any]:
    """ETT: trained on 16 months, in charge from then on; the 4 months of the test part count."""
    rows = data.ett(folder, name)
    spec = StreamSpec(
        topic="ett", freq="1h", context_length=CONTEXT, horizon=horizon, calendar=(), corrector_steps=CORRECTED
    )
    bundle = trained(rows, spec, VALIDATION_END)
    spreads = rows.cells[:TRAIN_END].std(axis=0)
    found: dict[str, Any] = {"data": name, "horizon": horizon}
    for kind, rate in (("tracked", spec.calibration_rate), ("untracked", NO_TRACKING)):
        served = serve(
            rows,
            spec.model_copy(update={"calibration_rate": rate}),
            bundle,
            in_charge=VALIDATION_END,
            counted=VALIDATION_END,
        )
        of_series = coverage_of_series(served, len(rows.series))
        found[kind] = {
            "coverage_error": coverage_error(served),
            "coverage_error_of_series": coverage_error_of_series(served, len(rows.series)),
            "coverage": coverage_by_level(served).tolist(),
            "pinball": mean_pinball(served, spreads),
            "coverage_of_series": dict(zip(rows.series, of_series.tolist(), strict=True)),
            "by_the_model": float((served.rungs == 0).mean()),
            "forecasts": len(served.series),
        }
    return found


def appliances(folder: Path) -> dict[str, Any]:
    """UCI 374: trained on the first half, the second half counts. Each model with the corrector and without."""
    rows = data.appliances(folder)
    half = len(rows.cells) // 2
    found = {}
    for model in MODELS:
        with_it = APPLIANCES.model_copy(update={"model": model})
        bundle = trained(rows, with_it, half)
        for name, spec in (("with the corrector", with_it), ("without", _uncorrected(with_it))):
            found[f"{model}, {name}"] = _against_naive(rows, spec, bundle, half)
    return found


def _uncorrected(spec: StreamSpec) -> StreamSpec:
    return spec.model_copy(update={"corrector_steps": 0})


def _against_naive(rows: Rows, spec: StreamSpec, bundle: Bundle, half: int) -> dict[str, Any]:
    served = serve(rows, spec, bundle, in_charge=half, counted=half)
    found, chosen, by_horizon = ratios(served, half, len(rows.series))
    covered = coverage_of_series(served, len(rows.series))
    points = against_points(rows, served, half, chosen, bundle.manifest.season)
    of_channels = zip(rows.series, found.tolist(), chosen.tolist(), covered.tolist(), strict=True)
    return {
        "ratio": float(np.exp(np.log(found).mean())),
        "against_points": float(np.exp(np.log(points).mean())),
        "ratio_by_horizon": dict(zip(map(str, spec.scored_horizons), by_horizon.tolist(), strict=True)),
        "worst_ratio": float(found.max()),
        "coverage": [float(covered.min()), float(covered.max())],
        "coverage_error": coverage_error(served),
        "by_the_model": float((served.rungs == 0).mean()),
        "channels": {
            name: {"ratio": ratio, "rival": NAIVE[rival], "coverage": share}
            for name, ratio, rival, share in of_channels
        },
    }


def injections(folder: Path) -> dict[str, Any]:
    """The second half of UCI 374 again, in altered copies."""
    rows = data.appliances(folder)
    half = len(rows.cells) // 2
    bundle = trained(rows, APPLIANCES, half)
    season = bundle.manifest.season
    injected = inject(rows, half, season)
    facts = aliased(bundle, injected.of)
    served = serve(injected.rows, APPLIANCES, bundle, in_charge=half, counted=half, facts=facts)
    table = {
        kind: {
            "season 3": coverage_after(served, injected, kind, 3, 3, season),
            "seasons 10 to 20": coverage_after(served, injected, kind, 10, 20, season),
            "season 1": coverage_after(served, injected, kind, 1, 1, season),
            "injections": injected.kinds.count(kind),
        }
        for kind in KINDS
    }
    return {"season": season, "table": table}


def weights() -> dict[str, Any]:
    specs = {"L 512, H 24": (512, 24), "L 512, H 96": (512, 96)}
    made = {
        name: StreamSpec(topic="readings", freq="1h", context_length=length, horizon=horizon, corrector_steps=CORRECTED)
        for name, (length, horizon) in specs.items()
    }
    return {"bytes": {name: bytes_by_part(spec) for name, spec in made.items()}}
