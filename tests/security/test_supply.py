"""What comes from elsewhere is what was locked, and a model is numbers: nothing that is read is run."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model_core.bundle import Bundle
from model_core.spec import StreamSpec
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained

REPOSITORY = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(name: str) -> dict[str, list[str]]:
    """Package → its sha256 sums."""
    text = (REPOSITORY / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", " ")):
            package, _, rest = line.partition("==")
            assert rest, f"{name}: expected one version, found {line[:80]!r}"
            found[package.partition("[")[0]] = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", rest)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_locked_to_one_version_by_its_hashes(name: str) -> None:
    packages = locked(name)
    assert len(packages) > 50
    assert [package for package, sums in packages.items() if not sums] == []


def test_everything_is_installed_by_hash() -> None:
    """Every `pip install` of ours, but for the package itself, which has no dependencies then."""
    for name in ("Makefile", "Dockerfile"):
        text = (REPOSITORY / name).read_text().replace("\\\n", " ")
        installs = [line for line in text.splitlines() if re.search(r"pip install|pip sync", line)]
        assert installs, name
        for line in installs:
            assert "--require-hashes" in line or "--no-deps" in line, f"{name}: {line}"


def test_the_bill_of_materials_names_what_is_locked(tmp_path: Path) -> None:
    """`make sbom`, but for the check against the schema, which takes seconds."""
    path = tmp_path / "bom.json"
    (recipe,) = re.findall(r"cyclonedx-py (requirements .*?)\n\t@echo", (REPOSITORY / "Makefile").read_text(), re.S)
    arguments = recipe.replace("\\\n", " ").replace("dist/tidecast.cdx.json", str(path)).split()
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), *arguments, "--no-validate"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=100)
    bill = json.loads(path.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    sums = {
        each["name"]: {
            found["content"]
            for reference in each.get("externalReferences", [])
            for found in reference.get("hashes", [])
        }
        for each in bill["components"]
    }
    assert sums == {package: set(found) for package, found in locked("requirements.lock").items()}


# --- models -----------------------------------------------------------------------------------------------------------

_heard: list[str] = []
_listens = False


def _hear(event: str, _: object) -> None:
    if _listens and event in ("pickle.find_class", "exec", "compile", "marshal.loads"):
        _heard.append(event)


def test_loading_a_model_runs_no_code_that_came_with_it(tmp_path: Path) -> None:
    """The interpreter itself tells of every class that is unpickled and of all code that is run."""
    global _listens
    spec = StreamSpec(topic="t", freq="10min", context_length=8, horizon=2)
    registry = ModelRegistry(str(tmp_path))
    registry.publish("tides", untrained(spec, "m1", 0.1), {})
    registry.load("tides", "m1")  # what is imported on the way is imported now
    objects = io.BytesIO()
    np.save(objects, np.array([io.BytesIO], dtype=object), allow_pickle=True)
    objects.seek(0)
    sys.addaudithook(_hear)
    try:
        _listens = True
        bundle = registry.load("tides", "m1")
        heard = list(_heard)
        np.load(objects, allow_pickle=True)
    finally:
        _listens = False
    assert isinstance(bundle, Bundle)
    assert heard == []
    assert "pickle.find_class" in _heard  # it would have been heard
