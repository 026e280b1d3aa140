"""With a model in charge, in strict mode, polls are invisible too: the same bytes, also across a swap."""

import random

import numpy as np
import pytest

from model_core.bundle import BASE, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.calendar_features import calendar_features, calendar_of
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from tests.core.partition_run import Run, assert_same_bytes, final, random_cuts, said_bytes
from tests.core.random_logs import random_log, random_settings


def random_ridge(rng: np.random.Generator, spec: StreamSpec) -> Bundle:
    """Weights that were never fitted: what they say is no worse to compare."""
    covariates = len(spec.past_covariates) + len(spec.future_covariates)
    dates = calendar_of(spec.grid, calendar_features(spec), spec.holidays).width + len(spec.future_covariates)
    width = window_width(spec.context_length, covariates, len(spec.future_covariates) * spec.horizon)
    shape, facts = (width, spec.horizon), ModelFacts.none(spec)
    series = facts.base[:1] * 1.5  # "b" has tables of its own
    return Bundle.sealed(
        {
            BASE: facts.base * 1.1,
            SERIES_TABLES: series,
            WINDOW_WEIGHT: rng.normal(0, 0.1, shape).astype(np.float32),
            TARGET_WEIGHT: rng.normal(0, 0.1, (dates, spec.horizon)).astype(np.float32),
        },
        model="ridge",
        version="v1",
        created_at="2026-01-01T00:00:00Z",
        **Manifest.of_stream(spec),
        season=int(rng.choice([min(4, spec.longest_season), spec.longest_season])),  # the longest just fits the ring
        season_found=True,
        cusum_threshold=8.0,
        false_alarms_per_million=None,
        series=("b",),
        training=Training(),
    )


@pytest.mark.parametrize("case", range(10))
def test_two_ways_to_cut_one_log_agree_with_a_model_that_took_charge_on_the_way(case: int, seed: int) -> None:
    draw = random.Random(f"model-{seed}-{case}")
    settings = random_settings(draw) | {"context_length": 8}
    log, spec = random_log(draw, settings, 250), StreamSpec(**settings)
    bundle, middle = random_ridge(np.random.default_rng(seed + case), spec), draw.randrange(20, 100)

    def run(windows_max: int) -> Run:
        made = Run(spec)
        made.log(log[:middle], random_cuts(draw, middle), windows_max=windows_max)
        made.predictor = Predictor(spec, bundle, device="cpu", strict=True)
        made.state.swap_model(bundle.facts())
        made.log(log[middle:], random_cuts(draw, len(log) - middle), windows_max=windows_max)
        return made

    one, other = run(8192), run(1)
    assert_same_bytes(final(other.state), final(one.state), "state")
    assert_same_bytes(said_bytes(other), said_bytes(one), "said")
