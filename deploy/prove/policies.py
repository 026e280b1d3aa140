"""The network policies of `prod`, enforced by kube-router in a real kernel.

Pods are Kubernetes' (a real control plane, a node played by kwok), each with a network namespace that has its address.
Every pod tries every port of every other one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import yaml

from deploy.prove import reaching
from deploy.prove.cluster import Cluster
from deploy.prove.networks import own_network, pod_network
from deploy.prove.programs import Unproven, expect, get, require, run, wait_for
from deploy.rendering import Object, objects, one

PROGRAMS = {"ip": "iproute2", "ipset": "ipset", "iptables": "iptables"}
KUBE_ROUTER = ("kube-router", "2.1.0", "github.com/cloudnativelabs/kube-router/v2", "cmd/kube-router")
NODE, NODE_ADDRESS, PODS = "n1", "10.200.0.1", "10.244.0.1/24"
DNS, REDIS, PLAIN_KAFKA, KAFKA, METRICS, PAGE, OTHER = PORTS = (53, 6379, 9092, 9093, 9464, 9480, 8080)
ENFORCED_S = 60

# Whose pods are ours: name → the kind of object that has their template.
OURS = {"worker": "Deployment", "api": "Deployment", "train": "CronJob"}
# Who else is in the cluster: name → namespace and labels.
OTHERS = {
    "kafka": ("kafka", {"strimzi.io/cluster": "kafka"}),
    "beside-kafka": ("kafka", {}),
    "redis": ("redis", {}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "beside-dns": ("kube-system", {}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "beside-prometheus": ("monitoring", {}),
    "ingress": ("ingress", {}),
    "stranger": ("default", {}),
}
Way = tuple[str, str, str]  # from, to, "port/protocol"
# All that is open where one of ours is at an end.
HOLES: set[Way] = {
    *((name, "dns", f"{DNS}/{protocol}") for name in OURS for protocol in ("TCP", "UDP")),
    *((name, "kafka", f"{KAFKA}/TCP") for name in OURS),
    ("worker", "redis", f"{REDIS}/TCP"),
    ("ingress", "api", f"{PAGE}/TCP"),
    ("prometheus", "worker", f"{METRICS}/TCP"),
}


def prove(folder: Path) -> Iterator[str]:
    require(PROGRAMS, "it makes network namespaces")
    get("apiserver.sh", folder)
    get("go_program.sh", folder, *KUBE_ROUTER)
    options = {"node-ip": NODE_ADDRESS, "cidr": PODS}
    with own_network(NODE_ADDRESS), Cluster(folder, (NODE,), options) as cluster, ExitStack() as networks:
        populate(cluster)
        found = wait_for(lambda: addresses(cluster), "all pods run and have an address")
        pods = {name: networks.enter_context(pod(name, address)) for name, address in found.items()}
        everything = {(a, b, f"{port}/{p}") for a, b in permutations(pods, 2) for port in PORTS for p in ("TCP", "UDP")}
        expect(reached(pods) == everything, "expected every port of every pod to be open without policies")
        yield f"{len(pods)} pods serve {len(PORTS)} ports: without policies all {len(everything):,} ways are open"
        policies = [each for each in objects("prod") if each["kind"] == "NetworkPolicy"]
        cluster.apply(yaml.safe_dump_all(policies))
        cluster.enforce(NODE)
        expected = {way for way in everything if way in HOLES or not {way[0], way[1]} & OURS.keys()}
        settled(pods, expected)
        closed = len(everything) - len(expected)
        yield f"kube-router enforces {len(policies)} policies of prod: {len(HOLES)} holes open, {closed:,} ways closed"
        probed = {f"{pods['worker'].address}:{METRICS}/TCP", f"{pods['api'].address}:{PAGE}/TCP"}
        expect(set(answering([], sorted(probed))) == probed, "expected the node to reach the ports of its probes")
        yield "the node, where kubelets probe from, reaches worker and page"
        yield from without(cluster, pods, policies, expected)


def populate(cluster: Cluster) -> None:
    """Pods of the overlay's templates, and the others."""
    ours = objects("prod")
    cluster.apply(yaml.safe_dump_all(each for each in ours if each["kind"] == "Namespace"))
    cluster.apply(yaml.safe_dump_all(each for each in ours if each["kind"] == "ServiceAccount"))
    for name, kind in OURS.items():
        spec: Any = one(ours, kind, f"tidecast-{name}")["spec"]
        template = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]
        run_pod(cluster, name, "tidecast", template["metadata"]["labels"], template["spec"])
    for name, (namespace, labels) in OTHERS.items():
        cluster.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
        run_pod(cluster, name, namespace, labels, {"containers": [{"name": "one", "image": "any"}]})


def run_pod(cluster: Cluster, name: str, namespace: str, labels: dict[str, str], spec: Object) -> None:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    placed = spec | {"nodeName": NODE}
    cluster.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": placed}))


def addresses(cluster: Cluster) -> dict[str, str]:
    """Of all pods by their names, once all have one; empty before."""
    listed = json.loads(cluster.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    found = {each["metadata"]["name"]: each["status"].get("podIP") for each in listed}
    return found if found.keys() == OURS.keys() | OTHERS.keys() and all(found.values()) else {}


@dataclass(frozen=True)
class Pod:
    address: str
    within: list[str]  # the words that run a command in its network


@contextmanager
def pod(name: str, address: str) -> Iterator[Pod]:
    """It serves all ports."""
    with pod_network(name, address) as within:
        words = [*within, sys.executable, reaching.__file__, "serve", *map(str, PORTS)]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                expect(server.stdout.readline().strip() == "serving", f"expected {name} to serve")
                yield Pod(address, within)
            finally:
                server.terminate()


def reached(pods: dict[str, Pod]) -> set[Way]:
    """Every way that is open: each pod asks all ports of all others."""
    ways: set[Way] = set()
    for name, asking in pods.items():
        names = {other.address: to for to, other in pods.items() if to != name}
        targets = [f"{host}:{port}/{protocol}" for host in names for port in PORTS for protocol in ("TCP", "UDP")]
        for target in answering(asking.within, targets):
            host, _, port = target.partition(":")
            ways.add((name, names[host], port))
    return ways


def answering(within: Sequence[str], targets: Sequence[str]) -> list[str]:
    return run([*within, sys.executable, reaching.__file__, "reach", *targets]).split()


def settled(pods: dict[str, Pod], expected: set[Way]) -> None:
    """What is open is what is expected, within the time that rules take to be written."""
    found: set[Way] = set()

    def same() -> bool:
        nonlocal found
        found = reached(pods)
        return found == expected

    try:
        wait_for(same, "the rules are written", ENFORCED_S)
    except Unproven as late:
        wrong = {"open": sorted(found - expected)[:5], "closed": sorted(expected - found)[:5]}
        raise Unproven(f"expected the holes alone, found wrongly {wrong}") from late


def without(cluster: Cluster, pods: dict[str, Pod], policies: list[Object], expected: set[Way]) -> Iterator[str]:
    """Controls: a hole that is taken away is closed, and without the default there is no wall."""
    hole = one(policies, "NetworkPolicy", "tidecast-worker-to-redis")
    cluster.kubectl("--namespace=tidecast", "delete", "networkpolicy", hole["metadata"]["name"])
    settled(pods, expected - {("worker", "redis", f"{REDIS}/TCP")})
    cluster.apply(yaml.safe_dump(hole))
    settled(pods, expected)
    yield "without the policy that leads to Redis the worker does not reach it, with it again it does"
    wall = one(policies, "NetworkPolicy", "default-deny")
    cluster.kubectl("--namespace=tidecast", "delete", "networkpolicy", wall["metadata"]["name"])
    wait_for(
        lambda: ("stranger", "train", f"{OTHER}/TCP") in reached(pods), "without the default a stranger comes in", 60
    )
    yield "without default-deny a stranger reaches the training's pod: it is that policy which keeps it out"
