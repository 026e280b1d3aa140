"""The commands of docker-compose.yml, run as in a container: its user, a read-only root, no capabilities.

No image is built (the step `image` does): its environments are made by the steps of the Dockerfile, and bubblewrap is
the container, which takes neither an engine nor root.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.docker.pick import picked
from deploy.prove.programs import REPOSITORY, get, run
from deploy.prove.services import SERVICES, STOP_S, UID, Running, beside, command_of, confined, default, launched, story

OF_THE_SYSTEM = ("group", "hosts", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "resolv.conf", "ssl")


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "bubblewrap")
    images = {variant: environment(folder, variant) for variant in ("cpu", "cuda")}
    for variant, image in images.items():
        size = sum(path.lstat().st_size for path in image.rglob("*")) / 2**20
        count = len(list(image.glob("lib/python3*/site-packages/*.dist-info")))
        yield f"the {variant} environment is made by the Dockerfile's steps: {count} packages, {size:,.0f} MiB"
    work = folder / "containers"
    shutil.rmtree(work, ignore_errors=True)
    (work / "models").mkdir(parents=True)
    with beside(work) as addresses:
        box = Bubblewrap(folder, images, work / "models", addresses)
        yield from confined(box)
        yield from story(box, addresses["TIDECAST__HTTP__PORT"], addresses["TIDECAST__API__PORT"])


def environment(folder: Path, variant: str) -> Path:
    """What the Dockerfile puts at /opt/tidecast. From the installer's cache it takes seconds."""
    made = folder / f"image-{variant}"
    shutil.rmtree(made, ignore_errors=True)
    wheels = folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    requirements = folder / f"{variant}.txt"
    requirements.write_text(picked((REPOSITORY / "requirements.lock").read_text(), variant=variant))
    uv = Path(sys.executable).parent / "uv"
    run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, made])
    pip: list[str | Path] = [uv, "pip", "install", "--quiet", "--no-deps", "--python", made / "bin" / "python"]
    run([*pip, "--require-hashes", "-r", requirements], timeout_s=600)
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", wheels, REPOSITORY]
    )
    run([*pip, *wheels.glob("tidecast-*.whl")])
    return made


@dataclass
class Boxed:
    """A service that runs."""

    box: Bubblewrap
    service: str
    process: subprocess.Popen[bytes]
    log: Path

    def execute(self, words: Sequence[str]) -> str:
        return self.box.run(self.service, words)

    def stop(self) -> tuple[int, str]:
        inside = psutil.Process(self.process.pid).children(recursive=True)[-1]  # bwrap itself passes no signal on
        inside.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S), self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Bubblewrap:
    """What stands in for the container engine."""

    def __init__(self, folder: Path, images: Mapping[str, Path], models: Path, addresses: Mapping[str, str]) -> None:
        self._bwrap = folder / "debian" / "usr" / "bin" / "bwrap"
        self._images = images
        self._models = models
        self._addresses = addresses

    def command(self, service: Mapping[str, Any], words: Sequence[str]) -> list[str]:
        """bwrap and its arguments for these words in a container of that service."""
        image = self._images[service["image"].rpartition("-")[2]]
        variables = image_environment(service["image"].rpartition("-")[2])
        variables |= {name: default(value) for name, value in service.get("environment", {}).items()}
        variables |= self._addresses
        mounts = ["--ro-bind", str(image), "/opt/tidecast"]
        mounts += ["--ro-bind", str(REPOSITORY / "deploy/compose/tidecast.toml"), "/etc/tidecast/tidecast.toml"]
        mounts += ["--dir", "/var/lib/tidecast/models"]
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            where = self._models if source == "models" else REPOSITORY / source
            mounts += ["--ro-bind" if mode == ["ro"] else "--bind", str(where), target]
        system = ["--ro-bind", "/usr", "/usr", "--ro-bind", sys.base_prefix, sys.base_prefix]
        for path in (Path("/etc", name) for name in OF_THE_SYSTEM):
            system += ["--ro-bind", str(path), str(path)] if path.exists() else []
        for name in ("bin", "lib", "lib64", "sbin"):
            system += ["--symlink", f"usr/{name}", f"/{name}"]
        return [
            *(str(self._bwrap), "--unshare-all", "--share-net", "--die-with-parent", "--new-session", "--clearenv"),
            *("--uid", UID, "--gid", UID, "--cap-drop", "ALL", "--as-pid-1", "--hostname", "container"),
            *("--tmpfs", "/", *system, *mounts),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--remount-ro", "/"),
            *("--chdir", "/var/lib/tidecast"),
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *words,
        ]

    def run(self, service: str, words: Sequence[str], *, code: int | None = 0) -> str:
        return run(self.command(SERVICES[service], words), timeout_s=240, code=code)

    def once(self, service: str, command: Sequence[str]) -> str:
        return self.run(service, ["tidecast", *command])

    def start(self, service: str) -> Running:
        log = self._models.parent / f"{service}.log"
        words = self.command(SERVICES[service], ["tidecast", *command_of(service)])
        return Boxed(self, service, launched(words, log), log)


def image_environment(variant: str) -> dict[str, str]:
    """The ENV lines of the Dockerfile for that variant."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    variables: dict[str, str] = {}
    stage = ""
    for line in text.splitlines():
        if line.startswith("FROM"):
            stage = line.split()[-1]
        elif line.startswith("ENV") and stage in ("runtime", f"runtime-{variant}"):
            variables |= dict(pair.split("=", 1) for pair in line.split()[1:])
    return variables | {"PATH": "/opt/tidecast/bin:/usr/local/bin:/usr/bin:/bin"}
