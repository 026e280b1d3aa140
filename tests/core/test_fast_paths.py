"""What a regular stream takes short cuts for comes out as it does the long way round, to the last bit."""

from typing import Any

import numpy as np
import pytest

from model_core.cells import Cells
from model_core.columns import BLOCK
from model_core.partition import PartitionState
from model_core.spec import StreamSpec
from model_core.windows import Windows
from tests.core.oracle import Reading
from tests.core.partition_run import Run, assert_same_bytes, final, readings_of, said_bytes

STEP_MS = 600_000
SERIES, TICKS = BLOCK + 40, 26
PLAIN: dict[str, Any] = {
    "topic": "t",
    "freq": STEP_MS,
    "context_length": 8,
    "horizon": 3,
    "quantile_levels": (0.1, 0.5, 0.9),
    "seasonality": (5 * STEP_MS,),
    "readings_per_step": 1,
    "min_readings": 2,
    "forecast_every": 3,
    "accuracy": "records",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": {},
    "last": {"aggregate": "last", "forecast_every": 1},
    "min": {"aggregate": "min", "allowed_lateness": 2 * STEP_MS},
    "mixed": {"overrides": ({"match": "s1*", "aggregate": "last"}, {"match": "s2*", "aggregate": "max"})},
    "deduplicated": {"deduplicate": "timestamp", "allowed_lateness": STEP_MS, "max_out_of_orderness": 0},
    "covariates": {"past_covariates": ("3",), "entity_separator": "-"},
}


def regular_log(rng: np.random.Generator, arrival: str) -> list[Reading]:
    """Every series sends once a step, most of the time."""
    of, tick = np.tile(np.arange(SERIES), TICKS), np.repeat(np.arange(TICKS), SERIES)
    stamps = 1_774_000_200_000 + tick * STEP_MS
    sent = np.ones(len(of), bool)
    arrived = stamps.astype(np.float64)
    if arrival != "aligned":
        stamps = stamps + rng.integers(0, STEP_MS, SERIES)[of]
        sent &= tick >= rng.integers(0, TICKS // 2, SERIES)[of]
        arrived = stamps + rng.random(len(of)) * (STEP_MS if arrival == "jittered" else 0)
    if arrival != "staggered":
        sent &= rng.random(len(of)) > 0.003
        arrived += (rng.random(len(of)) < 0.003) * 4.0 * STEP_MS
    order = np.argsort(arrived, kind="stable")
    values = np.where(
        rng.random(len(of)) < 0.02, -0.0, rng.normal(size=len(of)) * 10.0 ** rng.integers(-3, 42, len(of))
    )
    names = [f"s{i}" if i % 7 else f"e{i // 35}-{i // 7 % 5}" for i in range(SERIES)]
    picked = order[sent[order]].tolist()
    return [Reading(n, names[of[i]], int(stamps[i]), float(values[i])) for n, i in enumerate(picked)]


def cuts_of(rng: np.random.Generator, length: int) -> list[int]:
    return sorted(rng.integers(0, length, 6).tolist())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # values that no float32 holds
@pytest.mark.parametrize("arrival", ["aligned", "staggered", "jittered"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_that_settle_at_once_are_those_of_the_long_way(
    variant: str, arrival: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
):
    spec = StreamSpec(**PLAIN | VARIANTS[variant])
    log = regular_log(rng, arrival)
    short = Run(spec).log(log, cuts_of(rng, len(log)))
    monkeypatch.setattr(Cells, "_settle_at_once", lambda self, placed, ticks, members, out: members)
    monkeypatch.setattr(
        Windows,
        "_recent",
        lambda self, index, origins, count: self._span(index, origins[:, None] + np.arange(1 - count, 1)),
    )
    long = Run(spec).log(log, cuts_of(rng, len(log)))
    assert short.said.counts == long.said.counts
    assert_same_bytes(final(short.state), final(long.state), "state")
    assert_same_bytes(said_bytes(short), said_bytes(long), "said")


def test_most_cells_of_a_regular_stream_settle_at_once(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch):
    """Also where series send at phases of their own and out of order; otherwise the short cut is for nobody."""
    taken = {"at once": 0}
    way = Cells._settle_at_once

    def counted(self: Cells, placed: Any, ticks: Any, members: Any, out: Any) -> Any:
        rest = way(self, placed, ticks, members, out)
        taken["at once"] += len(members) - len(rest)
        return rest

    monkeypatch.setattr(Cells, "_settle_at_once", counted)
    for arrival in ("aligned", "staggered"):
        log = regular_log(rng, arrival)
        taken["at once"] = 0
        state = PartitionState(StreamSpec(**PLAIN), 0)
        for start in range(0, len(log), 2000):
            part = log[start : start + 2000]
            list(state.observe(readings_of(part)))
        assert taken["at once"] > 0.85 * len(log), (arrival, taken, len(log))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_each_side_was_told_is_what_is_in_memory(rng: np.random.Generator):
    """Whoever changes a row says so: copies of what is dirty, laid over each other, are the state."""
    for horizon, every in ((1, 1), (3, 3), (5, 2)):
        spec = StreamSpec(**PLAIN | {"horizon": horizon, "forecast_every": every, "allowed_lateness": STEP_MS})
        run, log = Run(spec), regular_log(rng, "jittered")
        sides: tuple[dict[str, np.ndarray[Any, Any]], ...] = ({}, {})
        for turn, start in enumerate(range(0, len(log), 700)):
            run.poll(log[start : start + 700])
            columns, side = run.state.columns, sides[turn % 2]
            blocks = columns.blocks
            for piece in columns.take_dirty(turn % 2, but={"ring"}):
                if piece.field == "ids":
                    continue
                field = columns.fields[piece.field]
                kept = side.get(piece.field, np.zeros(0, np.uint8))
                kept = np.concatenate([kept, np.zeros(blocks * field.rows * field.row_bytes - len(kept), np.uint8)])
                first = (piece.block * field.rows + piece.row) * field.row_bytes
                kept[first : first + len(piece.data)] = np.frombuffer(piece.data, np.uint8)
                side[piece.field] = kept
            for name, kept in side.items():
                assert kept.tobytes() == columns.arrays[name][:blocks].tobytes(), (name, turn)
