"""More series than a block has, regular or not: cells as a plain loop settles them, whatever the polls and buffers."""

from typing import Any

import numpy as np
import pytest

from model_core import cells
from model_core.columns import BLOCK
from model_core.spec import StreamSpec
from tests.core.oracle import Oracle, Reading
from tests.core.partition_run import Run, assert_same_bytes, final, said_bytes

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


def regular_log(rng: np.random.Generator, arrival: str, largest: int = 42) -> list[Reading]:
    """Every series sends once a step, most of the time, values up to this power of ten."""
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
        rng.random(len(of)) < 0.02, -0.0, rng.normal(size=len(of)) * 10.0 ** rng.integers(-3, largest, len(of))
    )
    names = [f"s{i}" if i % 7 else f"e{i // 35}-{i // 7 % 5}" for i in range(SERIES)]
    picked = order[sent[order]].tolist()
    return [Reading(n, names[of[i]], int(stamps[i]), float(values[i])) for n, i in enumerate(picked)]


def cuts_of(rng: np.random.Generator, length: int) -> list[int]:
    return sorted(rng.integers(0, length, 6).tolist())


class NoJudge:
    """The oracle's cells alone: what they lead to has tests of its own."""

    def __init__(self, _settings: Any) -> None:
        pass

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


@pytest.mark.parametrize("arrival", ["aligned", "staggered", "jittered"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_are_those_of_a_plain_loop(variant: str, arrival: str, rng: np.random.Generator) -> None:
    settings = PLAIN | VARIANTS[variant]
    log = regular_log(rng, arrival, largest=3)
    said = Run(StreamSpec(**settings)).log(log, cuts_of(rng, len(log))).said
    oracle = Oracle(settings, NoJudge).run(log)
    expected: dict[str, list[tuple[int, float | None, int]]] = {}
    for name, *cell in oracle.settled:
        expected.setdefault(name, []).append(tuple(cell))
    assert said.settled == expected
    assert sorted(said.corrected) == sorted(oracle.reissued)
    assert said.counts["duplicate"] == oracle.duplicates
    assert said.counts["late"] == len(oracle.rejected)
    assert sum(map(len, said.forecasts.values())) > 1000


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # values that no float32 holds
@pytest.mark.parametrize("arrival", ["aligned", "jittered"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_buffers_that_run_full_change_nothing(
    variant: str, arrival: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = StreamSpec(**PLAIN | VARIANTS[variant])
    log = regular_log(rng, arrival)
    wide = Run(spec).log(log, cuts_of(rng, len(log)))
    for name, room in (("CELLS_ROOM", 100), ("WAVES_ROOM", 70), ("REJECTED_ROOM", 2), ("WINDOWS_ROOM_BYTES", 5000)):
        monkeypatch.setattr(cells, name, room)
    narrow = Run(spec).log(log, cuts_of(rng, len(log)), windows_max=64)
    assert narrow.said.counts == wide.said.counts
    assert_same_bytes(final(narrow.state), final(wide.state), "state")
    assert_same_bytes(said_bytes(narrow), said_bytes(wide), "said")


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
