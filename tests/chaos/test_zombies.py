"""Fault 3: a worker sleeps beyond the session timeout and wakes up: it is fenced in Kafka and in Redis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.app.running_worker import World, wait_until
from tests.chaos.disturbed import PATIENT_S, Disturbed
from tests.chaos.killing_worker import PLACES
from tests.chaos.test_negative_controls import asleep_in_a_checkpoint, owns_everything, suspended

pytestmark = pytest.mark.timeout(600)
STEPS = ["flushed", "offsets sent", "before commit", "committed", "before flip"]
# What a worker says whose checkpoint Redis has refused, because it was another's.
FENCED = {
    "not saved: another worker owns it",
    "not saved: the poll thread has taken it anew",
    "ownership taken again",
}
Prove = Callable[[str, list[dict[str, Any]]], None]


def wakes_too_late(world: World, seed: int, step: str, turns: int) -> Disturbed:
    """Each turn: one is suspended in the step, another takes over, the first wakes and finds its place or ends."""
    run = Disturbed(world, seed=seed)
    tired = [world.folder / f"tired-{turn}" for turn in range(turns)]
    sleeper = run.start("w0", at=step, nth=12, do="stop", once=tired[0])
    sleeper.wait_for("assigned")
    for turn in range(1, turns + 1):
        # It falls asleep when it is told to, after all have come to it: nobody would be awake otherwise.
        follows = {"at": step, "nth": 12, "do": "stop", "once": tired[turn]} if turn < turns else {}
        heir = run.start(f"w{turn}", **follows)
        heir.wait_for("subscribed")
        tired[turn - 1].touch()
        wait_until(lambda asleep=sleeper: suspended(asleep), PATIENT_S, f"suspended in {step}")
        run.recovered(time.monotonic())
        time.sleep(1)
        os.kill(sleeper.process.pid, signal.SIGCONT)
        wait_until(
            lambda woken=sleeper: woken.process.poll() is not None or rejoined(woken.lines()),
            PATIENT_S,
            "ended or rejoined",
        )
        if sleeper.process.poll() is None:
            assert sleeper.stop(PATIENT_S) == 0, sleeper.log_path.read_text()
        else:
            assert sleeper.process.returncode == 1, sleeper.log_path.read_text()
            assert any(line["event"] == "worker ends" for line in sleeper.lines())
        sleeper = heir
    run.survivors = [sleeper]
    return run


def rejoined(lines: list[dict[str, Any]]) -> bool:
    """It has lost its partitions, or given them up, and was assigned some (or none) again."""
    events = [line["event"] for line in lines]
    gone = next((at for at, event in enumerate(events) if event in ("lost", "rewound")), None)
    return gone is not None and ("assigned" in events[gone:] or "lost" in events[gone:])


def meets_its_namesake(world: World, seed: int, steps: list[str]) -> Disturbed:
    """Each turn: it sleeps in a step, is started anew under its name as a supervisor would, and wakes up."""
    run = Disturbed(world, seed=seed)
    tired = [world.folder / f"tired-{turn}" for turn in range(len(steps))]
    starts = [{"at": step, "nth": 12, "do": "stop", "once": once} for step, once in zip(steps, tired, strict=True)]
    sleeper = run.start("one", **starts[0])
    sleeper.wait_for("assigned")
    for turn, step in enumerate(steps):
        tired[turn].touch()
        wait_until(lambda asleep=sleeper: suspended(asleep), PATIENT_S, f"suspended in {step}")
        heir = run.start("one", **(starts[turn + 1] if turn + 1 < len(steps) else {}))
        run.recovered(time.monotonic())
        os.kill(sleeper.process.pid, signal.SIGCONT)
        assert sleeper.process.wait(PATIENT_S) == 1, sleeper.log_path.read_text()
        assert "the only worker of its instance_id" in sleeper.wait_for("worker ends")["error"]
        sleeper = heir
    run.survivors = [sleeper]
    return run


def test_a_worker_that_slept_through_its_session_does_no_harm(world: World, seed: int, prove: Prove) -> None:
    step = STEPS[seed % len(STEPS)]
    print(f"suspended in {step!r}")
    run = wakes_too_late(world, seed, step, 1)
    verdict = run.judge(run.survivors)
    prove("zombies_short", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


def test_a_worker_that_wakes_when_another_has_its_name_ends_and_does_no_harm(
    world: World, seed: int, prove: Prove
) -> None:
    steps = list(PLACES)
    run = meets_its_namesake(world, seed, [steps[seed % len(steps)]])
    verdict = run.judge(run.survivors)
    prove("namesakes_short", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


def test_a_checkpoint_that_was_slept_through_is_refused_though_nobody_writes_after_it(world: World, seed: int) -> None:
    """As in the negative control of the fence of Redis, which fails: here with the fence."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    zombie = asleep_in_a_checkpoint(run)
    said = len(zombie.lines())
    os.kill(zombie.process.pid, signal.SIGCONT)
    wait_until(lambda: FENCED & {line["event"] for line in zombie.lines()}, PATIENT_S, lambda: f"a fence: {run.logs()}")
    owns_everything(world, zombie, since=said)
    verdict = run.judge([zombie])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_namesake_in_each_step_does_no_harm(world: World, seed: int, prove: Prove) -> None:
    run = meets_its_namesake(world, seed, [step for step in PLACES for _ in range(3)])
    verdict = run.judge(run.survivors, workers=2)
    prove("namesakes", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", STEPS)
def test_twenty_sleepers_do_no_harm(world: World, seed: int, step: str, soak_times: int, prove: Prove) -> None:
    run = wakes_too_late(world, seed, step, soak_times)
    verdict = run.judge(run.survivors, workers=2)
    prove(f"zombies_{step.replace(' ', '_')}", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
