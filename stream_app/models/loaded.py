"""A model of the registry that is ready to answer, and the trial that it passed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_core.batches import WindowBatch
from model_core.bundle import ModelFacts
from model_core.ladder import REASON_NAMES, Reason
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from stream_app.models.registry import ModelRegistry

START_TICK = 1_000_000  # any moment
# Whoever runs a model takes it: a GPU records what any thread launches (model_core/gpu_passes.py).
device_turn = threading.Lock()


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer, and what a partition's state needs to know of it."""

    predictor: Predictor
    facts: ModelFacts
    gone: bool = False  # nobody has its files: the ladder answers, until they are back or another takes charge


def load_and_try(
    registry: ModelRegistry, stream: str, spec: StreamSpec, version: str, device: str, strict: bool
) -> LoadedModel:
    """Load a model and try it. Raises if the bundle is corrupt or for another configuration, or answers no window."""
    bundle = registry.load(stream, version)
    if (misfit := bundle.misfit(spec)) is not None:
        raise TidecastError(misfit)
    window = ordinary_window(spec, bundle.facts().season)
    with device_turn:
        predictor = Predictor(spec, bundle, device=device, strict=strict)
        answer = predictor.raw(window)
    if answer.reason[0] != Reason.OK:
        why = REASON_NAMES[answer.reason[0]]
        raise TidecastError(f"model {version}: expected an answer for an ordinary window, found {why}")
    return LoadedModel(predictor, bundle.facts())


def ordinary_window(spec: StreamSpec, season: int) -> WindowBatch:
    """One full window of a sine, as a running series would have it."""
    length, futures = spec.context_length, len(spec.future_covariates)
    channels = 1 + len(spec.past_covariates) + futures
    wave = np.sin(np.arange(max(length, season)) * (2 * np.pi / max(season, 2))).astype(np.float32)
    return WindowBatch(
        windows=np.repeat(wave[None, -length:, None], channels, axis=2),
        known=np.zeros((1, spec.horizon, futures), np.float32),
        season=wave[None, -season:],
        origins=np.array([START_TICK], np.int64),
        center=np.zeros((1, channels)),
        scale=np.full((1, channels), float(wave.std()) or 1.0),
        level=np.zeros(1),
        fill=np.zeros(1, np.int8),
        readings=np.array([10 * length], np.int64),
    )
