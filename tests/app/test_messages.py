"""What is really published is what the schemas say, number by number."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from model_core.ladder import Reason, Rung
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.spec import StreamSpec
from stream_app.cli import main
from stream_app.schemas.message_schemas import MESSAGES, json_schema
from stream_app.wire import messages
from stream_app.wire.writer import Issuer

ISSUED_AT = "2026-03-01T10:00:00.123Z"
SERIES = ["pump-7.temp", 'quote " and % and é', "日本.温度"]


def spec(**changes: Any) -> StreamSpec:
    return StreamSpec.model_validate({"topic": "t", "freq": "10min", "context_length": 48, "horizon": 5} | changes)


def forecasts(rng: np.random.Generator, of: StreamSpec, count: int = 3, *, demand: bool = False) -> Forecasts:
    shape = (count, len(of.quantile_levels), of.horizon)
    return Forecasts(
        series_ids=[SERIES[i % 3] for i in range(count)],
        origins=2_953_000 + np.arange(count) // 2,
        quantiles=np.sort(rng.normal(20, 3, shape).astype(np.float32), axis=1),
        mean=rng.normal(20, 3, (count, of.horizon)).astype(np.float32) if demand else None,
        rungs=(np.arange(count) % 4).astype(np.int8),
        reasons=np.array([Reason.OK, Reason.NO_MODEL, Reason.TOO_SHORT, Reason.NON_FINITE] * count, np.int8)[:count],
        revisions=np.arange(count),
        observed_share=rng.random(count).astype(np.float32),
        offsets=np.arange(count) + 100,
    )


def encoded(rng: np.random.Generator, of: StreamSpec, **how: Any) -> tuple[Forecasts, list[tuple[bytes, bytes]]]:
    made = forecasts(rng, of, **how)
    return made, messages.encode_forecasts(of, "pu%mps", 4, made, Issuer("ridge", "v3", ISSUED_AT))


def valid(output: str, records: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    adapter = TypeAdapter(MESSAGES[output])
    for _, value in records:
        adapter.validate_json(value, strict=True)
    return [json.loads(value) for _, value in records]


@pytest.mark.parametrize("demand", [False, True])
@pytest.mark.parametrize(
    "shape", [{}, {"horizon": 1}, {"quantile_levels": [0.5]}, {"horizon": 1, "quantile_levels": [0.5]}]
)
def test_forecasts_say_what_the_columns_say(rng: np.random.Generator, demand: bool, shape: dict[str, Any]) -> None:
    of = spec(**shape)
    made, records = encoded(rng, of, count=messages.CHUNK + 3, demand=demand)
    bodies = valid("forecasts", records)
    assert [key.decode() for key, _ in records] == made.series_ids == [body["series_id"] for body in bodies]
    assert np.array_equal(np.array([body["quantiles"] for body in bodies], np.float32), made.quantiles)
    median = made.quantiles[:, of.quantile_levels.index(0.5)]
    assert np.array_equal(np.array([body["point"] for body in bodies], np.float32), median)
    if made.mean is None:
        assert all("mean" not in body for body in bodies)
    else:
        assert np.array_equal(np.array([body["mean"] for body in bodies], np.float32), made.mean)
    assert [body["revision"] for body in bodies] == made.revisions.tolist()
    assert [body["input"] for body in bodies] == [{"partition": 4, "offset": o} for o in made.offsets.tolist()]
    assert np.array_equal(np.array([body["observed_share"] for body in bodies], np.float32), made.observed_share)


def test_a_forecast_names_who_answered_and_why(rng: np.random.Generator) -> None:
    made, records = encoded(rng, spec(), count=4)
    assert made.rungs.tolist() == [Rung.MODEL, Rung.SEASONAL_NAIVE, Rung.LAST_VALUE, Rung.LEVEL]
    said = [
        [body[name] for name in ("model", "model_version", "status", "reason")] for body in valid("forecasts", records)
    ]
    assert said == [
        ["ridge", "v3", "ok", None],
        ["seasonal_naive", None, "fallback", "no_model"],
        ["last_value", None, "fallback", "too_short"],
        ["level", None, "fallback", "non_finite"],
    ]


def test_times_are_the_start_of_the_tick_in_utc(rng: np.random.Generator) -> None:
    _, records = encoded(rng, spec(), count=1)
    (body,) = valid("forecasts", records)
    assert body["origin"] == "2026-02-22T22:40:00Z"
    assert body["issued_at"] == ISSUED_AT
    assert body["step_ms"] == 600_000
    local = spec(freq="1d", timezone="Europe/Berlin")
    made, records = encoded(rng, local, count=1)
    start = int(local.grid.starts_ms(made.origins)[0])
    expected = f"{np.datetime_as_string(np.datetime64(start, 'ms'), unit='s')}Z"
    assert valid("forecasts", records)[0]["origin"] == expected


def test_what_is_not_a_number_is_null(rng: np.random.Generator) -> None:
    made = forecasts(rng, spec(), 1)
    made.quantiles[0, :, 2] = np.nan
    records = messages.encode_forecasts(spec(), "s", 0, made, Issuer(None, None, ISSUED_AT))
    (body,) = valid("forecasts", records)
    assert [row[2] for row in body["quantiles"]] == [None] * 9
    assert body["point"][2] is None


def test_no_forecasts_are_no_messages(rng: np.random.Generator) -> None:
    assert not encoded(rng, spec(), count=0)[1]


def test_accuracy_records_have_an_entry_for_each_scored_horizon(rng: np.random.Generator) -> None:
    of = spec()
    count, horizons, intervals = 2, len(of.scored_horizons), 4
    actual = rng.normal(size=(count, horizons))
    actual[1, 0] = np.nan
    scored = Scored(
        series_ids=SERIES[:2],
        origins=np.array([2_953_000, 2_953_001]),
        actual=actual,
        error=np.where(np.isnan(actual), np.nan, rng.normal(size=actual.shape)),
        pinball=np.where(np.isnan(actual), np.nan, rng.random(actual.shape)),
        baselines=rng.random((*actual.shape, 2)),
        covered=rng.random((count, horizons, intervals)) < 0.5,
        mase=np.array([0.9, np.nan]),
        coverage=rng.random((count, intervals)),
        skill=np.array([0.1, np.nan]),
        offsets=np.array([7, -1]),
    )
    first, second = valid("accuracy", messages.encode_accuracy(of, "s", 0, scored))
    assert first["kind"] == "record"
    assert first["intervals"] == [0.8, 0.6, 0.4, 0.2]
    assert [entry["horizon"] for entry in first["horizons"]] == list(of.scored_horizons) == [1, 2, 3, 5]
    assert [entry["target"] for entry in first["horizons"]][::3] == ["2026-02-22T22:50:00Z", "2026-02-22T23:30:00Z"]
    assert [entry["actual"] for entry in first["horizons"]] == actual[0].tolist()
    assert first["horizons"][2]["covered"] == scored.covered[0, 2].tolist()
    assert first["horizons"][2]["baselines"] == {
        "seasonal_naive": scored.baselines[0, 2, 0],
        "last_value": scored.baselines[0, 2, 1],
    }
    assert second["mase"] is None
    assert second["horizons"][0] | {"target": "", "baselines": {}} == {
        "horizon": 1,
        "target": "",
        "actual": None,
        "error": None,
        "pinball": None,
        "covered": [None] * 4,
        "baselines": {},
    }


def test_summaries_say_how_good_a_series_is_now(rng: np.random.Generator) -> None:
    summaries = Summaries(
        series_ids=SERIES[:2],
        ticks=np.array([2_953_000, 2_953_000]),
        mase=np.array([0.9, np.nan]),
        coverage=rng.random((2, 4)),
        pinball=np.array([0.4, np.nan]),
        skill=np.array([0.1, np.nan]),
        scored=np.array([12, 0]),
        offsets=np.array([7, 7]),
    )
    first, second = valid("accuracy", messages.encode_summaries(spec(), "s", 0, summaries))
    assert (first["kind"], first["at"], first["scored"]) == ("summary", "2026-02-22T22:40:00Z", 12)
    assert first["coverage"] == summaries.coverage[0].tolist()
    assert (second["mase"], second["pinball"], second["skill"]) == (None, None, None)


def test_drift_is_keyed_by_whom_it_is_about() -> None:
    one = DriftRecord("a", None, "cusum", 13.0, 12.7, "drift", 2_953_000, 2_953_004, 9)
    many = DriftRecord(None, "partition-2", "storm", float("nan"), 0.05, "ok", 2_953_000, 2_953_004, -1)
    records = messages.encode_drift(spec(), "s", 2, [one, many])
    assert [key for key, _ in records] == [b"a", b"partition-2/storm"]
    first, second = valid("drift", records)
    assert (first["since"], first["at"]) == ("2026-02-22T22:40:00Z", "2026-02-22T23:20:00Z")
    assert second["statistic"] is None
    assert messages.encode_drift(spec(), "s", 2, []) == []


def test_the_journal_carries_decisions() -> None:
    value = messages.encode_journal("s", 2, 41, {"number": 3, "kind": "clock", "rejected": [(40, np.int64(0))]})
    (body,) = valid("journal", [(b"", value)])
    assert body["decision"] == {"number": 3, "kind": "clock", "rejected": [[40, 0]]}


def test_a_storm_asks_for_training() -> None:
    storm = DriftRecord(None, "partition-2", "storm", 0.4, 0.05, "drift", 2_953_000, 2_953_004, 9)
    record = messages.encode_retrain(spec(), "s", 2, storm)
    assert record[0] == b"partition-2"
    (body,) = valid("control", [record])
    assert (body["kind"], body["since"], body["input"]) == (
        "retrain",
        "2026-02-22T22:40:00Z",
        {"partition": 2, "offset": 9},
    )


def test_the_command_prints_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {name: json_schema(name) for name in MESSAGES}
    assert "quantiles" in printed["forecasts"]["required"]
    assert "mean" not in printed["forecasts"]["required"]
