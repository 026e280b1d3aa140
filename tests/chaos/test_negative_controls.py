"""Protections taken away one by one: the checker must complain, or its silence elsewhere means nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import psutil
import pytest
import redis
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from tests.app.running_worker import WorkerProcess, World, wait_until
from tests.chaos.disturbed import Disturbed

pytestmark = pytest.mark.timeout(600)


def suspended(worker: WorkerProcess) -> bool:
    return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED


def headers(world: World) -> dict[bytes, bytes | None]:
    """Of the saved states, as Redis has them: another one with each checkpoint."""
    with redis.Redis.from_url(world.redis_url) as client:
        return {key: client.dump(key) for key in client.scan_iter(match=f"*{world.topic}*:header*", count=1000)}


def saved(world: World) -> int:
    """Readings that the saved states contain."""
    with redis.Redis.from_url(world.redis_url) as client:
        bodies = [client.hget(key, "body") for key in headers(world)]
    return sum(json.loads(body)["next_offset"] for body in bodies if body)


def committed(world: World) -> int:
    """Readings that the group has committed, each in a log without gaps."""
    group = f"{world.topic}.a"
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    return sum(place.offset for place in asked[group].result(30).topic_partitions)


def owns_everything(world: World, worker: WorkerProcess, *, since: int = 0) -> None:
    """Its `assigned` lines, from the line of its log with this number on, add up to all partitions."""

    def has_all() -> bool:
        taken = [line for line in worker.lines()[since:] if line["event"] == "assigned"]
        return len({name for line in taken for name in line["to_replay"]}) == world.partitions

    wait_until(has_all, 90, f"all partitions in\n{worker.log_path.read_text()}")


def asleep_in_a_checkpoint(run: Disturbed, **chaos: Any) -> WorkerProcess:
    """One that is suspended in the middle of a checkpoint, all of whose partitions an heir has had since. The heir has
    answered and saved everything, and is dead: whoever rejoins waits for its session to end, and so mends nothing."""
    zombie = run.start("one", at="before write", nth=12, do="stop", **chaos)
    wait_until(lambda: suspended(zombie), 60, "suspended")
    heir = run.start("two")
    owns_everything(run.world, heir)
    run.wait_until_forecasting(time.monotonic())
    run.feeder.stop()
    assert run.arrivals.wait_for(run.feeder.sent, 60), run.logs()
    wait_until(lambda: saved(run.world) == run.feeder.sent, 60, lambda: f"its last checkpoint: {run.logs()}")
    heir.kill()
    return zombie


def test_at_least_once_doubles_after_a_kill_and_loses_nothing(world: World, seed: int) -> None:
    run = Disturbed(world, seed=seed, delivery="at_least_once")
    doomed = run.start("one", at="outputs acknowledged", nth=12)
    assert doomed.process.wait(90) == -9
    moment = time.monotonic()
    again = run.start("one")
    run.recovered(moment)
    verdict = run.judge([again], reference=False)
    assert verdict.doubled > 0
    assert verdict.lost == 0


def test_offsets_committed_before_their_outputs_lose_forecasts(world: World, seed: int) -> None:
    run = Disturbed(world, seed=seed, delivery="at_least_once")
    doomed = run.start("one", at="past offsets", nth=12, without=("offsets last",))
    assert doomed.process.wait(90) == -9
    again = run.start("one")
    run.recovered(time.monotonic())
    assert run.judge([again], reference=False).lost > 0


def test_state_saved_before_its_commit_loses_forecasts(world: World, seed: int) -> None:
    run = Disturbed(world, seed=seed, checkpoint_interval="10ms")
    doomed = run.start("one", at="saved ahead", nth=4, without=("checkpoint last",))
    assert doomed.process.wait(90) == -9
    again = run.start("one")
    assert again.process.wait(60) == 1, "the offsets are behind the state: it refuses to go on"
    assert run.judge(reference=False).lost > 0


def test_without_the_fence_of_kafka_a_zombie_doubles(world: World, seed: int) -> None:
    run = Disturbed(world, seed=seed, limits='transaction_timeout = "60s"')
    zombie = run.start("one", at="transaction full", nth=12, do="stop", without=("producer fence",))
    wait_until(lambda: suspended(zombie), 60, "suspended")
    made_of = run.feeder.sent  # what the zombie holds is of these readings at most
    heir = run.start("two")
    # It forecasts the same; its commits wait behind the zombie's for readers, not for itself.
    wait_until(lambda: committed(world) >= made_of, 90, lambda: f"the same from its heir: {run.logs()}")
    os.kill(zombie.process.pid, signal.SIGCONT)
    seen = run.arrivals
    wait_until(lambda: len(seen.seen) > len(seen.cells), 60, lambda: f"a forecast that is there twice: {run.logs()}")
    zombie.kill()
    verdict = run.judge([heir], reference=False)
    assert verdict.doubled > 0, f"{verdict}\n{run.logs()}"


def test_without_the_fence_of_redis_a_zombie_spoils_the_state(world: World, seed: int) -> None:
    """It wakes in the middle of a checkpoint that its heir has long replaced, and writes the rest."""
    run = Disturbed(world, seed=seed, every_s=0.1)
    zombie = asleep_in_a_checkpoint(run, without=("store fence",))
    before = headers(world)
    os.kill(zombie.process.pid, signal.SIGCONT)
    wait_until(lambda: headers(world) != before, 60, lambda: f"a checkpoint of the zombie: {run.logs()}")
    zombie.kill()
    assert "saved state" in "".join(run.judge().violations), run.logs()
