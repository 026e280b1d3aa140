"""The same checkpoints on a real cluster of three Valkeys: the keys of a partition lie in one slot, so on one node."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest
import redis

from stream_app.checkpoints import StoreUnavailable, connect
from stream_app.checkpoints.commands import PartitionKeys
from stream_app.local_services.ports import LOCALHOST, free_port
from stream_app.local_services.valkey_server import _binary
from tests.app.checkpoints.worker import Worker

NODES = 3
SLOTS = 16_384
READY_S = 20.0


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ports: list[int] = []
    while len(ports) < 2 * NODES:
        ports.append(free_port(taken=frozenset(ports)))
    nodes, buses = ports[:NODES], ports[NODES:]
    running = []
    try:
        for port, bus in zip(nodes, buses, strict=True):
            folder = str(tmp_path_factory.mktemp(f"node-{port}"))
            options = {"port": port, "cluster-port": bus, "bind": LOCALHOST, "dir": folder, "save": ""}
            options |= {"cluster-enabled": "yes", "maxmemory-policy": "noeviction", "logfile": f"{folder}/log"}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            running.append(subprocess.Popen([str(_binary()), *words]))
        _join(nodes, buses)
        yield f"redis://{LOCALHOST}:{nodes[0]}/0"
    finally:
        for process in running:
            process.kill()
            process.wait()


def _join(nodes: list[int], buses: list[int]) -> None:
    clients = [redis.Redis(host=LOCALHOST, port=port, decode_responses=True) for port in nodes]
    deadline = time.monotonic() + READY_S
    for client in clients:
        while not _answers(client):
            assert time.monotonic() < deadline, "a node of the cluster does not answer"
            time.sleep(0.05)
    edges = np.linspace(0, SLOTS, NODES + 1).astype(int).tolist()
    for client, first, end in zip(clients, edges, edges[1:], strict=False):
        client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
    for port, bus in zip(nodes[1:], buses[1:], strict=True):
        clients[0].execute_command("CLUSTER MEET", LOCALHOST, port, bus)
    while not all(client.cluster("INFO")["cluster_known_nodes"] == "3" and _is_whole(client) for client in clients):
        assert time.monotonic() < deadline, "the cluster does not come together"
        time.sleep(0.05)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _is_whole(client: redis.Redis) -> bool:
    return str(client.cluster("INFO")["cluster_state"]) == "ok"


def test_what_is_checkpointed_is_read_back_whatever_the_node(
    cluster_url: str, application_id: str, rng: np.random.Generator
) -> None:
    nodes = set()
    for deployment in range(6):
        client = connect(cluster_url, cluster=True)
        name = f"{application_id}-{deployment}"
        worker = Worker(client, name)
        worker.store.check_server()
        worker.state.add(*(f"s{i}" for i in range(300)))
        for _ in range(3):
            worker.state.close_tick(rng)
            worker.checkpoint()
        other = Worker(connect(cluster_url, cluster=True), name)
        assert other.resume() is not None
        assert str(other.state.facts()) == str(worker.state.facts())
        other.store.release(other.token)
        nodes.add(client.get_node_from_key(PartitionKeys(client, name, "s", 0).prefix).name)
        other.store.forget("s", 0)
        assert not list(client.scan_iter(match="*"))
    assert len(nodes) > 1, "all six came to the same node: nothing was tried"


def test_a_cluster_that_is_configured_as_one_node_is_named(cluster_url: str) -> None:
    def start_several() -> None:  # some of them lie on other nodes
        for deployment in range(20):
            Worker(connect(cluster_url), f"d{deployment}")

    with pytest.raises(StoreUnavailable, match=r"set redis\.cluster = true"):
        start_several()


def test_one_node_that_is_configured_as_a_cluster_is_named(redis_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"set redis\.cluster = false"):
        Worker(connect(redis_url, cluster=True), "d")


def test_a_cluster_that_is_away_is_waited_for_like_any_store() -> None:
    client = connect(f"redis://{LOCALHOST}:1/0", cluster=True, timeout_s=0.5)  # nothing is sent yet
    with pytest.raises(StoreUnavailable):
        Worker(client, "d")
