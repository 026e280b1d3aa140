"""Fault 1: kill -9 at each step of the story. Whoever goes on, nothing is lost, doubled or different."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.app.running_worker import World
from tests.chaos.disturbed import PATIENT_S, Disturbed
from tests.chaos.killing_worker import PLACES

pytestmark = pytest.mark.timeout(600)
STEPS = list(PLACES)
Prove = Callable[[str, list[dict[str, Any]]], None]


def killed_again_and_again(world: World, seed: int, steps: Sequence[str]) -> Disturbed:
    """The same instance is killed at each of the steps in turn, and started once more."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    rng = np.random.default_rng(seed)
    for killed, step in enumerate(steps):
        started = time.monotonic()
        doomed = run.start("one", at=step, nth=int(rng.integers(4, 25)))
        if run.arrivals.seen:
            run.recovered(started, doomed=doomed)
        else:
            run.faults = killed  # nothing had come before them that could come again
        assert doomed.process.wait(PATIENT_S) == -9, doomed.log_path.read_text()
    started = time.monotonic()
    run.survivors = [run.start("one")]
    run.recovered(started)
    return run


def taken_over_again_and_again(world: World, seed: int, steps: Sequence[str]) -> Disturbed:
    """Each is killed while the next one runs beside it, and goes on alone until it is killed itself."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    rng = np.random.default_rng(seed)
    doomed = run.start("w0", at=steps[0], nth=int(rng.integers(50, 100)))
    for number, step in enumerate(steps, 1):
        # long enough that it has taken over before it is its turn
        follows = {"at": steps[number], "nth": int(rng.integers(300, 500))} if number < len(steps) else {}
        heir = run.start(f"w{number}", **follows)
        assert doomed.process.wait(PATIENT_S) == -9, f"{step}\n{doomed.log_path.read_text()}"
        run.recovered(time.monotonic(), doomed=heir)
        doomed = heir
    run.survivors = [doomed]
    return run


def test_the_same_instance_goes_on_after_kills_at_any_step(world: World, seed: int, prove: Prove) -> None:
    steps = [str(step) for step in np.random.default_rng(seed).choice(STEPS, 4, replace=False)]
    print(f"killed at {steps}")
    run = killed_again_and_again(world, seed, steps)
    verdict = run.judge(run.survivors)
    prove("kills_same_instance_short", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


def test_another_worker_takes_over_after_a_kill(world: World, seed: int, prove: Prove) -> None:
    step = STEPS[seed % len(STEPS)]
    print(f"killed at {step!r}")
    run = taken_over_again_and_again(world, seed, [step])
    verdict = run.judge(run.survivors, workers=2)
    prove("kills_taken_over_short", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_twenty_kills_of_the_same_instance(
    world: World, seed: int, step: str, soak_times: int, prove: Prove
) -> None:
    run = killed_again_and_again(world, seed, [step] * soak_times)
    verdict = run.judge(run.survivors)
    prove(f"kills_same_instance_{step.replace(' ', '_')}", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_twenty_kills_taken_over(world: World, seed: int, step: str, soak_times: int, prove: Prove) -> None:
    run = taken_over_again_and_again(world, seed, [step] * soak_times)
    verdict = run.judge(run.survivors, workers=2)
    prove(f"kills_taken_over_{step.replace(' ', '_')}", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
