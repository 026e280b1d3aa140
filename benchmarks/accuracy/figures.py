"""What is measured, cell by cell: each result is saved as soon as it is there, its method before that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import gift, ours
from benchmarks.accuracy.protocol import CONTEXT, Errors, Ett, Sealed, judged_origins, stream, train_origins
from benchmarks.accuracy.published import PATCHTST_BATCH
from benchmarks.accuracy.rivals import rivals, sample
from model_core.arrays import FloatArray
from model_core.models import RIDGE

SETS = ("ETTh1", "ETTh2")
METHODS = "methods.json"
SHUFFLED_HORIZON, SHUFFLE_SEED = 96, 7


def save(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(found, indent=1, default=float) + "\n")
    temporary.replace(path)


def save_method(folder: Path, cell: str, method: dict[str, Any]) -> Path:
    """Methods of all cells in one file. It must hold a cell's before that cell's test part opens."""
    path = folder / METHODS
    known = json.loads(path.read_text()) if path.is_file() else {}
    save(path, known | {cell: method})
    return path


def long_horizon(data: Ett, horizon: int, folder: Path) -> dict[str, Any]:
    """One cell of the tables: offline, refitted once, refitted weekly, and both naive forecasts."""
    cell = f"{data.name}-{horizon}"
    sealed = Sealed(data)
    fitted, with_constants = (ours.fit(sealed, horizon, constants=constants) for constants in (False, True))
    free = min(fitted, with_constants, key=lambda each: each.loss)
    network = ours.fit_network(sealed, fitted, horizon)
    half_life, half_lives = ours.choose_half_life(sealed, fitted, horizon)
    constants = {"by_validation": free.constants, "validation_mse": [fitted.loss, with_constants.loss]}
    method = fitted.method | {"half_life_days": half_life, "network": network.method, "constants": constants}
    rows = sealed.open(save_method(folder, cell, method), cell)
    first, last = judged_origins(horizon)
    offline = ours.serve(sealed.windows(rows, horizon), fitted.tensors, first, last)
    mixed = ours.serve(sealed.windows(rows, horizon), network.tensors, first, last)
    once, once_s, refitted = ours.refit_once(sealed, fitted, rows, horizon)
    mixed_once, mixed_once_s = ours.refit_network(sealed, refitted, rows, horizon)
    weekly, weekly_s = ours.refit_weekly(sealed, fitted, rows, horizon)
    faded = weekly
    if half_life is not None:
        faded, _ = ours.refit_weekly(sealed, fitted, rows, horizon, half_life_days=half_life)
    freely = {"offline": offline.model, "refit weekly": weekly}
    if free.constants:
        freely["offline"] = ours.serve(sealed.windows(rows, horizon), free.tensors, first, last).model
        freely["refit weekly"], _ = ours.refit_weekly(sealed, free, rows, horizon)
    means = ours.window_means(rows, horizon, first, last, CONTEXT)
    every = {
        "offline": offline.model,
        "refit once": once,
        "refit weekly": weekly,
        "refit weekly, faded": faded,
        "patch_mixer, offline": mixed.model,
        "patch_mixer, refit once": mixed_once,
        "chosen, offline": offline.model if network.by_squares == RIDGE else mixed.model,
        "chosen, refit": weekly if network.by_squares == RIDGE else mixed_once,
        **{f"constants by validation, {how}": errors for how, errors in freely.items()},
        "seasonal naive": offline.seasonal_naive,
        "last value": offline.last_value,
        "window mean": means,
    }
    sampled = sample()
    return {
        "data": data.name,
        "horizon": horizon,
        "windows": last - first,
        "method": method,
        "half_lives": {str(days): loss for days, loss in half_lives.items()},
        "validation": network.validation,
        "scores": {name: _scores(errors) for name, errors in every.items()},
        "sampled": {name: _scores(errors.at(sampled)) for name, errors in every.items()},
        "cost": {
            "fit_s": fitted.fit_s,
            "refit_s": once_s,
            "weekly_refit_s": weekly_s,
            "forecast_us": 1e6 * offline.forecast_s / ((last - first) * rows.shape[1]),
            "network_fit_s": network.fit_s,
            "network_refit_s": mixed_once_s,
            "network_forecast_us": 1e6 * mixed.forecast_s / ((last - first) * rows.shape[1]),
        },
        "shuffled": _shuffled(sealed, fitted, rows, horizon, means) if horizon == SHUFFLED_HORIZON else None,
    }


def both_forms(data: Ett, horizon: int, folder: Path) -> dict[str, Any]:
    """Half of ridge without constants and half of ridge with them, refitted weekly: nobody chooses between the two."""
    cell = f"{data.name}-{horizon}-both"
    sealed = Sealed(data)
    each = [ours.fit(sealed, horizon, constants=constants) for constants in (False, True)]
    named = {"with constants" if fitted.constants else "without": fitted.method for fitted in each}
    method = {"model": "the mean of two ridges", "weights": [0.5, 0.5], **named}
    rows = sealed.open(save_method(folder, cell, method), cell)
    return {
        "method": method,
        "scores": {"refit weekly": _scores(ours.refit_weekly_together(sealed, each, rows, horizon))},
    }


def whole_batches(data: Ett, horizon: int, folder: Path) -> dict[str, Any]:
    """Ridge offline, once more, over the windows that PatchTST's numbers are of. Its method was saved before."""
    sealed = Sealed(data)
    fitted = ours.fit(sealed, horizon)
    rows = sealed.open(folder / METHODS, f"{data.name}-{horizon}")
    first, last = judged_origins(horizon)
    last = first + counted_by_batches(last - first)
    served = ours.serve(sealed.windows(rows, horizon), fitted.tensors, first, last)
    return {"windows": last - first, "scores": {"offline": _scores(served.model)}}


def counted_by_batches(windows: int) -> int:
    """How many of so many windows lie in full batches."""
    return windows - windows % PATCHTST_BATCH


def _shuffled(sealed: Sealed, fitted: ours.Fitted, rows: FloatArray, horizon: int, means: Errors) -> dict[str, float]:
    """The same fit on shuffled targets. Skill: 1 − MSE / MSE of each window's mean."""
    windows = ours.ShuffledTargets(stream(horizon), sealed.history(sealed.train))
    windows.shuffle(*train_origins(horizon), np.random.default_rng(SHUFFLE_SEED))
    ridge = ours.trainer(windows)
    tensors = ridge.solve(ridge.sums(*train_origins(horizon)), fitted.choice)
    served = ours.serve(sealed.windows(rows, horizon), tensors, *judged_origins(horizon))
    return {"mse": served.model.mse, "skill": 1 - served.model.mse / means.mse}


def sampled_rivals(data: Ett, folder: Path) -> dict[str, Any]:
    """Theta and ETS at the sampled origins, all horizons. Nothing of theirs was chosen on any part."""
    cell = f"{data.name}-rivals"
    method = {"models": ["Theta", "ETS AZA, clamped to the window"], "seasonality": 24, "context": CONTEXT}
    sealed = Sealed(data)
    rows = sealed.open(save_method(folder, cell, method), cell)
    origins = sample()
    return {
        "data": data.name,
        "origins": origins.tolist(),
        "rivals": {
            rival.name: {
                "window_s": rival.window_s,
                "scores": {str(horizon): _scores(errors) for horizon, errors in rival.errors.items()},
            }
            for rival in rivals(rows, origins)
        },
    }


def gift_eval(data: Ett, folder: Path) -> dict[str, Any]:
    learned = {model: gift.learn(data, model) for model in gift.MODELS}
    chosen = min(learned, key=lambda model: learned[model].trained.verdict.candidate)
    method = {"chosen": chosen} | {model: each.method for model, each in learned.items()}
    save_method(folder, "gift-ett1-H-short", method)
    table: dict[str, dict[str, float]] = {}
    for each in learned.values():
        table |= gift.scores(data, each)
    return {"windows": len(gift.window_origins(len(data.rows))), "method": method, "table": table}


def _scores(errors: Errors) -> dict[str, float]:
    return {"mse": errors.mse, "mae": errors.mae}
