"""Forecasts published with the model on a GPU and on the CPU beside it, by turns: what a whole worker gains.

Most of a published forecast is not its model (settling, text, the transaction), so this is far less than what
`tidecast speed` shows of the model alone.
"""

from __future__ import annotations

import statistics
from typing import Literal

import torch

from benchmarks.figure import Asked, Figure, Row
from benchmarks.published import Round, published
from benchmarks.stage import Stage

MODELS = {"ridge": "ridge", "patch_mixer": "ridge with a network"}
DEVICES: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")


def measure_gpu(stage: Stage, asked: Asked, figure: Figure) -> None:
    if not torch.cuda.is_available():
        for words in MODELS.values():
            what = f"forecasts published, {words}, on a GPU"
            figure.rows.append(Row(what, None, "forecasts/s", note="no CUDA device here"))
        return
    found: dict[tuple[str, str], list[Round]] = {}
    for number in range(asked.sizes.rounds):
        for model in MODELS:
            for device in DEVICES:
                made = published(stage, asked, f"{model}-{device}-{number}", device=device, model=model)
                found.setdefault((model, device), []).append(made)
    for model, words in MODELS.items():
        here, there = (Row.of(words, [each.rate for each in found[model, name]], "") for name in DEVICES)
        assert here.value, "a round was measured"
        assert there.value, "a round was measured"
        for name, row in (("the CPU", here), (torch.cuda.get_device_name(0), there)):
            device = "cpu" if row is here else "cuda"
            spent = statistics.median(each.profile["forecast"] for each in found[model, device])
            times = "" if row is here else f"{there.value / here.value:.2f} × the CPU; "
            note = f"{times}windows to uncalibrated answers take {spent:.1f} µs a forecast"
            what = f"forecasts published, 512 → 24 × 9, {words}, exactly once, on {name}"
            figure.rows.append(Row(what, row.value, "forecasts/s", row.low, row.high, note=note))
    figure.raw |= {f"{model} on {device}": [each.rate for each in rounds] for (model, device), rounds in found.items()}
