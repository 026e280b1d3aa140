"""Messages made by the column are, byte for byte, what writing each as an object would give."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from model_core.ladder import REASON_NAMES, RUNG_NAMES
from model_core.outcomes import DriftRecord, Forecasts, Outcome, Scored, Summaries
from model_core.spec import StreamSpec
from stream_app.wire import messages
from stream_app.wire.lines import Form
from stream_app.wire.outcomes import Made, encode_outcomes
from stream_app.wire.timestamps import MAX_MS, MIN_MS, rfc3339
from stream_app.wire.writer import Issuer

NAMES = [
    "pump-7.temp",
    "a",
    "",
    'quote "',
    '",',
    '","',
    "back\\slash",
    "日本.温度",
    "line\nend",
    "tab\t",
    "\x01",
    "]]",
    "%b",
]
PLAIN = [name for name in NAMES if name.isprintable() and not set(name) & set('"\\')]
SHAPES: list[dict[str, Any]] = [
    {},
    {"horizon": 1},
    {"quantile_levels": [0.5]},
    {"quantile_levels": [0.5, 0.6]},
    {"quantile_levels": [0.1, 0.5, 0.9], "freq": "1500ms"},
    {"freq": "1d", "timezone": "Europe/Berlin", "horizon": 12},
    {"quantile_levels": [round(i / 80, 4) for i in range(1, 80)], "horizon": 2},
]


def spec(shape: dict[str, Any]) -> StreamSpec:
    base = {"topic": "t", "freq": "10min", "context_length": 48, "horizon": 5, "accuracy": "records"}
    return StreamSpec.model_validate(base | shape)


def start(of: StreamSpec, tick: int) -> str:
    return rfc3339(of.grid.start_ms(tick))


def holed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of all sizes, some of them none."""
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-12, 12, shape)
    values[rng.random(shape) < 0.1] = np.nan
    values[rng.random(shape) < 0.1] = rng.integers(-3, 3)
    return values


def names(rng: np.random.Generator, count: int) -> list[str]:
    return [str(name) for name in rng.choice(PLAIN if rng.random() < 0.5 else NAMES, count)]


def ticks(rng: np.random.Generator, of: StreamSpec, count: int) -> np.ndarray:
    """Mostly one tick, as when all series settle together."""
    first = of.grid.tick(1_771_000_000_000)
    return first + rng.integers(0, rng.choice([1, 3, 1000]), count)


def written(bodies: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    """Records of bodies; float32 arrays in them are written as such."""
    return [(body["series_id"].encode(), orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)) for body in bodies]


def intervals(of: StreamSpec) -> list[float]:
    levels = of.quantile_levels
    pairs = [(a, b) for a in levels for b in levels if a < 0.5 and abs(b - (1 - a)) < 1e-9]
    return [round(b - a, 9) for a, b in pairs]


def forecast_body(of: StreamSpec, made: Forecasts, i: int) -> dict[str, Any]:
    rung, reason = int(made.rungs[i]), int(made.reasons[i])
    return {
        "schema_version": messages.SCHEMA_VERSION,
        "stream": "s %b",
        "series_id": made.series_ids[i],
        "origin": start(of, int(made.origins[i])),
        "step_ms": of.step_ms,
        "horizon": of.horizon,
        "quantile_levels": of.quantile_levels,
        "quantiles": made.quantiles[i],
        "point": made.quantiles[i, of.quantile_levels.index(0.5)],
        **({} if made.mean is None else {"mean": made.mean[i]}),
        "model": "ridge" if rung == 0 else RUNG_NAMES[rung],
        "model_version": "v3" if rung == 0 else None,
        "status": "fallback" if rung else "ok",
        "reason": REASON_NAMES[reason] if reason else None,
        "revision": made.revisions[i],
        "issued_at": "now",
        "observed_share": made.observed_share[i],
        "input": {"partition": 4, "offset": made.offsets[i]},
    }


FLOATS = [
    *(0.0, -0.0, 0.1, 1.0, 100.0, 0.5, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 123456789012345.6),
    *(9007199254740993.0, 1e15, 1e16, 1e17, 1e22, 1e23, 1e-4, 1e-5, 1e-6, 0.00012345, 9.5367431640625e-07, -2.5),
    *(1e12, 1e13, 1e14, 3.4028234663852886e38, 1.1754943508222875e-38, 1e-45, 8388608.0, 16777216.0, 4.5e15),
    *(np.nan, np.inf, -np.inf),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_floats_are_the_shortest_texts_that_read_back_as_the_same(rng: np.random.Generator, dtype: Any) -> None:
    """All sizes, the borders of powers of two and ten among them, and whatever bits a float can have."""
    bits = rng.integers(0, 2**64, 60_000, np.uint64, endpoint=False)
    powers = np.array([2.0**e for e in range(-1074, 1024)] + [float(f"1e{e}") for e in range(-323, 309)])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = np.concatenate([powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf), -powers])
        usual = np.concatenate([rng.normal(size=60_000) * 100, np.round(rng.normal(size=60_000) * 100, 2)])
        values = np.concatenate([FLOATS, near, usual, np.arange(3000.0)]).astype(dtype)
    values = np.concatenate([values, bits.view(dtype)])
    form = Form()
    form.numbers("value")
    found = form.written(len(values), {"value": values}).texts()
    assert found == orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    read = np.array([np.nan if text == b"null" else float(text) for text in found], np.float64).astype(dtype)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(values)
    assert read[finite].tobytes() == values[finite].tobytes()
    assert np.isnan(read[~finite]).all()


def test_integers_of_all_sizes(rng: np.random.Generator) -> None:
    edges = [0, -1, 9, 10, 99, 100, 9999, 10_000, -(2**63), 2**63 - 1, *(10**e for e in range(19))]
    values = np.concatenate([edges, rng.integers(-(2**63), 2**63 - 1, 2000), rng.integers(-200, 200, 500)])
    for column in (values, values[:, None], np.stack([values, values[::-1]], axis=1), values[::2], values % 100 < 50):
        form, width = Form(), column.shape[1] if column.ndim > 1 else 1
        form.numbers("n", 0, width)
        expected = [",".join(map(str, row)).encode() for row in column.astype(int).reshape(-1, width).tolist()]
        assert form.written(len(column), {"n": column}).texts() == expected


def test_instants_of_all_years(rng: np.random.Generator) -> None:
    first, last = MIN_MS, MAX_MS
    leap = [datetime(year, 2, 28, 23, 59, 59, tzinfo=UTC) for year in (4, 1900, 2000, 2023, 2024, 9996)]
    edges = [first, last, 0, -1, 999, *(int(moment.timestamp() * 1000) + add for moment in leap for add in (0, 1000))]
    values = np.concatenate([edges, rng.integers(first, last, 5000), rng.integers(first, last, 5000) // 1000 * 1000])
    form = Form()
    form.instants("at")
    assert form.written(len(values), {"at": values}).texts() == [rfc3339(int(value)).encode() for value in values]


def test_rows_that_are_narrower_than_their_form_are_refused() -> None:
    form = Form()
    form.numbers("n", 1, 2)
    with pytest.raises(AssertionError):
        form.written(3, {"n": np.zeros((3, 2))})
    with pytest.raises(AssertionError):
        form.written(4, {"n": np.zeros((3, 3))})
    assert form.written(3, {"n": np.zeros((3, 3))}).texts() == [b"0.0,0.0"] * 3


def forecasts(rng: np.random.Generator, of: StreamSpec, count: int, *, demand: bool) -> Forecasts:
    quantiles = holed(rng, (count, len(of.quantile_levels), of.horizon)).astype(np.float32)
    return Forecasts(
        series_ids=names(rng, count),
        origins=ticks(rng, of, count),
        quantiles=quantiles,
        mean=holed(rng, (count, of.horizon)).astype(np.float32) if demand else None,
        rungs=rng.integers(0, 4, count).astype(np.int8),
        reasons=rng.integers(0, 8, count).astype(np.int8),
        revisions=rng.integers(0, 2, count),
        observed_share=rng.random(count).astype(np.float32),
        offsets=rng.integers(-1, 2**53, count),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 3, messages.CHUNK + 40])
@pytest.mark.parametrize("demand", [False, True])
def test_forecasts(rng: np.random.Generator, shape: dict[str, Any], count: int, demand: bool) -> None:
    of = spec(shape)
    made = forecasts(rng, of, count, demand=demand)
    found = messages.encode_forecasts(of, "s %b", 4, made, Issuer("ridge", "v3", issued_at="now"))
    assert list(found) == written([forecast_body(of, made, i) for i in range(count)])


def scored(rng: np.random.Generator, of: StreamSpec, count: int) -> Scored:
    levels = intervals(of)
    actual = holed(rng, (count, len(of.scored_horizons)))
    return Scored(
        series_ids=names(rng, count),
        origins=ticks(rng, of, count),
        actual=actual,
        error=holed(rng, actual.shape),
        pinball=holed(rng, actual.shape),
        baselines=holed(rng, (*actual.shape, 2)),
        covered=rng.random((*actual.shape, len(levels))) < 0.5,
        mase=holed(rng, (count,)),
        coverage=holed(rng, (count, len(levels))),
        skill=holed(rng, (count,)),
        offsets=rng.integers(-1, 2**53, count),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 3, messages.CHUNK + 40])
def test_accuracy(rng: np.random.Generator, shape: dict[str, Any], count: int) -> None:
    of = spec(shape)
    levels, horizons = intervals(of), of.scored_horizons
    made = scored(rng, of, count)
    actual = made.actual
    expected = []
    for i, name in enumerate(made.series_ids):
        entries = [
            {
                "horizon": horizon,
                "target": start(of, int(made.origins[i]) + horizon),
                "actual": actual[i, k],
                "error": made.error[i, k],
                "pinball": made.pinball[i, k],
                "covered": made.covered[i, k].tolist() if np.isfinite(actual[i, k]) else [None] * len(levels),
                "baselines": {"seasonal_naive": made.baselines[i, k, 0], "last_value": made.baselines[i, k, 1]},
            }
            for k, horizon in enumerate(horizons)
        ]
        body = {
            "schema_version": messages.SCHEMA_VERSION,
            "kind": "record",
            "stream": "s",
            "series_id": name,
            "intervals": levels,
            "origin": start(of, int(made.origins[i])),
            "horizons": entries,
            "mase": made.mase[i],
            "coverage": made.coverage[i].tolist(),
            "skill": made.skill[i],
            "input": {"partition": 2, "offset": int(made.offsets[i])},
        }
        expected.append(body)
    assert list(messages.encode_accuracy(of, "s", 2, made)) == written(expected)


def summaries(rng: np.random.Generator, of: StreamSpec, count: int) -> Summaries:
    levels = intervals(of)
    return Summaries(
        series_ids=names(rng, count),
        ticks=ticks(rng, of, count),
        mase=holed(rng, (count,)),
        coverage=holed(rng, (count, len(levels))),
        pinball=holed(rng, (count,)),
        skill=holed(rng, (count,)),
        scored=rng.integers(0, 1000, count),
        offsets=rng.integers(-1, 2**53, count),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 30])
def test_summaries(rng: np.random.Generator, shape: dict[str, Any], count: int) -> None:
    of = spec(shape)
    levels = intervals(of)
    made = summaries(rng, of, count)
    expected = []
    for i, name in enumerate(made.series_ids):
        body = {
            "schema_version": messages.SCHEMA_VERSION,
            "kind": "summary",
            "stream": "s",
            "series_id": name,
            "intervals": levels,
            "at": start(of, int(made.ticks[i])),
            "mase": made.mase[i],
            "coverage": made.coverage[i].tolist(),
            "pinball": made.pinball[i],
            "skill": made.skill[i],
            "scored": int(made.scored[i]),
            "input": {"partition": 2, "offset": int(made.offsets[i])},
        }
        expected.append(body)
    assert list(messages.encode_summaries(of, "s", 2, made)) == written(expected)


@pytest.mark.parametrize("accuracy", ["records", "summary"])
@pytest.mark.parametrize("demand", [False, True])
def test_outcomes_that_are_written_together_are_what_each_is_alone(
    rng: np.random.Generator, accuracy: str, demand: bool
) -> None:
    of = spec({"accuracy": accuracy})
    issuer = Issuer("ridge", "v3", issued_at="now")
    made, expected = [], {"forecasts": [], "accuracy": [], "drift": [], "control": []}
    storm = DriftRecord(None, "partition-0", "storm", 0.2, 0.05, "drift", 3, 3, 1)
    for number in range(12):
        count = [0, 1, 7][number % 3]
        outcome = Outcome(
            forecasts(rng, of, count, demand=demand),
            scored(rng, of, int(rng.integers(0, 4))) if rng.random() < 0.7 else None,
            summaries(rng, of, int(rng.integers(0, 4))) if rng.random() < 0.7 else None,
            drift=[DriftRecord("a", None, "cusum", 9.0, 8.0, "drift", 3, 4, number), storm][: int(rng.integers(0, 3))],
            deleted=((number, "gone"),) * int(rng.integers(0, 2)),
        )
        partition = int(rng.integers(0, 5))
        made.append(Made(partition, outcome))
        tombstones = [(b"gone", None)] * len(outcome.deleted)
        expected["forecasts"] += messages.encode_forecasts(of, "s", partition, outcome.forecasts, issuer)
        expected["forecasts"] += tombstones
        if outcome.scored is not None and accuracy == "records":
            expected["accuracy"] += messages.encode_accuracy(of, "s", partition, outcome.scored)
        if outcome.summaries is not None:
            expected["accuracy"] += messages.encode_summaries(of, "s", partition, outcome.summaries)
        expected["accuracy"] += tombstones
        expected["drift"] += messages.encode_drift(of, "s", partition, outcome.drift)
        begun = [storm] if storm in outcome.drift else []
        expected["control"] += [messages.encode_retrain(of, "s", partition, each) for each in begun]
    found = encode_outcomes(of, "s", made, issuer)
    assert {kind: list(records) for kind, records in found.items()} == expected
    records = sum(each.outcome.records(scored=accuracy == "records") for each in made)
    assert records == sum(map(len, expected.values()))
