"""deploy/k8s, rendered: every rule holds for every overlay, and each rule refuses what is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deploy.prove.kubernetes import BROKEN as REFUSED
from deploy.rendering import K8S, OVERLAYS, Object, kustomize, objects, one
from tests.conftest import REPOSITORY
from tests.deploy.rules import RULES, configuration


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds(overlay: str, rule: str) -> None:
    assert list(RULES[rule](objects(overlay))) == []


def worker(found: list[Object]) -> Any:
    return one(found, "Deployment", "tidecast-worker")["spec"]


def container(found: list[Object]) -> Any:
    return worker(found)["template"]["spec"]["containers"][0]


def trigger(found: list[Object]) -> Any:
    return one(found, "ScaledObject", "tidecast-worker")["spec"]["triggers"][0]["metadata"]


# What somebody could get wrong → (the rule that must say so, the change)
BROKEN: dict[str, tuple[str, Callable[[list[Object]], Any]]] = {
    "a field with a typo": ("schema", lambda found: worker(found).update(replica=2)),
    "a quantity with a wrong unit": ("schema", lambda found: worker(found).update(minReadySeconds="5s")),
    "a container as root": (
        "confinement",
        lambda found: worker(found)["template"]["spec"]["securityContext"].update(runAsNonRoot=False),
    ),
    "a root that can be written to": (
        "confinement",
        lambda found: container(found)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    "an image without a version": ("confinement", lambda found: container(found).update(image="tidecast:latest")),
    "a selector that finds nothing": (
        "selectors",
        lambda found: one(found, "PodDisruptionBudget", "tidecast-worker")["spec"]["selector"]["matchLabels"].update(
            {"app.kubernetes.io/component": "workers"}
        ),
    ),
    "a configuration that is not there": (
        "references",
        lambda found: container(found)["envFrom"][0]["configMapRef"].update(name="tidecast-environment"),
    ),
    "a probe of another port": ("ports", lambda found: container(found)["readinessProbe"]["httpGet"].update(port=8080)),
    "a readiness probe that asks whether it lives": (
        "ports",
        lambda found: container(found)["readinessProbe"]["httpGet"].update(path="/livez"),
    ),
    "too little time to stop": (
        "times",
        lambda found: worker(found)["template"]["spec"].update(terminationGracePeriodSeconds=30),
    ),
    "a rollout that can wait for ever": (
        "times",
        lambda found: worker(found)["strategy"]["rollingUpdate"].update(maxSurge=1),
    ),
    "an unquoted value for KEDA": ("scaling", lambda found: trigger(found).update(lagThreshold=200_000)),
    "lag of another group": ("scaling", lambda found: trigger(found).update(consumerGroup="tidecast-2")),
    "replicas by two hands": ("scaling", lambda found: worker(found).update(replicas=2)),
    "a journal with too few partitions": (
        "topics_and_users",
        lambda found: one(found, "KafkaTopic", "meters.journal")["spec"].update(partitions=6),
    ),
    "a user that may read all": (
        "topics_and_users",
        lambda found: one(found, "KafkaUser", "tidecast-worker")["spec"]["authorization"]["acls"][0]["resource"].update(
            name="*"
        ),
    ),
    "no way out to Kafka": (
        "network",
        lambda found: one(found, "NetworkPolicy", "tidecast-to-kafka")["spec"]["egress"][0].update(
            ports=[{"protocol": "TCP", "port": 9092}]
        ),
    ),
    "a way to Redis for the live page, which asks it nothing": (
        "network",
        lambda found: one(found, "NetworkPolicy", "tidecast-worker-to-redis")["spec"].update(
            podSelector={"matchLabels": {"app.kubernetes.io/name": "tidecast"}}
        ),
    ),
    "a schema registry that nobody may reach": (
        "network",
        lambda found: one(found, "ConfigMap", "tidecast-environment")["data"].update(
            TIDECAST__SCHEMA_REGISTRY__URL="http://registry:8081"
        ),
    ),
    "no default": ("network", lambda found: found.remove(one(found, "NetworkPolicy", "default-deny"))),
    "a setting that does not exist": (
        "commands",
        lambda found: container(found)["env"].append({"name": "TIDECAST__KAFKA__SERVERS", "value": "kafka:9092"}),
    ),
    "a setting that nobody reads": (
        "commands",
        lambda found: container(found)["env"].append({"name": "TIDECAST_DEVICE", "value": "cpu"}),
    ),
    "a property that librdkafka does not have": (
        "commands",
        lambda found: container(found)["env"].append({"name": "TIDECAST__KAFKA__CLIENT__SASL_USER", "value": "me"}),
    ),
    "a setting that does not exist, in a configuration map": (
        "commands",
        lambda found: one(found, "ConfigMap", "tidecast-environment")["data"].update({"TIDECAST__LOGLEVEL": "debug"}),
    ),
    "an option that does not exist": ("commands", lambda found: container(found)["args"].append("--verbose")),
    "a fixed name for all workers": (
        "commands",
        lambda found: container(found)["env"].append({"name": "TIDECAST__INSTANCE_ID", "value": "worker"}),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_refused(what: str) -> None:
    rule, change = BROKEN[what]
    found = objects("prod")
    change(found)
    assert list(RULES[rule](found)), what


def test_the_page_about_operations_counts_them() -> None:
    text = (REPOSITORY / "docs" / "OPERATIONS.md").read_text()
    assert f"{len(BROKEN)} broken variants are refused" in text
    assert f"refuses {len(REFUSED)} broken variants" in text


def test_a_changed_configuration_rolls_the_workers() -> None:
    """The names of what is generated carry a hash of the content."""
    maps = [[each for each in objects(overlay) if each["kind"] == "ConfigMap"] for overlay in OVERLAYS]
    maps = [[each for each in found if "grafana_dashboard" not in each["metadata"].get("labels", {})] for found in maps]
    names = [{each["metadata"]["name"] for each in found} for found in maps]
    assert all(len(each) == 2 for each in names)
    assert names[0] != names[1]


def test_the_secrets_of_prod_are_not_in_its_manifests() -> None:
    settings = configuration(objects("prod"))
    client = settings.kafka.client
    assert client["security.protocol"] == "SASL_SSL"
    assert client["sasl.password"] == "redis://worker:secret@redis:6379/0"  # the text that stands in for a mounted file
    secrets = [each for each in objects("prod") if each["kind"] == "Secret"]
    assert [each["stringData"] for each in secrets] == [{"username": "tidecast-keda"}]


@pytest.mark.parametrize("component", sorted(path.name for path in (K8S / "components").iterdir()))
def test_each_component_is_rendered_somewhere(component: str) -> None:
    used = (K8S / "overlays" / "prod" / "kustomization.yaml").read_text()
    assert f"../../components/{component}" in used or component == "gpu"


def test_every_kustomization_stands_alone_or_is_a_component() -> None:
    assert "Deployment" in kustomize(K8S / "base")
