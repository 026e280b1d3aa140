"""The Dockerfile built, and the services of docker-compose.yml run in containers of it, by Podman.

No registry of images is asked. The base image stands in for `python:*-slim-bookworm` under its name: Debian's bookworm
with Debian's own Python of the same minor version. Containers share this machine's network, where broker and store are.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.prove.programs import REPOSITORY, expect, require, run
from deploy.prove.services import SERVICES, STOP_S, UID, Running, beside, command_of, confined, default, launched, story

PROGRAMS = {name: name for name in ("podman", "runc", "mmdebstrap", "catatonit")}
BUILD_S = 1800
RUNTIME = Path(__file__).with_name("runc_within_limits.py")
# Where pip finds its settings and the certificates it trusts: as on this machine.
OF_PIP = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


def prove(folder: Path) -> Iterator[str]:
    require(PROGRAMS, "its containers have users of their own")
    podman = Podman(folder / "podman")
    podman.run("volume", "rm", "--force", "models")
    yield podman.base()
    for variant in ("cpu", "cuda"):
        yield podman.build(variant)
    work = folder / "image"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with beside(work) as addresses:
        engine = Engine(podman, work, addresses)
        yield from confined(engine)
        yield from story(engine, addresses["TIDECAST__HTTP__PORT"], addresses["TIDECAST__API__PORT"])


class Podman:
    """With images and volumes of its own, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def command(self, *words: str | Path) -> list[str]:
        own = ("--root", self._folder / "images", "--runroot", self._folder / "running")
        return [str(word) for word in ("podman", *own, "--cgroup-manager=cgroupfs", "--runtime", RUNTIME, *words)]

    def run(self, *words: str | Path, timeout_s: float = 240, code: int | None = 0) -> str:
        return run(self.command(*words), timeout_s=timeout_s, code=code)

    def base(self) -> str:
        """The image that the Dockerfile begins with, unless it is there."""
        text = (REPOSITORY / "Dockerfile").read_text()
        (version,) = re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
        name = f"docker.io/library/python:{version}-slim-bookworm"
        if name not in self.run("images", "--format", "{{.Repository}}:{{.Tag}}").split():
            tar = self._folder / "base.tar"
            links = 'ln -s ../../bin/python3 "$1"/usr/local/bin/python; ln -s python "$1"/usr/local/bin/python3'
            # As in the image that it stands in for, pip installs beside the interpreter.
            free = 'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'
            hooks = [f"--customize-hook={hook}" for hook in (links, free)]
            packages = "--include=python3-minimal,python3-venv,python3-pip,ca-certificates"
            run(["mmdebstrap", "--quiet", "--variant=minbase", packages, *hooks, "bookworm", tar], timeout_s=BUILD_S)
            self.run("import", "--quiet", "--change", "CMD python3", tar, name)
            tar.unlink()
        found = self.run("run", "--rm", "--network=host", "--pull=never", name, "python", "--version").strip()
        expect(found.split()[1].split(".")[:2] == version.split(".")[:2], f"expected Python {version}, found {found}")
        return f"in place of python:{version}-slim-bookworm: bookworm with Debian's {found}, made of Debian's packages"

    def build(self, variant: str) -> str:
        """As the first lines of the Dockerfile say."""
        tag = f"tidecast:0.1.0-{variant}"
        expect(tag in {service["image"] for service in SERVICES.values()}, f"docker-compose.yml has no {tag}")
        seen = [f"--volume={path}:{path}:ro" for path in OF_PIP if Path(path).exists()]
        how = ("--pull-never", "--isolation=chroot", "--format=docker")
        self.run("build", *how, f"--build-arg=VARIANT={variant}", f"--tag={tag}", *seen, REPOSITORY, timeout_s=BUILD_S)
        (image,) = json.loads(self.run("image", "inspect", tag))
        settings = image["Config"]
        expect(settings["User"] == f"{UID}:{UID}", f"expected user {UID} in the image, found {settings['User']}")
        expect(settings["StopSignal"] in ("SIGTERM", "15"), f"expected SIGTERM, found {settings['StopSignal']}")
        expect(settings["Entrypoint"] == ["tidecast"], f"expected tidecast, found {settings['Entrypoint']}")
        return f"podman build --build-arg VARIANT={variant}: {tag}, {image['Size'] / 2**20:,.0f} MiB with its base"


@dataclass
class Container:
    """A service that runs, and its `podman run`, which ends as it does."""

    podman: Podman
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def execute(self, words: Sequence[str]) -> str:
        return self.podman.run("exec", self.name, *words)

    def stop(self) -> tuple[int, str]:
        self.podman.run("stop", f"--time={STOP_S}", self.name)
        return self.process.wait(STOP_S), self.log.read_text()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.podman.run("kill", self.name, code=None)
            self.process.wait()


class Engine:
    """Containers as docker-compose.yml describes them."""

    def __init__(self, podman: Podman, folder: Path, addresses: Mapping[str, str]) -> None:
        self._podman = podman
        self._folder = folder
        self._addresses = addresses

    def _options(self, service: str) -> list[str]:
        """What the file says of the container, in the words of `podman run`."""
        said = SERVICES[service]
        variables = {name: default(value) for name, value in said.get("environment", {}).items()}
        (configuration,) = said["configs"]
        mounts = [f"{REPOSITORY / 'deploy/compose/tidecast.toml'}:{configuration['target']}:ro"]
        for volume in said.get("volumes", ()):
            source, rest = volume.split(":", 1)
            mounts.append(f"{(REPOSITORY / source).resolve() if source.startswith('.') else source}:{rest}")
        return [
            *("--rm", "--pull=never", "--network=host"),
            *(("--read-only",) if said["read_only"] else ()),
            *(("--init",) if said["init"] else ()),
            *(f"--cap-drop={right}" for right in said["cap_drop"]),
            *(f"--security-opt={option}" for option in said["security_opt"]),
            f"--user={said['user']}",
            *(f"--tmpfs={tmpfs}" for tmpfs in said["tmpfs"]),
            *(f"--volume={mount}" for mount in mounts),
            *(f"--env={name}={value}" for name, value in {**variables, **self._addresses}.items()),
        ]

    def run(self, service: str, words: Sequence[str], *, code: int | None = 0) -> str:
        options = [*self._options(service), f"--entrypoint={words[0]}"]
        return self._podman.run("run", *options, SERVICES[service]["image"], *words[1:], code=code)

    def once(self, service: str, command: Sequence[str]) -> str:
        return self._podman.run("run", *self._options(service), SERVICES[service]["image"], *command)

    def start(self, service: str) -> Running:
        log, name = self._folder / f"{service}.log", f"tidecast-{service}"
        self._podman.run("rm", "--force", "--ignore", name)
        words = ["run", f"--name={name}", *self._options(service), SERVICES[service]["image"], *command_of(service)]
        return Container(self._podman, name, launched(self._podman.command(*words), log), log)
