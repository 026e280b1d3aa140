"""deploy/k8s on a real API server: overlays taken, broken ones refused, prod rolled out, drained and rolled back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.prove.cluster import NODES, Cluster
from deploy.prove.programs import expect, get, wait_for
from deploy.rendering import OVERLAYS, Object, objects, one, rendered

STRICT = ("--dry-run=server", "--validate=strict")
PROD = ("--namespace", "tidecast")
WORKERS = "app.kubernetes.io/component=worker"
ARGS = "{.spec.template.spec.containers[0].args}"
# As docs/OPERATIONS.md has it.
ROLLBACK = json.dumps(
    [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/args",
            "value": ["models", "rollback", "--config", "/etc/tidecast/tidecast.toml"],
        }
    ]
)
# Registries are volumes that a cluster provides; nodes that are played have none.
VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: models}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  hostPath: {path: /tmp/models}
"""


def prove(folder: Path) -> Iterator[str]:
    get("apiserver.sh", folder)
    get("crds.sh", folder / "crds")
    with Cluster(folder) as cluster:
        for operator in ("keda", "prometheus-operator", "strimzi"):
            cluster.kubectl("apply", "--server-side", "-f", folder / "crds" / operator)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        yield from taken(cluster)
        yield from refusals(cluster)
        yield from rollout(cluster)


def taken(cluster: Cluster) -> Iterator[str]:
    version = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    for overlay in OVERLAYS:
        for each in objects(overlay):
            if each["kind"] == "Namespace":
                cluster.apply(yaml.safe_dump(each))
        said = cluster.apply(rendered(overlay), *STRICT)
        expect("Warning" not in said, f"the API server warns about {overlay}: {said}")
        count = len(said.splitlines())
        yield f"kube-apiserver {version} takes {overlay} ({' '.join(STRICT)}): {count} objects, no warning"


def worker(found: list[Object]) -> Any:
    return one(found, "Deployment", "tidecast-worker")["spec"]


def scaled(found: list[Object]) -> Any:
    return one(found, "ScaledObject", "tidecast-worker")["spec"]


def rights(found: list[Object]) -> Any:
    return one(found, "KafkaUser", "tidecast-train")["spec"]["authorization"]["acls"]


# What is broken → (the kind that carries it, the change, a word of the refusal)
BROKEN: dict[str, tuple[str, Callable[[list[Object]], Any], str]] = {
    "a misspelt field": ("Deployment", lambda all: worker(all).update(replica=2), "unknown field"),
    "a bad quantity": (
        "Deployment",
        lambda all: worker(all)["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="2Gb"),
        "quantities",
    ),
    "a selector that misses its own pods": (
        "Deployment",
        lambda all: worker(all)["selector"]["matchLabels"].update({"app.kubernetes.io/component": "workers"}),
        "selector",
    ),
    "a rollout that can never go on": (
        "Deployment",
        lambda all: worker(all)["strategy"]["rollingUpdate"].update(maxUnavailable=0),
        "maxUnavailable",
    ),
    "a probe of a port without a name": (
        "Deployment",
        lambda all: worker(all)["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"].update(port="-"),
        "port",
    ),
    "a mount of no volume": (
        "Deployment",
        lambda all: worker(all)["template"]["spec"]["containers"][0]["volumeMounts"][0].update(name="other"),
        "Not found",
    ),
    "a schedule that is none": (
        "CronJob",
        lambda all: one(all, "CronJob", "tidecast-train")["spec"].update(schedule="nightly"),
        "schedule",
    ),
    "a number where KEDA takes texts": (
        "ScaledObject",
        lambda all: scaled(all)["triggers"][0]["metadata"].update(lagThreshold=200_000),
        "lagThreshold",
    ),
    "an unknown field of KEDA": ("ScaledObject", lambda all: scaled(all).update(minReplicas=1), "unknown field"),
    "a right that Kafka does not have": (
        "KafkaUser",
        lambda all: one(all, "KafkaUser", "tidecast-train")["spec"]["authorization"]["acls"][0].update(
            operations=["Look"]
        ),
        "Look",
    ),
    "a topic of half a partition": (
        "KafkaTopic",
        lambda all: one(all, "KafkaTopic", "meters.journal")["spec"].update(partitions=0.5),
        "partitions",
    ),
    "a monitor that names its port twice": (
        "PodMonitor",
        lambda all: one(all, "PodMonitor", "tidecast-worker")["spec"]["podMetricsEndpoints"][0].update(ports="http"),
        "unknown field",
    ),
    "a hole of a protocol that is none": (
        "NetworkPolicy",
        lambda all: one(all, "NetworkPolicy", "tidecast-to-kafka")["spec"]["egress"][0]["ports"][0].update(
            protocol="KAFKA"
        ),
        "protocol",
    ),
}


def refusals(cluster: Cluster) -> Iterator[str]:
    for what, (kind, change, word) in BROKEN.items():
        found = objects("prod")
        change(found)
        text = yaml.safe_dump_all([each for each in found if each["kind"] == kind])
        said = cluster.apply(text, *STRICT, code=None)
        expect(word in said and ("rror" in said or "invalid" in said), f"expected a refusal of {what}, found {said}")
    yield f"it refuses {len(BROKEN)} broken variants: {', '.join(BROKEN)}"
    # What a Deployment may say and its pods may not: the namespace enforces it when pods are made.
    found = objects("prod")
    template = worker(found)["template"]
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    metadata = {"name": "loose", "namespace": "tidecast", "labels": template["metadata"]["labels"]}
    spec = {name: value for name, value in template["spec"].items() if name != "topologySpreadConstraints"}
    pod = yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    for account in (each for each in found if each["kind"] == "ServiceAccount"):
        cluster.apply(yaml.safe_dump(account))
    said = cluster.apply(pod, *STRICT, code=None)
    expect("violates PodSecurity" in said, f"expected the namespace to refuse a pod that can gain rights, found {said}")
    yield "the namespace refuses a pod of ours that could gain rights (restricted pod security)"


def pods(cluster: Cluster) -> list[Any]:
    """Those of the workers that are not on their way out."""
    listed = json.loads(cluster.kubectl(*PROD, "get", "pods", "-l", WORKERS, "-o", "json"))["items"]
    return [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]


def rolled_out(cluster: Cluster) -> None:
    cluster.kubectl(*PROD, "rollout", "status", "deployment/tidecast-worker", "--timeout=90s")


def rollout(cluster: Cluster) -> Iterator[str]:
    cluster.apply(VOLUME)
    cluster.apply(rendered("prod"))
    cluster.kubectl(*PROD, "scale", "deployment/tidecast-worker", "--replicas=3")  # as KEDA's autoscaler would
    rolled_out(cluster)
    where = {pod["spec"]["nodeName"] for pod in pods(cluster)}
    expect(where == set(NODES), f"expected three workers on three nodes, found them on {where}")
    yield "prod rolls out under restricted pod security; three workers spread over three nodes and zones"
    yield from drain(cluster)
    yield from change_and_back(cluster)
    cluster.kubectl(*PROD, "create", "job", "now", "--from=cronjob/tidecast-train")
    cluster.kubectl(*PROD, "wait", "--for=condition=complete", "job/now", "--timeout=60s")
    yield "training runs at once by `kubectl create job now --from=cronjob/tidecast-train`"
    made = ("create", "job", "rollback", "--from=cronjob/tidecast-train", "--dry-run=client", "-o", "yaml")
    cluster.apply(cluster.patched(cluster.kubectl(*PROD, *made), ROLLBACK))
    cluster.kubectl(*PROD, "wait", "--for=condition=complete", "job/rollback", "--timeout=60s")
    (words,) = json.loads(cluster.kubectl(*PROD, "get", "job/rollback", "-o", f"jsonpath=[{ARGS}]"))
    expect(words[:2] == ["models", "rollback"], f"expected a job that rolls the model back, found {words}")
    yield "a job made of the CronJob, with other words, rolls a model back, as docs/OPERATIONS.md says"


def drain(cluster: Cluster) -> Iterator[str]:
    """With no node left for the replacement, the second drain must wait for it."""
    drain = ("drain", "--ignore-daemonsets", "--delete-emptydir-data")
    cluster.kubectl("cordon", *NODES)
    cluster.kubectl(*drain, NODES[0], "--timeout=60s")
    said = cluster.kubectl(*drain, NODES[1], "--timeout=8s", code=None)
    expect("disruption budget" in said, f"expected the budget to hold the second drain up, found {said}")
    expect(sum(bool(pod["spec"].get("nodeName")) for pod in pods(cluster)) == 2, "expected two workers to be left")
    yield "a node drains; a second one waits for the disruption budget while the first worker has no new place"
    cluster.kubectl("uncordon", NODES[0])
    rolled_out(cluster)
    cluster.kubectl(*drain, NODES[1], "--timeout=60s")
    cluster.kubectl("uncordon", *NODES)
    rolled_out(cluster)
    yield "when it has one, the second drain goes on"


def change_and_back(cluster: Cluster) -> Iterator[str]:
    """A changed configuration rolls the workers, never more of them than before, and is taken back."""
    before = _environment(cluster)
    text = rendered("prod").replace(before, f"{before[:-3]}new")
    data = next(
        each
        for each in yaml.safe_load_all(text)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("new")
    )
    cluster.apply(text)
    cluster.apply(yaml.safe_dump(data | {"data": data["data"] | {"TIDECAST__LOG_LEVEL": "debug"}}))
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(pods(cluster)))
        status = json.loads(cluster.kubectl(*PROD, "get", "deployment/tidecast-worker", "-o", "json"))["status"]
        return status.get("updatedReplicas") == 3 and status.get("readyReplicas") == 3 and status["replicas"] == 3

    wait_for(done, "the changed configuration is rolled out", 90)
    expect(_environment(cluster).endswith("new"), "expected the new configuration")
    expect(most <= 3, f"expected at most three workers at a time, found {most}")
    yield "a changed configuration rolls the workers one by one, never more than three at a time"
    cluster.kubectl(*PROD, "rollout", "undo", "deployment/tidecast-worker")
    rolled_out(cluster)
    expect(_environment(cluster) == before, "expected the configuration from before")
    yield "`kubectl rollout undo` brings the configuration from before back"


def _environment(cluster: Cluster) -> str:
    path = "{.spec.template.spec.containers[0].envFrom[0].configMapRef.name}"
    return cluster.kubectl(*PROD, "get", "deployment/tidecast-worker", "-o", f"jsonpath={path}")
