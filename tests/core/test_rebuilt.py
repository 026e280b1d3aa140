"""Forecasts of a rebuilt state say so, for one context length, whatever the cuts."""

import json

import numpy as np
import pytest

from model_core.ladder import Reason
from model_core.outcomes import Forecasts
from model_core.partition import PartitionState
from model_core.rebuilt import Rebuilt
from model_core.spec import StreamSpec


def forecasts(offsets: list[int], origins: list[int], reasons: list[int] | None = None) -> Forecasts:
    n = len(offsets)
    return Forecasts(
        series_ids=[f"s{row}" for row in range(n)],
        origins=np.array(origins, np.int64),
        quantiles=np.zeros((n, 3, 2), np.float32),
        mean=None,
        rungs=np.zeros(n, np.int8),
        reasons=np.array(reasons or [Reason.OK] * n, np.int8),
        revisions=np.zeros(n, np.int64),
        observed_share=np.ones(n, np.float32),
        offsets=np.array(offsets, np.int64),
    )


def test_what_was_published_before_decides_nothing_and_a_fallback_keeps_its_reason() -> None:
    rebuilt = Rebuilt(emit_from=10, ticks=5)
    assert (rebuilt.mark(forecasts([8, 9], [100, 101])).reasons == Reason.OK).all()
    marked = rebuilt.mark(forecasts([9, 10, 11, 12], [101, 102, 106, 107], [0, 0, Reason.NON_FINITE, 0]))
    assert marked.reasons.tolist() == [Reason.REBUILT, Reason.REBUILT, Reason.NON_FINITE, Reason.OK]


def test_until_when_does_not_depend_on_the_cuts(rng: np.random.Generator) -> None:
    offsets = np.sort(rng.integers(0, 200, 300)).tolist()
    origins = [int(offset // 4 + rng.integers(-3, 4)) for offset in offsets]
    whole = Rebuilt(emit_from=90, ticks=12)
    expected = whole.mark(forecasts(offsets, origins)).reasons
    for cut in rng.integers(0, 300, 20).tolist():
        # Forecasts of one reading are never parted here: they come out of one poll, oldest tick first.
        while 0 < cut < 300 and offsets[cut] == offsets[cut - 1]:
            cut -= 1
        parted = Rebuilt(emit_from=90, ticks=12)
        first = parted.mark(forecasts(offsets[:cut], origins[:cut])).reasons if cut else np.zeros(0, np.int8)
        parted = Rebuilt(*json.loads(json.dumps(parted.snapshot())))
        second = parted.mark(forecasts(offsets[cut:], origins[cut:])).reasons
        fresh = np.array(offsets) >= 90
        np.testing.assert_array_equal(np.concatenate([first, second])[fresh], expected[fresh])
        assert parted.until == whole.until


@pytest.mark.parametrize("rebuilt", [None, Rebuilt(7, 24), Rebuilt(7, 24, 31)])
def test_a_snapshot_keeps_it(rebuilt: Rebuilt | None) -> None:
    spec = StreamSpec(topic="t", freq=600_000, context_length=24)
    state = PartitionState(spec, 0)
    state.rebuilt = rebuilt
    again = PartitionState.restore(spec, 0, json.loads(json.dumps(state.meta())), [], [])
    assert again.rebuilt == rebuilt
    older = state.meta()
    del older["rebuilt"]
    assert PartitionState.restore(spec, 0, older, [], []).rebuilt is None
