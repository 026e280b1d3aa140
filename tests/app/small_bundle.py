"""A trained model of the right shape for a stream without covariates; what it says does not matter."""

from __future__ import annotations

import numpy as np

from model_core.bundle import BASE, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.calendar_features import calendar_features, calendar_of
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.spec import StreamSpec


def small_bundle(spec: StreamSpec, version: str, weight: float) -> Bundle:
    """`weight`: standard deviation of the ridge's weights; NaN makes a model that answers nothing finite."""
    facts, rng = ModelFacts.none(spec), np.random.default_rng(1)
    calendar = calendar_of(spec.grid, calendar_features(spec), spec.holidays)
    shapes = {
        WINDOW_WEIGHT: (window_width(spec.context_length, 0), spec.horizon),
        TARGET_WEIGHT: (calendar.width, spec.horizon),
    }
    weights = {name: (rng.normal(0, 1, shape) * weight).astype(np.float32) for name, shape in shapes.items()}
    return Bundle.sealed(
        {BASE: facts.base, SERIES_TABLES: facts.series_tables, **weights},
        model="ridge",
        version=version,
        created_at="2026-01-01T00:00:00Z",
        **Manifest.of_stream(spec),
        season=facts.season,
        season_found=False,
        cusum_threshold=facts.cusum_threshold,
        false_alarms_per_million=None,
        series=(),
        training=Training(),
    )
