"""TidecastTrainingFails: a real control plane makes the CronJob's pods, and each is really run, on a real Kafka.

The CronJob is that of the overlay dev, each minute instead of each night. Kubernetes' own controllers judge its jobs
by the exit codes of `tidecast train`, and the real kube-state-metrics tells Prometheus of it. What stands in for
something is the kubelet of a node: the words of a pod are run as a process, with the addresses of this machine.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml

from deploy.prometheus.alerts import TRAINED_S
from deploy.prove.cluster import Cluster
from deploy.prove.firing import clears, fires, scaled
from deploy.prove.programs import expect, get, wait_for
from deploy.prove.watched import TIDECAST, Watched
from deploy.rendering import K8S, Object, objects, one
from stream_app.local_services.ports import free_port

SCALE = 1_920  # two days are 90 s, in which a training each minute keeps the alert silent
ALERT = "TidecastTrainingFails"
FAULT = "Kafka is away whenever the CronJob trains, from its first night or later"
CONFIGURATION = K8S / "base" / "tidecast.toml"
TOPIC, SERIES, TICKS, STEP_MS = "meters", 4, 2_400, 900_000
DEV = ("--namespace", "tidecast-dev")
PODS = "app.kubernetes.io/component=train"
NIGHT_S = 60
FIRE_S, TRAIN_S = TRAINED_S / SCALE + 60, 90


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    get("apiserver.sh", folder)
    get("go_program.sh", folder, "kube-state-metrics", "2.13.0", "k8s.io/kube-state-metrics/v2")
    rules = scaled(SCALE).replace(f"> {TRAINED_S}", f"> {TRAINED_S // SCALE}")
    port = free_port()
    with (
        Cluster(folder, nodes=()) as cluster,
        Watched(folder, rules, CONFIGURATION, beside={"kube-state-metrics": port}) as stage,
        Kubelet(cluster, stage) as kubelet,
    ):
        cluster.watch(port)
        stage.send_keyed(TOPIC, readings())
        yield from story(cluster, stage, kubelet)


def story(cluster: Cluster, stage: Watched, kubelet: Kubelet) -> Iterator[str]:
    stage.services.kafka.kill()
    apply(cluster, every_minute(objects("dev")))
    wait_for(lambda: stage.query("kube_cronjob_created"), "Prometheus sees the CronJob", FIRE_S)
    fired_s = fires(stage, ALERT, within_s=FIRE_S)
    expect(set(kubelet.codes) == {2}, f"expected each training to end with 2, found {kubelet.codes}")
    yield (
        f"durations divided by {SCALE:,}; Kafka is away from the first night on: {len(kubelet.codes)} trainings end "
        f"with 2, and {ALERT} fires {fired_s:.0f} s after the CronJob was made"
    )
    stage.services.kafka.start()
    by_hand(cluster)
    cleared_s = clears(stage, ALERT, within_s=TRAIN_S)
    yield f"`kubectl create job now --from=cronjob/tidecast-train`, with Kafka there: it ends {cleared_s:.0f} s later"
    by_hand_s = succeeded(stage)
    wait_for(lambda: succeeded(stage) > by_hand_s, "the CronJob trains by itself", NIGHT_S + TRAIN_S)
    stage.services.kafka.kill()
    fired_s = fires(stage, ALERT, within_s=FIRE_S + TRAIN_S)
    stage.services.kafka.start()
    cleared_s = clears(stage, ALERT, within_s=NIGHT_S + TRAIN_S)
    yield (
        f"Kafka is killed after a night that went well: it fires after {fired_s:.0f} s, and ends {cleared_s:.0f} s "
        "after Kafka is back, by the next night's training"
    )


def readings() -> Iterator[tuple[str, str]]:
    """Weeks of a daily course, which end now."""
    rng, now_ms = np.random.default_rng(4), int(datetime.now(UTC).timestamp() * 1000)
    first_ms = now_ms // STEP_MS * STEP_MS - TICKS * STEP_MS
    for tick in range(TICKS):
        values = 50 + 8 * np.sin(2 * np.pi * tick / 96 + np.arange(SERIES)) + rng.normal(0, 1, SERIES)
        for series, value in enumerate(values.round(3).tolist()):
            told = {"series_id": f"m{series}", "timestamp": first_ms + tick * STEP_MS, "value": value}
            yield f"m{series}", json.dumps(told)


def every_minute(found: list[Object]) -> list[Object]:
    one(found, "CronJob", "tidecast-train")["spec"]["schedule"] = "* * * * *"
    return found


def apply(cluster: Cluster, found: list[Object]) -> None:
    """The namespace first."""
    first = [each for each in found if each["kind"] == "Namespace"]
    for some in (first, found):
        cluster.apply(yaml.safe_dump_all(some))


def by_hand(cluster: Cluster) -> None:
    cluster.kubectl(*DEV, "create", "job", "now", "--from=cronjob/tidecast-train")


def succeeded(stage: Watched) -> float:
    found = stage.query("kube_cronjob_status_last_successful_time")
    return float(found[0]["value"][1]) if found else 0.0


class Kubelet:
    """Runs what pods of the training say, one after the other, and reports how it ended. `codes`: of all so far."""

    def __init__(self, cluster: Cluster, stage: Watched) -> None:
        self._cluster, self._stage = cluster, stage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.codes: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(TRAIN_S)

    def _serve(self) -> None:
        seen: set[str] = set()
        while not self._over.wait(1):
            listed = self._cluster.kubectl(*DEV, "get", "pods", "-l", PODS, "-o", "json", code=None)
            if not listed.startswith("{"):
                continue  # the namespace is not there yet
            for pod in json.loads(listed)["items"]:
                name = pod["metadata"]["name"]
                if name not in seen and not self._over.is_set():
                    seen.add(name)
                    self._run(name, pod["spec"]["containers"][0])

    def _run(self, pod: str, container: Any) -> None:
        began = now()
        words = [str(self._stage.config) if word.startswith("/etc/") else word for word in container["args"]]
        own = {each["name"]: each["value"] for each in container["env"]}
        command = [str(TIDECAST), *words]
        done = subprocess.run(command, env=self._stage.environment | own, capture_output=True, timeout=TRAIN_S)
        self.codes.append(done.returncode)
        ended = {"exitCode": done.returncode, "reason": "Error" if done.returncode else "Completed"}
        state = {"terminated": ended | {"startedAt": began, "finishedAt": now()}}
        of_container = {"name": container["name"], "image": container["image"], "imageID": ""}
        status = {"phase": "Failed" if done.returncode else "Succeeded"}
        of_container |= {"ready": False, "restartCount": 0, "state": state}
        patch = json.dumps({"status": status | {"containerStatuses": [of_container]}})
        self._cluster.kubectl(*DEV, "patch", "pod", pod, "--subresource=status", "--type=merge", "-p", patch, code=None)


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
