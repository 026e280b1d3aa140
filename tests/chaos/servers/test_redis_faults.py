"""Redis dies, forgets, refuses, or goes back in time: the worker goes on or rebuilds, never with a wrong state."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from stream_app.local_services.ports import free_port
from stream_app.local_services.state_file import StateFile
from stream_app.local_services.valkey_server import ValkeyServer
from stream_app.settings import Settings
from tests.app.running_worker import START_MS, STEP_MS, WorkerProcess, wait_until
from tests.chaos.broken_world import (
    PATIENT_S,
    BrokenWorld,
    count_of,
    ready,
    unready,
)

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]
soak = pytest.mark.soak
ENDLESS = "while true do end"


def running(world: BrokenWorld, ticks: int = 20) -> tuple[Path, WorkerProcess]:
    """A deployment whose state is in Redis."""
    config, worker = world.begin(ticks)
    ready(worker)
    wait_until(lambda: world.keys("header"), PATIENT_S, "a checkpoint")
    return config, worker


def valkey(world: BrokenWorld) -> ValkeyServer:
    assert world.services is not None
    return world.services.valkey


def test_a_killed_redis_that_comes_back_with_its_data(world: BrokenWorld) -> None:
    config, worker = running(world)
    valkey(world).kill()
    world.send_ticks(20)
    world.answered()
    unready(worker, "store")
    valkey(world).start()
    ready(worker)
    world.send_ticks(10)
    world.answered()
    world.stop_and_judge(worker, config)


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "before anybody asks it"])
def test_a_redis_that_comes_back_empty_gets_the_whole_state_anew(world: BrokenWorld, missed: bool) -> None:
    config, worker = running(world)
    valkey(world).kill()
    shutil.rmtree(valkey(world).directory / "valkey")
    if missed:
        world.send_ticks(10)
        world.answered()
        unready(worker, "store")
    valkey(world).start()
    world.send_ticks(20)
    world.answered()
    worker.wait_for("ownership taken again", PATIENT_S)
    ready(worker)
    world.send_ticks(10)
    world.answered()
    world.stop_and_judge(worker, config)


def make_replica(world: BrokenWorld) -> Callable[[], None]:
    """Of itself at an unused port, as after a failover that left the address behind."""
    client = world.redis()
    client.replicaof("127.0.0.1", free_port())  # type: ignore[no-untyped-call]
    return lambda: client.replicaof("NO", "ONE")  # type: ignore[no-untyped-call, no-any-return]


def fill_memory(world: BrokenWorld) -> Callable[[], None]:
    client = world.redis()
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def change_password(world: BrokenWorld) -> Callable[[], None]:
    """Open connections stay; the test ends them, as a restart of the server would."""
    client = world.redis()
    client.ping()
    client.config_set("requirepass", "another")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def undo() -> None:
        with redis.Redis(port=valkey(world).port, password="another") as other:
            other.config_set("requirepass", "")

    return undo


def run_endless_script(world: BrokenWorld) -> Callable[[], None]:
    world.redis().config_set("lua-time-limit", 50)

    def run() -> None:
        try:
            redis.Redis.from_url(world.redis_url).eval(ENDLESS, 0)
        except redis.RedisError:
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def undo() -> None:
        world.redis().script_kill()
        thread.join(20)

    return undo


@pytest.mark.parametrize(
    ("refuse", "word"),
    [
        (fill_memory, "maxmemory"),
        (run_endless_script, "SCRIPT KILL"),
        pytest.param(make_replica, "replica", marks=soak),
        pytest.param(change_password, "password", marks=soak),
    ],
)
def test_a_redis_that_refuses_is_named_with_its_remedy_and_taken_up_again(
    world: BrokenWorld, refuse: Callable[[BrokenWorld], Callable[[], None]], word: str
) -> None:
    config, worker = running(world)
    undo = refuse(world)
    world.send_ticks(20)
    world.answered()
    unready(worker, "store", word)
    for _ in range(5):  # it stays so: asking whether the store is back must not say that it is
        world.send_ticks(1)
        world.answered()
    assert count_of(worker, "checkpoints resume") == 0
    assert worker.readyz()[0] == 503
    undo()
    ready(worker)
    world.send_ticks(10)
    world.answered()
    world.stop_and_judge(worker, config)


def test_one_lost_piece_of_the_state_is_noticed_and_the_state_rebuilt_from_the_log(
    world: BrokenWorld, rng: np.random.Generator
) -> None:
    config, worker = running(world)
    assert worker.stop(PATIENT_S) == 0
    pieces = needed_pieces(world)
    lost = pieces[int(rng.integers(len(pieces)))]
    print(f"lost: {lost!r} of {len(pieces)}")
    world.redis().delete(lost)
    worker = world.start(config)
    worker.wait_for("checkpoint unusable", PATIENT_S)
    world.send_ticks(20)
    world.answered()
    world.stop_and_judge(worker, config)


def needed_pieces(world: BrokenWorld) -> list[bytes]:
    """Keys that hold a piece of the newest checkpoint; not those of the side that comes next."""
    (header,) = world.keys("header")
    body = json.loads(world.redis().hget(header, "body") or b"")
    labels = (body["labels"][body["side"]], body["labels"][2])
    pieces = [key for key in world.keys("") if key.decode().rpartition("}:")[2].startswith(labels)]
    assert {b":ring:", b":ids:"} <= {b":" + key.split(b":")[-2] + b":" for key in pieces}
    return pieces


def test_a_window_that_is_lost_under_a_worker_does_not_come_back_as_zeros(world: BrokenWorld) -> None:
    """The next ticks go into its last rows, and make the key as long as it was, with nothing before them."""
    rows = Settings.load(world.configure(), {}).streams["tides"].ring_capacity
    config, worker = running(world, ticks=1 + (rows - 5 - START_MS // STEP_MS) % rows)
    (ring,) = (key for key in needed_pieces(world) if b":ring:" in key)
    world.redis().delete(ring)
    for _ in range(8):
        world.send_ticks(1)
        world.answered()
    time.sleep(1)  # a checkpoint
    worker.kill()
    world.go_on_and_judge(world.start(config), config)


def kept_by_a_replica(world: BrokenWorld) -> list[tuple[bytes, bytes]]:
    """The partition's keys as they are at one moment, perhaps in the middle of a checkpoint."""
    names = world.keys("")
    with world.redis().pipeline(transaction=True) as together:
        for name in names:
            together.dump(name)
        return [(name, dumped) for name, dumped in zip(names, together.execute(), strict=True) if dumped]


def take_back(world: BrokenWorld, kept: list[tuple[bytes, bytes]]) -> None:
    """The partition's keys as they were; what is newer is gone."""
    client = world.redis()
    with client.pipeline(transaction=True) as together:
        for key in world.keys(""):
            together.delete(key)
        for key, dumped in kept:
            together.restore(key, 0, dumped)
        together.execute()


@pytest.mark.parametrize("restarts", [False, pytest.param(True, marks=soak)])
def test_a_failover_that_takes_the_last_checkpoints_back_leaves_no_wrong_state(
    world: BrokenWorld, restarts: bool
) -> None:
    """A replica that had not received them becomes the primary."""
    config, worker = running(world)
    kept = kept_by_a_replica(world)
    world.send_ticks(20)
    world.answered()
    if restarts:
        worker.kill()
    take_back(world, kept)
    if restarts:
        worker = world.start(config)
    world.send_ticks(20)
    world.answered()
    ready(worker)
    world.stop_and_judge(worker, config)


def test_a_failover_that_takes_the_owner_back_fences_nobody_wrongly(world: BrokenWorld) -> None:
    """The counter goes back to before this worker became the owner, and the checkpoint with it."""
    config, worker = running(world)
    assert worker.stop(PATIENT_S) == 0
    kept = kept_by_a_replica(world)
    worker = world.start(config)
    world.send_ticks(20)
    world.answered()
    ready(worker)
    take_back(world, kept)
    world.send_ticks(20)
    world.answered()
    worker.wait_for("ownership taken again", PATIENT_S)
    ready(worker)
    assert count_of(worker, "worker ends") == 0
    world.stop_and_judge(worker, config)


@pytest.mark.soak
def test_a_real_failover_to_a_replica_that_lags_leaves_no_wrong_state(world: BrokenWorld, tmp_path: Path) -> None:
    """The replica stops following, the primary goes on for a while and dies, the replica takes its place."""
    config, worker = running(world)
    replica = ValkeyServer(
        directory=tmp_path / "replica",
        ports={"client": free_port()},
        tied=True,
        state_file=StateFile(tmp_path / "replica.json"),
    )
    replica.directory.mkdir()
    replica.start()
    try:
        second = redis.Redis(port=replica.port)
        second.replicaof("127.0.0.1", valkey(world).port)  # type: ignore[no-untyped-call]
        wait_until(lambda: second.info("replication")["master_link_status"] == "up", PATIENT_S, "a replica")
        second.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
        world.send_ticks(20)
        world.answered()
        valkey(world).kill()
        assert world.redis_proxy is not None
        world.redis_proxy.target = lambda: replica.port
        world.send_ticks(20)
        world.answered()
        ready(worker)
        assert worker.stop(PATIENT_S) == 0
        world.redis_url = f"redis://127.0.0.1:{replica.port}/0"
        verdict = world.judge(config)
        assert not verdict.violations, f"{verdict}\n{worker.log_path.read_text()}"
    finally:
        replica.kill()
        assert world.redis_proxy is not None
        world.redis_proxy.target = lambda: valkey(world).port


def test_a_redis_that_would_evict_is_refused(world: BrokenWorld) -> None:
    world.redis().config_set("maxmemory-policy", "allkeys-lru")
    worker = world.start(world.configure())
    assert worker.process.wait(PATIENT_S) == 1
    assert "noeviction" in worker.wait_for("worker ends")["error"]
