"""Fault 1: kill -9 at each step of the story. Whoever goes on, nothing is lost, doubled or different."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from tests.app.running_worker import World
from tests.chaos.disturbed import Disturbed
from tests.chaos.killing_worker import PLACES

pytestmark = pytest.mark.timeout(600)
STEPS = [name for name in PLACES if name != "past offsets"]
SOAK_SEEDS = 20


def kill_and_go_on(world: World, seed: int, step: str, *, taken_over: bool, **settings: Any) -> Disturbed:
    """One kill at the n-th turn of a step; then the same instance again, or one that waits beside it."""
    run = Disturbed(world, seed=seed, **settings)
    doomed = run.start("one", at=step, nth=int(np.random.default_rng(seed).integers(3, 25)))
    doomed.wait_for("assigned")
    assert doomed.process.wait(90) == -9, doomed.log_path.read_text()
    moment = time.monotonic()
    survivor = run.start("two" if taken_over else "one")
    run.recovered(moment)
    time.sleep(1)
    run.survivors = [survivor]
    return run


@pytest.mark.parametrize("step", ["flushed", "offsets sent", "committed", "half written"])
def test_a_kill_at_a_step_loses_and_doubles_nothing(world: World, seed: int, step: str) -> None:
    run = kill_and_go_on(world, seed, step, taken_over=False)
    verdict = run.judge(run.survivors)
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
