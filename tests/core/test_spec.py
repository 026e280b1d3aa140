"""A stream's specification refuses what contradicts itself and says what each setting means."""

from typing import Any

import pytest
from pydantic import ValidationError

from model_core.spec import StreamSpec

HOUR = 3_600_000


def spec(**settings: Any) -> StreamSpec:
    return StreamSpec(**({"topic": "t", "freq": "1h"} | settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantile_levels": (0.5, 0.1)}, "rising"),
        ({"quantile_levels": (0.1, 0.9)}, "0.5 must be among"),
        ({"quantile_levels": (0.0, 0.5)}, "inside"),
        ({"timezone": "Europe/Berlin"}, "only day grids"),
        ({"lower_bound": 1.0, "upper_bound": 1.0}, "must be below"),
        ({"past_covariates": ("x",), "future_covariates": ("x",)}, "must not share"),
        ({"targets": ("x",), "past_covariates": ("x",)}, "must not share"),
        ({"aggregate": "count", "readings_per_step": 1}, "closed by the watermark"),
        ({"aggregate": "sum", "lower_bound": -1.0}, "lower_bound -1.0: demand .* never below 0"),
        ({"aggregate": "count", "overrides": [{"match": "a*", "lower_bound": -2}]}, r"overrides: a\*: lower_bound -2"),
        ({"seasonality": ("90min",)}, "not a multiple"),
        ({"seasonality": ("1h",)}, "not a multiple"),
        ({"calibration_rate": 0.02}, "less than 0.02"),
        ({"freq": "ten minutes"}, "expected a duration"),
        ({"horizont": 5}, "Extra inputs"),
    ],
)
def test_a_contradiction_is_refused_with_its_reason(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec(**settings)


def test_each_setting_says_what_it_is_and_what_changing_it_means() -> None:
    for name, field in StreamSpec.model_fields.items():
        assert field.description, name
        assert (field.json_schema_extra or {}).get("change") in ("restart", "rebuild", "new stream"), name


def test_the_fingerprint_changes_with_what_the_state_means_and_with_nothing_else() -> None:
    known = spec().fingerprint()
    assert spec(late="count", max_future="2h", outputs={"prefix": "other"}).fingerprint() == known
    for settings in (
        {"context_length": 64},
        {"freq": "2h"},
        {"allowed_lateness": "1h"},
        {"overrides": [{"match": "a"}]},
    ):
        assert spec(**settings).fingerprint() != known, settings


def test_defaults_follow_from_the_grid() -> None:
    assert spec().out_of_orderness_ms == HOUR
    assert spec().watermark_jump_ms == 24 * HOUR
    assert spec(freq="1d").watermark_jump_ms == 10 * 24 * HOUR
    assert (spec().default_season, spec(freq="1d").default_season, spec(seasonality=("6h", "3h")).default_season) == (
        24,
        7,
        3,
    )
    assert spec(context_length=10).dormant_ticks == 48
    assert spec(horizon=24).scored_horizons == (1, 2, 3, 6, 12, 24)
    assert spec(horizon=5).scored_horizons == (1, 2, 3, 5)
    assert spec(horizon=1).scored_horizons == (1,)


def test_the_first_override_that_matches_counts() -> None:
    stream = spec(overrides=[{"match": "*.temp", "lower_bound": -40}, {"match": "*", "lower_bound": 0}])
    assert stream.override_of("a.temp").lower_bound == -40
    assert stream.override_of("a.flow").lower_bound == 0


def test_a_series_id_is_an_entity_and_a_variable() -> None:
    stream = spec(past_covariates=("rain",), future_covariates=("price",), targets=("flow",))
    assert stream.split("river.3.flow") == ("river.3", "flow")
    assert stream.split("alone") == ("alone", "")
    assert [stream.role(name) for name in ("flow", "rain", "price", "other")] == ["target", "past", "future", "none"]


def test_only_covariates_can_be_monotone():
    with pytest.raises(ValidationError, match="not among past_covariates and future_covariates"):
        StreamSpec(topic="t", freq="1h", past_covariates=("rain",), monotone={"rian": "rising"})
    spec = StreamSpec(topic="t", freq="1h", past_covariates=("rain",), monotone={"rain": "rising"})
    assert spec.monotone == {"rain": "rising"}
