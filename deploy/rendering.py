"""Kustomize folders as the objects that they make, rendered by kubectl; no cluster is asked."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parent / "k8s"
OVERLAYS = ("dev", "prod", "prod-gpu")
Object = dict[str, Any]


def tool(name: str) -> str:
    """A program that came with a package of the development group."""
    return str(Path(sysconfig.get_path("scripts")) / name)


@cache
def rendered(overlay: str) -> str:
    """YAML of an overlay. prod-gpu is prod with the component gpu, which no overlay has."""
    if overlay != "prod-gpu":
        return kustomize(K8S / "overlays" / overlay)
    return with_components("prod", "gpu")


def with_components(overlay: str, *components: str) -> str:
    """An overlay with more components."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        near = {name: os.path.relpath(K8S / name, here) for name in ("overlays", "components")}
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{near['overlays']}/{overlay}"],
            "components": [f"{near['components']}/{component}" for component in components],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return kustomize(here)


def kustomize(folder: Path) -> str:
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(overlay: str) -> list[Object]:
    """Anew each time: tests break them."""
    return list(yaml.safe_load_all(rendered(overlay)))


def one(found: list[Object], kind: str, name: str) -> Object:
    """The object of that kind whose name is or begins like this (a generated name has a hash at its end)."""
    (match,) = [
        each for each in found if each["kind"] == kind and f"{each['metadata']['name']}-".startswith(f"{name}-")
    ]
    return match


def pod_templates(found: list[Object]) -> dict[str, Object]:
    """kind/name → the pod template of each object that has one."""
    templates = {}
    for each in found:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if each["kind"] in ("Deployment", "CronJob", "StatefulSet", "Job", "DaemonSet"):
            templates[f"{each['kind']}/{each['metadata']['name']}"] = spec["template"]
    return templates
