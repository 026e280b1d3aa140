"""Manifests and Dockerfile by checkov, whose every complaint is either mended or stands here with its reason.

It has an environment of its own: it wants older versions of packages than the development group has (packaging below
24, cachetools below 6, cyclonedx-python-lib below 8), so it cannot be in the lock and under `make test`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.prove.programs import REPOSITORY, expect, run
from deploy.rendering import OVERLAYS, objects, one, rendered

VERSION = "3.3.30"
# What it complains of and stays as it is → why.
JUSTIFIED = {
    "CKV_K8S_11": "no limit on the CPU: a throttled poll loop is a late forecast; requests keep the neighbours' share",
    "CKV_K8S_15": "images have a version, which is never built twice; a start need not wait for the registry",
    "CKV_K8S_43": "the digest is that of an image which you build: it stands under `images` of your overlay",
    "CKV_DOCKER_2": "one image runs a worker, a page, a trainer: Compose and Kubernetes ask each for its own health",
    "CKV_DOCKER_7": "the last stage is one of this file, chosen by VARIANT: it has no tag; the base image has one",
}


def prove(folder: Path) -> Iterator[str]:
    home = folder / "checkov"
    if not (home / "bin" / "checkov").exists():
        uv = Path(sys.executable).parent / "uv"
        run([uv, "venv", "--quiet", "--python", sys.executable, home])
        run(
            [uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", f"checkov=={VERSION}"], timeout_s=600
        )
    with tempfile.TemporaryDirectory() as work:  # it passes over folders that are hidden, as .tidecast is
        yield from _scanned(home, Path(work))


def _scanned(home: Path, work: Path) -> Iterator[str]:
    for overlay in OVERLAYS:
        (work / f"{overlay}.yaml").write_text(rendered(overlay))
    (work / "Dockerfile").write_text((REPOSITORY / "Dockerfile").read_text())
    passed, failed = _scan(home, "-d", work)
    expect(failed == set(JUSTIFIED), f"expected complaints of {sorted(JUSTIFIED)}, found {sorted(failed)}")
    yield f"checkov {VERSION}: {passed} checks of {', '.join(OVERLAYS)} and the Dockerfile pass"
    for check, why in JUSTIFIED.items():
        yield f"{check} stays: {why}"
    broken = objects("prod")
    pod = one(broken, "Deployment", "tidecast-worker")["spec"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["privileged"] = True
    file = work / "broken.yaml"
    file.write_text(yaml.safe_dump_all(broken))
    _, found = _scan(home, "-f", file)
    expect("CKV_K8S_16" in found, f"expected a complaint of a privileged container, found {sorted(found)}")
    yield "control: it complains of a privileged container (CKV_K8S_16)"


def _scan(home: Path, *what: str | Path) -> tuple[int, set[str]]:
    """Checks that passed, and the ids of those that did not."""
    told = home / "told"
    options = ["--framework", "kubernetes", "dockerfile", "--skip-download", "--quiet", "--compact", "--soft-fail"]
    run([home / "bin" / "checkov", *what, *options, "-o", "json", "--output-file-path", told])
    parts: Any = json.loads((told / "results_json.json").read_text())
    reports = parts if isinstance(parts, list) else [parts]
    failed = {each["check_id"] for report in reports for each in report["results"]["failed_checks"]}
    return sum(report["summary"]["passed"] for report in reports), failed
