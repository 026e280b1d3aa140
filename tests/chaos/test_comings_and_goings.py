"""Faults 2 and 10: workers are stopped, rolled, joined and taken away while readings come in.

And what holds however many there are: the same forecasts, the same state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.app.running_worker import WorkerProcess, World, readings, wait_until
from tests.chaos import checker, faulty_worker
from tests.chaos.disturbed import PATIENT_S, Disturbed, stop_well
from tests.chaos.saved import compare_states

pytestmark = pytest.mark.timeout(600)
Prove = Callable[[str, list[dict[str, Any]]], None]


SERIES = 12
GRACE_S = 60  # terminationGracePeriodSeconds in deploy/k8s/base/worker.yaml: after it, a pod is killed


def test_one_worker_or_one_for_each_partition_leads_to_the_same_forecasts_and_state(
    world: World, rng: np.random.Generator
) -> None:
    """Each of them has partitions before the first reading comes, so that each takes part."""
    configs = {"alone": world.deployment("alone"), "shared": world.deployment("shared")}
    alone, *shared = (world.start(configs[name]) for name in ("alone", *["shared"] * world.partitions))
    for worker in (alone, *shared):
        worker.wait_for("started", PATIENT_S)
    everybody = (alone, *shared)
    wait_until(lambda: {each.readyz()[0] for each in everybody} == {200}, PATIENT_S, "a partition for each of them")
    world.send(readings(np.round(10 + rng.normal(0, 1, (80, SERIES)), 3).tolist()))
    for name in configs:
        world.wait_for_forecasts(name, 80 * SERIES, PATIENT_S)
    for worker in everybody:
        stop_well(worker)
    mine, theirs = (checker.Published.read(world.bootstrap, world.topic, f"{world.topic}.{name}") for name in configs)
    verdict = checker.check(theirs)
    checker.compare_forecasts(theirs, mine, verdict)
    compare_states(world, configs["shared"], configs["alone"], verdict)
    assert verdict.counts["compared forecasts"] == 80 * SERIES
    assert verdict.counts["compared series"] == SERIES
    assert not verdict.violations, verdict


def test_a_revocation_that_misses_its_deadline_is_done_again_by_whoever_comes(
    world: World, rng: np.random.Generator
) -> None:
    """Its outputs are made while another one has the partition already: they are dropped, and what stays is rewound."""
    held = world.folder / "held"
    config = world.deployment("a", limits='revocation_deadline = "500ms"')
    worker = faulty_worker.start(world, config, held_forecasts={"path": str(held)})
    data = np.round(10 + rng.normal(0, 1, (20, SERIES)), 3).tolist()
    world.send(readings(data[:10]))
    world.wait_for_forecasts("a", 10 * SERIES, PATIENT_S)
    held.touch()
    world.send(readings(data[10:15], first=10))
    heir = world.start(config)
    worker.wait_for("released too late: uncommitted work is discarded, its owner does it again", PATIENT_S)
    held.unlink()
    worker.wait_for("rewound", PATIENT_S)
    world.send(readings(data[15:], first=15))
    world.wait_for_forecasts("a", 20 * SERIES, PATIENT_S)
    assert len(world.published("a", "forecasts")) == 20 * SERIES, "some are there twice"
    stop_well(worker)
    stop_well(heir)
    assert len(world.published("a", "forecasts")) == 20 * SERIES, "some are there twice"


def rolled(world: World, seed: int, *, times: int, workers: int = 3) -> Disturbed:
    """One worker after the other is told to stop and started again under its name."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    running = [run.start(f"w{each}") for each in range(workers)]
    run.wait_until_forecasting(time.monotonic())
    for turn in range(times):
        each = turn % workers
        assert running[each].stop(GRACE_S) == 0, running[each].log_path.read_text()
        moment = time.monotonic()
        running[each] = run.start(f"w{each}")
        run.recovered(moment)
    run.survivors = running
    return run


def reprocessed(workers: list[WorkerProcess]) -> int:
    """Readings that a worker went through again when it was assigned their partition; after a rewind it is, too."""
    assigned = [line for worker in workers for line in worker.lines() if line["event"] == "assigned"]
    return sum(sum(line["to_replay"].values()) for line in assigned)


def joined_and_left(world: World, seed: int, *, seconds: float, every_s: float = 2.0) -> Disturbed:
    """Every two seconds one comes or goes; between one worker and two more than there are partitions, as many as which
    come at first."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    rng = np.random.default_rng(seed)
    running = [run.start("w0")]
    run.wait_until_forecasting(time.monotonic())
    end, number, crowd = time.monotonic() + seconds, 0, world.partitions + 2
    while time.monotonic() < end:
        comes = number < crowd - 1 or len(running) == 1 or (len(running) < crowd and rng.random() < 0.5)
        if comes:
            number += 1
            running.append(run.start(f"w{number}"))
        else:
            stop_well(running.pop(int(rng.integers(len(running)))))
        run.faults += 1
        time.sleep(every_s)
    run.recoveries.append(run.wait_until_forecasting(time.monotonic()))
    run.survivors = running
    return run


def test_rolling_stops_end_well_and_nothing_is_reprocessed(world: World, seed: int, prove: Prove) -> None:
    run = rolled(world, seed, times=3)
    verdict = run.judge(run.survivors)
    prove("rolling_short", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
    assert reprocessed(world.workers) == 0, run.logs()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_rolling_stops_of_three_workers(world: World, seed: int, prove: Prove) -> None:
    run = rolled(world, seed, times=10)
    verdict = run.judge(run.survivors, workers=2)
    prove("rolling", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
    assert reprocessed(world.workers) == 0, run.logs()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_minute_of_joining_and_leaving(world: World, seed: int, prove: Prove) -> None:
    run = joined_and_left(world, seed, seconds=60)
    verdict = run.judge(run.survivors)
    prove("joining_and_leaving", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"


@pytest.mark.soak
def test_an_added_partition_is_refused_by_all_and_nothing_is_lost(world: World, seed: int, prove: Prove) -> None:
    run = Disturbed(world, seed=seed, every_s=0.1)
    running = [run.start(f"w{each}") for each in range(2)]
    run.wait_until_forecasting(time.monotonic())
    time.sleep(5)
    run.feeder.stop()
    assert run.arrivals.wait_for(run.feeder.sent, PATIENT_S), run.logs()
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    admin.create_partitions([NewPartitions(world.topic, world.partitions + 1)])[world.topic].result(30)
    for worker in running:
        assert worker.process.wait(PATIENT_S) == 1, worker.log_path.read_text()
        assert "new application_id" in worker.wait_for("worker ends")["error"]
    run.faults += 1
    verdict = run.judge(reference=False)
    prove("partition_added", [run.numbers(verdict)])
    assert not verdict.problems, f"{verdict}\n{run.logs()}"
