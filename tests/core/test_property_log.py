"""The core against a plain per-reading oracle, over random logs, random cuts into polls, and stops in the middle."""

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_core.bundle import ModelFacts
from model_core.partition import PartitionState
from model_core.spec import StreamSpec
from tests.core.oracle import Due, Oracle
from tests.core.partition_run import Run, Said, assert_same_bytes, final, random_cuts, said_bytes, stopped_and_restored
from tests.core.random_logs import random_log, random_settings

CASES, LENGTH = 20, 250  # of each of the four claims; other seeds are other cases


@pytest.fixture(params=range(CASES))
def draw(request: pytest.FixtureRequest, seed: int) -> random.Random:
    return random.Random(f"{seed}-{request.param}")


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Numbers, or nested lists of them; None is NaN."""
    wanted = np.array(expected, dtype=np.float64)
    if np.shape(found) != wanted.shape:
        return False
    return np.allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def watchful(spec: StreamSpec) -> ModelFacts:
    """No model, and thresholds so low that a short log has alarms."""
    return replace(ModelFacts.none(spec), cusum_threshold=2.0, horizon_threshold=1.5)


def assert_cells(said: Said, oracle: Oracle) -> None:
    settled: dict[str, list[tuple[int, float | None, int]]] = {}
    for name, *cell in oracle.settled:
        settled.setdefault(name, []).append(tuple(cell))
    assert said.settled == settled
    assert sorted(said.corrected) == sorted(oracle.reissued)
    # Of a reading that had to wait for another one only the number is known.
    assert len(said.rejected) == len(oracle.rejected)
    assert {rejected for rejected in said.rejected if rejected[0]} <= set(oracle.rejected)
    assert said.deleted == oracle.deleted
    assert said.counts["duplicate"] == oracle.duplicates
    assert said.counts["corrected"] == oracle.corrected
    assert said.counts["warming_up"] == oracle.warming_up
    assert said.counts["settled"] == len(oracle.settled)


def assert_window(made: dict[str, Any], due: Due) -> None:
    where = f"{due.series_id} at {due.origin}.{due.revision}"
    assert (made["origin"], made["revision"], made["offset"]) == (due.origin, due.revision, due.offset), where
    assert_same_bytes(made["windows"], np.array(due.window, np.float32).T.copy(), where)
    assert_same_bytes(made["season"], np.array(due.season, np.float32), where)
    known = np.array(due.known, np.float32).reshape(-1, made["known"].shape[0])
    assert_same_bytes(made["known"], known.T.copy(), where)
    assert close(made["center"], [mean for mean, _ in due.scalers], 1e-12), where
    assert close(made["scale"], [spread for _, spread in due.scalers], 1e-12), where
    assert close(made["level"], due.level, 1e-12), where
    assert made["readings"] == due.observed, where


def assert_forecasts(said: Said, oracle: Oracle) -> None:
    assert said.forecasts.keys() == oracle.judge.forecasts.keys()
    for name, expected in oracle.judge.forecasts.items():
        found = said.forecasts[name]
        assert [(made["origin"], made["revision"]) for made in found] == [
            (wanted["due"].origin, wanted["due"].revision) for wanted in expected
        ]
        for made, wanted in zip(found, expected, strict=True):
            assert_window(made, wanted["due"])
            where = f"{name} at {made['origin']}.{made['revision']}"
            assert made["rung"] == wanted["rung"], where
            assert close(made["quantiles"], np.array(wanted["quantiles"]).T), where
            assert (np.diff(made["quantiles"], axis=0) >= 0).all(), where
            assert made["observed_share"] == np.float32(wanted["observed_share"]), where
            assert made["mean"] is None or close(made["mean"], wanted["mean"]), where
    assert sorted(said.alarms) == sorted(oracle.judge.alarms)
    assert said.storms == oracle.judge.storms


def assert_scores(said: Said, oracle: Oracle) -> None:
    for part, expected in ((said.records, oracle.judge.records), (said.summaries, oracle.judge.summaries)):
        assert part.keys() == expected.keys()
        for name, rows in expected.items():
            for made, wanted in zip(part[name], rows, strict=True):
                assert_score(made, wanted)


def assert_score(made: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert made["offsets"] == wanted["offset"]
    for name in ("mase", "coverage", "skill"):
        assert close(made[name], wanted[name]), (name, made, wanted)
    if "tick" in wanted:
        assert (made["ticks"], made["scored"]) == (wanted["tick"], wanted["scored"])
        assert close(made["pinball"], wanted["pinball"])
        return
    assert made["origins"] == wanted["origin"]
    rows = wanted["horizons"]
    for position, name in enumerate(("actual", "error", "pinball")):
        assert close(made[name], [row[position] for row in rows]), (name, made, wanted)
    assert close(made["baselines"], [row[3:5] for row in rows])
    assert made["covered"].tolist() == [row[5] for row in rows]


def test_any_log_in_any_polls_gives_what_the_oracle_gives(draw: random.Random) -> None:
    settings = random_settings(draw)
    log = random_log(draw, settings, LENGTH)
    spec = StreamSpec(**settings)
    run = Run(spec, state=PartitionState(spec, 0, watchful(spec)))
    run.log(log, random_cuts(draw, len(log)), windows_max=draw.choice([1, 8192]))
    oracle = Oracle(settings)
    oracle.set.cusum_threshold, oracle.set.horizon_threshold = 2.0, 1.5
    oracle.run(log)
    assert_cells(run.said, oracle)
    assert_forecasts(run.said, oracle)
    assert_scores(run.said, oracle)


def test_two_ways_to_cut_one_log_agree_to_the_last_bit(draw: random.Random) -> None:
    settings = random_settings(draw)
    log = random_log(draw, settings, LENGTH)
    spec = StreamSpec(**settings)
    one, other = (Run(spec, state=PartitionState(spec, 0, watchful(spec))) for _ in range(2))
    one.log(log, random_cuts(draw, len(log)))
    other.log(log, random_cuts(draw, len(log)), windows_max=1)
    assert_same_bytes(final(other.state), final(one.state), "state")
    assert_same_bytes(said_bytes(other), said_bytes(one), "said")


def test_stopping_and_going_on_from_a_snapshot_changes_nothing(draw: random.Random) -> None:
    settings = random_settings(draw)
    log = random_log(draw, settings, LENGTH)
    spec = StreamSpec(**settings)
    middle = draw.randrange(1, len(log))
    whole = Run(spec, state=PartitionState(spec, 0, watchful(spec))).log(log[:middle], random_cuts(draw, middle))
    again = Run(spec, state=stopped_and_restored(whole.state, spec, watchful(spec)))
    rest = log[middle:]
    whole.said = Said()
    whole.log(rest, random_cuts(draw, len(rest)))
    again.log(rest, random_cuts(draw, len(rest)))
    one, other = final(whole.state), final(again.state)
    one.pop("ring"), other.pop("ring")  # rows that nothing looks at did not come back
    assert_same_bytes(other, one, "state")
    assert_same_bytes(said_bytes(again), said_bytes(whole), "said")


def test_orders_within_the_bounds_agree(draw: random.Random) -> None:
    """Without corrections and jumps, when readings arrive within max_out_of_orderness their order is not seen."""
    settings = random_settings(draw) | {"readings_per_step": None, "deduplicate": "off", "max_watermark_jump": 10**12}
    settings |= {"max_out_of_orderness": 2 * settings["freq"], "dormant_after": 1000, "future_covariates": ()}
    log = [entry for entry in random_log(draw, settings, LENGTH) if hasattr(entry, "timestamp_ms")]
    log.sort(key=lambda reading: reading.timestamp_ms)
    unique = {(reading.timestamp_ms, reading.series_id): reading for reading in log}
    log = list(unique.values())
    shuffled = sorted(log, key=lambda r: r.timestamp_ms + draw.random() * settings["max_out_of_orderness"])
    spec = StreamSpec(**settings)
    one = Run(spec).log(log, random_cuts(draw, len(log))).said
    other = Run(spec).log(shuffled, random_cuts(draw, len(log))).said
    assert not other.counts["late"]
    for name, cells in one.settled.items():
        for (tick, value, _), (also, found, _) in zip(cells, other.settled[name], strict=False):
            assert tick == also, name
            assert value == found or math.isclose(value, found, rel_tol=1e-12), (name, tick)
    for name, forecasts in one.forecasts.items():
        for wanted, made in zip(forecasts, other.forecasts[name], strict=False):  # the last may be open in one of them
            assert made["origin"] == wanted["origin"], name
            for part, tolerance in (("center", 1e-12), ("scale", 1e-12), ("quantiles", 1e-5)):
                assert close(made[part], wanted[part], tolerance), (name, made["origin"], part)
