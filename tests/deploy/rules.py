"""What must be true of the manifests, one rule a function: each yields a sentence for whatever is not so.

They judge rendered objects alone; what tidecast can do comes from its own command line and settings.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate

from deploy.rendering import Object, one, pod_templates
from stream_app.errors import TidecastError
from stream_app.kafka.topics import wanted
from stream_app.settings import Settings
from tests.deploy.commands import parsed, settings_of

KUBERNETES = "1.34"
CUSTOM = ("keda.sh", "kafka.strimzi.io", "monitoring.coreos.com")  # judged by a real API server, in prove-deploy
SETTING = "TIDECAST__"
MARGIN_S = 5
SHOWN = ("input", "forecasts", "accuracy", "drift", "dead_letters")  # by the live page
# Made by the cluster or by a person: docs/OPERATIONS.md says how.
OUTSIDE = {"tidecast-redis", "tidecast-api-token", "redis-ca", "kafka-cluster-ca-cert"}
Rule = Callable[[list[Object]], Iterator[str]]


def schema(found: list[Object]) -> Iterator[str]:
    for each in found:
        if not each["apiVersion"].split("/")[0].endswith(CUSTOM):
            try:
                kubernetes_validate.validate(each, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{each['kind']} {each['metadata'].get('name')}: {error.message}"


def confinement(found: list[Object]) -> Iterator[str]:
    """Restricted pod security, and a root that nobody writes to."""
    for where, template in pod_templates(found).items():
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{where} mounts a token of the API server"
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            yield f"{where} may run as root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{where} has no seccomp profile"
        if any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{where} shares something of its host"
        for container in spec["containers"]:
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{where} can gain rights"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where} can write to its root"
            if own.get("capabilities", {}).get("drop") != ["ALL"] or "add" in own.get("capabilities", {}):
                yield f"{where} keeps capabilities"
            if not re.fullmatch(r"[\w./-]+:\d[\w.-]*", container["image"]):
                yield f"{where} has an image without a version: {container['image']}"
            resources = container.get("resources", {})
            if not resources.get("limits", {}).get("memory") or not resources.get("requests", {}).get("cpu"):
                yield f"{where} asks for nothing, or has no limit"
    for each in found:
        level = each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
        if each["kind"] == "Namespace" and level != "restricted":
            yield f"namespace {each['metadata']['name']} does not enforce restricted pods"
        if each["kind"] == "ServiceAccount" and each.get("automountServiceAccountToken") is not False:
            yield f"service account {each['metadata']['name']} hands out a token"


def selectors(found: list[Object]) -> Iterator[str]:
    """Whoever chooses pods by labels finds some."""
    labels = {where: template["metadata"]["labels"] for where, template in pod_templates(found).items()}
    for each in found:
        spec = each.get("spec") or {}
        chosen = [spec[key] for key in ("selector", "podSelector") if key in spec]
        if each["kind"] == "Deployment":
            constraints = spec["template"]["spec"].get("topologySpreadConstraints", [])
            chosen += [constraint["labelSelector"] for constraint in constraints]
            own = spec["template"]["metadata"]["labels"]
            if not spec["selector"]["matchLabels"].items() <= own.items():
                yield f"Deployment {each['metadata']['name']} does not select its own pods"
        for selector in chosen:
            wanted_labels = selector.get("matchLabels", {})
            if not any(wanted_labels.items() <= of_pod.items() for of_pod in labels.values()):
                yield f"{each['kind']} {each['metadata']['name']} selects {wanted_labels}, which no pod has"


def references(found: list[Object]) -> Iterator[str]:
    """Every volume, account, configuration and secret that a pod names is there, or said to come from outside."""
    there = {(each["kind"], each["metadata"]["name"]) for each in found}
    secrets = OUTSIDE | {name for kind, name in there if kind in ("Secret", "KafkaUser")}
    for where, template in pod_templates(found).items():
        spec = template["spec"]
        named = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in spec.get("volumes", ()):
            if "configMap" in volume:
                named.append(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                named.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            if "secret" in volume and volume["secret"]["secretName"] not in secrets:
                yield f"{where} mounts the secret {volume['secret']['secretName']}, which nobody makes"
        for container in spec["containers"]:
            named += [("ConfigMap", each["configMapRef"]["name"]) for each in container.get("envFrom", ())]
            volumes = {volume["name"] for volume in spec.get("volumes", ())}
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in volumes:
                    yield f"{where} mounts {mount['name']}, which is no volume of it"
        for kind, name in named:
            if (kind, name) not in there:
                yield f"{where} names the {kind} {name}, which is not there"


def ports(found: list[Object]) -> Iterator[str]:
    """Probes, monitors and holes use ports that the worker serves, and paths that it answers."""
    template = pod_templates(found)["Deployment/tidecast-worker"]
    (container,) = template["spec"]["containers"]
    served = {port["name"]: port["containerPort"] for port in container["ports"]}
    if served.get("http") != configuration(found).http.port:
        yield f"the worker serves port {configuration(found).http.port}, the container names {served}"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        if asked["path"] != path or asked["port"] not in {*served, *served.values()}:
            yield f"{probe} asks {asked}"
    page = pod_templates(found)["Deployment/tidecast-api"]["spec"]["containers"][0]
    of_page = configuration(found, "Deployment/tidecast-api").api
    if [each["containerPort"] for each in page["ports"]] != [of_page.port] or of_page.host != "0.0.0.0":
        yield f"the API serves {of_page.host}:{of_page.port}, the container names {page['ports']}"
    for each in found:
        if each["kind"] == "Service":
            for port in each["spec"]["ports"]:
                if (port["port"], port["targetPort"]) != (of_page.port, page["ports"][0]["name"]):
                    yield f"Service {each['metadata']['name']} leads to {port}, the API serves {of_page.port}"
        if each["kind"] == "PodMonitor":
            for endpoint in each["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in served or endpoint["path"] != "/metrics":
                    yield f"PodMonitor {each['metadata']['name']} scrapes {endpoint}"
        if each["kind"] == "NetworkPolicy":
            for rule in each["spec"].get("ingress", ()):
                for port in rule["ports"]:
                    if port["port"] not in {*served, *served.values(), of_page.port}:
                        yield f"NetworkPolicy {each['metadata']['name']} opens {port['port']}, which nothing serves"


def times(found: list[Object]) -> Iterator[str]:
    """A worker gets the time that its own deadlines may take."""
    limits = configuration(found).limits
    deployment = one(found, "Deployment", "tidecast-worker")
    spec = deployment["spec"]["template"]["spec"]
    needed_s = (limits.shutdown_deadline + limits.transaction_timeout) / 1000 + MARGIN_S
    if spec.get("terminationGracePeriodSeconds", 30) < needed_s:
        yield f"terminationGracePeriodSeconds is below {needed_s:g}: drain and transaction timeout"
    (container,) = spec["containers"]
    live = container["livenessProbe"]
    if live["periodSeconds"] * live["failureThreshold"] <= limits.liveness_deadline / 1000:
        yield "livenessProbe kills a worker before limits.liveness_deadline lets it say why it stands still"
    if deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] != 0:
        yield "maxSurge: a worker more than there are partitions never becomes ready, and the rollout waits for it"
    budget = one(found, "PodDisruptionBudget", "tidecast-worker")["spec"]
    if budget.get("maxUnavailable") != 1:
        yield "PodDisruptionBudget: expected maxUnavailable 1, so that a drain goes on with one worker as well"


def scaling(found: list[Object]) -> Iterator[str]:
    """KEDA takes texts only, and must ask about the group and topic that the workers have."""
    for each in (each for each in found if each["kind"] == "ScaledObject"):
        settings, spec = configuration(found), each["spec"]
        if "replicas" in one(found, "Deployment", "tidecast-worker")["spec"]:
            yield "the Deployment sets replicas, which KEDA sets"
        if spec["scaleTargetRef"]["name"] not in {o["metadata"]["name"] for o in found if o["kind"] == "Deployment"}:
            yield "scaleTargetRef names no Deployment"
        if spec["minReplicaCount"] < 1:
            yield "minReplicaCount is below 1"
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        if down["stabilizationWindowSeconds"] < 300:
            yield "scaleDown has no window"
        (trigger,) = spec["triggers"]
        metadata = trigger["metadata"]
        if unquoted := [key for key, value in metadata.items() if not isinstance(value, str)]:
            yield f"metadata of KEDA are texts: quote {', '.join(unquoted)}"
        expected = {
            "consumerGroup": settings.application_id,
            "bootstrapServers": settings.kafka.bootstrap_servers,
            "excludePersistentLag": "true",
        }
        for key, value in expected.items():
            if metadata.get(key) != value:
                yield f"KEDA's {key} is {metadata.get(key)!r}, the workers have {value!r}"
        topics = {o["metadata"]["name"]: o["spec"]["partitions"] for o in found if o["kind"] == "KafkaTopic"}
        if metadata.get("topic") not in {stream.topic for stream in settings.streams.values()}:
            yield f"KEDA watches the topic {metadata.get('topic')}, which no stream reads"
        if spec["maxReplicaCount"] > topics.get(metadata.get("topic"), spec["maxReplicaCount"]):
            yield "maxReplicaCount is above the partitions: a worker too many is never ready"


def topics_and_users(found: list[Object]) -> Iterator[str]:
    """Strimzi makes the topics that `tidecast topics create` would, and lets each user do what it does and no more."""
    made = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "KafkaTopic"}
    users = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "KafkaUser"}
    if not made:
        return
    settings = configuration(found)
    for name, stream in settings.streams.items():
        source = made.get(stream.topic, {"partitions": 0, "config": {"retention.ms": 0}})
        retention_ms = source["config"]["retention.ms"]
        for topic in wanted(name, stream, partitions=source["partitions"], retention_ms=retention_ms):
            is_made = made.get(topic.topic)
            if is_made is None:
                yield f"there is no KafkaTopic {topic.topic}"
            elif (is_made["partitions"], is_made["config"]["cleanup.policy"]) != (topic.partitions, topic.cleanup):
                yield f"KafkaTopic {topic.topic} is not as `tidecast topics create` makes it"
            elif topic.role in ("input", "journal") and is_made["config"]["retention.ms"] != topic.retention_ms:
                yield f"KafkaTopic {topic.topic} is not kept as long as the input"
            elif is_made["replicas"] < 3 or is_made["config"]["min.insync.replicas"] < 2:
                yield f"KafkaTopic {topic.topic} can lose what was acknowledged"
        outputs = {t.topic for t in wanted(name, stream, partitions=1, retention_ms=1) if t.role != "input"}
        yield from _rights("tidecast-worker", users, reads={stream.topic, f"{name}.journal"}, writes=outputs)
        shown = {t.topic for t in wanted(name, stream, partitions=1, retention_ms=1) if t.role in SHOWN}
        yield from _rights("tidecast-api", users, reads=shown, writes=set())
        yield from _rights("tidecast-train", users, reads={stream.topic, f"{name}.control"}, writes=set())
        yield from _rights("tidecast-producer", users, reads=set(), writes={stream.topic})
        yield from _rights("tidecast-keda", users, reads=set(), writes=set())


def _rights(user: str, users: dict[str, Any], *, reads: set[str], writes: set[str]) -> Iterator[str]:
    acls = users[user]["authorization"]["acls"]
    on_topics = [acl for acl in acls if acl["resource"]["type"] == "topic"]
    for operation, expected in (("Read", reads), ("Write", writes)):
        given = {acl["resource"]["name"] for acl in on_topics if operation in acl["operations"]}
        if given != expected:
            yield f"KafkaUser {user} may {operation} {sorted(given)}, needs {sorted(expected)}"
    for acl in acls:
        kind, pattern = acl["resource"]["type"], acl["resource"].get("patternType")
        too_much = {"All", "Alter", "Create", "Delete"} & set(acl["operations"])
        if kind == "cluster" or "*" in acl["resource"].get("name", "") or too_much:
            yield f"KafkaUser {user} may do more than it must: {acl}"
        if pattern == "prefix" and kind != "transactionalId":
            yield f"KafkaUser {user} has a right on more names than it must: {acl}"


def network(found: list[Object]) -> Iterator[str]:
    """Everything is denied, and what the workers need is let through by port."""
    policies = [each for each in found if each["kind"] == "NetworkPolicy"]
    if not policies:
        return
    denies = [p for p in policies if p["spec"]["podSelector"] == {} and not {"ingress", "egress"} & p["spec"].keys()]
    if not any(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in denies):
        yield "nothing denies by default"
    for policy in policies:
        for way, side in (("ingress", "from"), ("egress", "to")):
            if any(not rule.get(side) or not rule.get("ports") for rule in policy["spec"].get(way, ())):
                yield f"NetworkPolicy {policy['metadata']['name']} opens more than it names"
    for where, template in pod_templates(found).items():
        labels = template["metadata"]["labels"]
        own = [p["spec"] for p in policies if p["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()]
        opened = {port["port"] for spec in own for rule in spec.get("egress", ()) for port in rule.get("ports", ())}
        needed = connects(configuration(found, where), where)
        if opened != needed:
            yield f"{where} connects to the ports {sorted(needed)}, and is let out to {sorted(opened)}"


def connects(settings: Settings, where: str) -> set[int]:
    """The ports that a process connects to: tests/security sees which servers each does."""
    servers = {int(server.rsplit(":", 1)[1]) for server in settings.kafka.bootstrap_servers.split(",")}
    if where == "Deployment/tidecast-worker":
        servers.add(urlsplit(settings.redis.url).port or 6379)
    for address in (settings.schema_registry.url, settings.models.registry):
        if address and "://" in address:
            servers.add(urlsplit(address).port or 443)
    return servers | {53}


def commands(found: list[Object]) -> Iterator[str]:
    """Commands, files and settings that containers name are those of tidecast."""
    for where, template in pod_templates(found).items():
        (container,) = template["spec"]["containers"]
        try:
            given = parsed(container["args"])
        except BaseException as error:  # noqa: BLE001 - typer's usage errors are no common class
            yield f"{where}: `tidecast {' '.join(container['args'])}`: {error}"
            continue
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        if str(given["config"].parent) not in mounts:
            yield f"{where} reads {given['config']}, where nothing is mounted"
        for variable in container["env"]:
            if variable["name"] == f"{SETTING}INSTANCE_ID":
                yield f"{where} sets instance_id: static members do not leave the group when it shrinks"
            value = str(variable.get("value", ""))
            if value.startswith("/") and str(Path(value).parent) not in mounts:
                yield f"{where}: {variable['name']} is {value}, where nothing is mounted"
        try:
            configuration(found, where)
        except TidecastError as error:
            yield f"{where}: {error}"


def configuration(found: list[Object], where: str = "Deployment/tidecast-worker") -> Settings:
    """What `tidecast` would load there; secrets are stood in for."""
    maps = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}
    template = pod_templates(found)[where]
    (container,) = template["spec"]["containers"]
    environment = {}
    for source in container.get("envFrom", ()):
        environment |= maps.get(source["configMapRef"]["name"], {})
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("redis://worker:secret@redis:6379/0")
        for variable in container["env"]:
            value = variable.get("value", "")
            is_secret = variable["name"].startswith(SETTING) and variable["name"].endswith("_FILE")
            environment[variable["name"]] = str(secret) if is_secret else value
        file = Path(folder) / "tidecast.toml"
        file.write_text(next(data["tidecast.toml"] for data in maps.values() if "tidecast.toml" in data))
        return settings_of(file, environment)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        *(schema, confinement, selectors, references, ports, times, scaling, topics_and_users, network),
        commands,
    )
}
