"""The commands of docker-compose.yml, run as in a container: its user, a read-only root, no capabilities.

No image is built: its environments are made by the steps of the Dockerfile, bubblewrap is the container, and broker
and store are real. Only addresses and ports differ from the file.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from deploy.docker.pick import picked
from deploy.prove.programs import REPOSITORY, expect, get, run, wait_for
from stream_app.local_services import LocalServices
from stream_app.local_services.ports import free_port

UID = "10001"
SERIES = 26  # of the packaged sensors
OF_THE_SYSTEM = ("group", "hosts", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "resolv.conf", "ssl")
SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


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
    with LocalServices(work, free_ports=True, downloads=REPOSITORY / ".tidecast" / "kafka-jars") as services:
        addresses = {
            "TIDECAST__KAFKA__BOOTSTRAP_SERVERS": services.kafka_bootstrap,
            "TIDECAST__REDIS__URL": services.redis_url,
            "TIDECAST__HTTP__PORT": str(free_port()),
            "TIDECAST__API__PORT": str(free_port()),
        }
        box = Box(folder, images, work / "models", addresses)
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


class Box:
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
        variables |= {
            name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value))
            for name, value in service.get("environment", {}).items()
        }
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

    def run(self, name: str, words: Sequence[str], *, timeout_s: float = 240, code: int | None = 0) -> str:
        return run(self.command(SERVICES[name], words), timeout_s=timeout_s, code=code)

    def of_compose(self, name: str) -> list[str]:
        """The words that the service runs: the image's entrypoint or its own, and its command."""
        service = SERVICES[name]
        command = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word).replace("$$", "$") for word in service["command"]]
        return [*service.get("entrypoint", ["tidecast"]), *command]


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


def confined(box: Box) -> Iterator[str]:
    """The box is tight: what a container may not do fails in it."""
    expect(box.run("worker", ["id", "-u"]).strip() == UID, f"expected user {UID}")
    status = box.run("worker", ["cat", "/proc/self/status"])
    expect(re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), "expected no effective capability")
    expect(re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), "expected no_new_privs")
    for path in ("/etc/passwd", "/opt/tidecast/bin/tidecast", "/var/lib/tidecast/models/x", "/x"):
        said = box.run("worker", ["sh", "-c", f"echo x >> {path}"], code=None)
        expect(re.search("Read-only|denied", said), f"expected {path} to be read-only, found {said!r}")
    box.run("worker", ["sh", "-c", "echo x > /tmp/x"])
    box.run("trainer", ["sh", "-c", "echo x > /var/lib/tidecast/models/x && rm /var/lib/tidecast/models/x"])
    yield "the boxes run as user 10001 without a capability; root, code and the worker's models are read-only"
    said = box.run("worker", ["tidecast", "train", "--config", "/etc/tidecast/tidecast.toml"], code=2)
    expect("cuda" in said and "Traceback" not in said, f"expected a sentence about torch, found {said}")
    yield "the cpu variant has no torch, and `tidecast train` says in a sentence which one has it"


def story(box: Box, port: str, page_port: str) -> Iterator[str]:
    """Topics, worker, readings, a model, the live page, and the end: each by the service's own command."""
    made = box.run("topics", box.of_compose("topics"))
    expect("household.forecasts" in made, f"expected topics to be created, found {made}")
    again = box.run("topics", box.of_compose("topics"))
    expect("there already" in again, f"expected the second run to change nothing, found {again}")
    yield "topics: creates them, and changes nothing the second time"
    with subprocess.Popen(
        box.command(SERVICES["worker"], box.of_compose("worker")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as worker:
        try:
            ask = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(f"{ask}/readyz"), "the worker is ready")
            check = [word.replace(":9464", f":{port}") for word in SERVICES["worker"]["healthcheck"]["test"][1:]]
            box.run("worker", check)
            yield "worker: ready on the real Kafka and Valkey; Compose's health check succeeds in the box"
            words = ["--rate=max" if word.startswith("--rate") else word for word in box.of_compose("producer")]
            sent = box.run("producer", words)
            expect("513,110 readings" in sent, f"expected all readings to be sent, found {sent}")
            count = wait_for(lambda: settled(f"{ask}/metrics"), "all readings are processed", 200)
            yield f"producer: {sent.strip().splitlines()[-1]} The worker has issued {count:,.0f} forecasts"
            yield from trained(box, ask)
            yield from shown(box, page_port)
            inside = psutil.Process(worker.pid).children(recursive=True)[-1]  # bwrap itself passes no signal on
            inside.send_signal(signal.SIGTERM)
            output = worker.communicate(timeout=60)[0].decode()
            expect(
                worker.returncode == 0,
                f"expected exit code 0 after SIGTERM, found {worker.returncode}: {output[-800:]}",
            )
            yield "worker: as process 1 of its container it ends with 0 on SIGTERM"
        finally:
            if worker.poll() is None:
                worker.kill()


def trained(box: Box, ask: str) -> Iterator[str]:
    """The service begins with a training, since there is no model yet; then it waits, until it is told to stop."""
    with subprocess.Popen(
        box.command(SERVICES["trainer"], box.of_compose("trainer")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as trainer:
        try:
            wait_for(lambda: 'model="ridge"' in text(f"{ask}/metrics"), "the worker has taken up the model", 240)
            psutil.Process(trainer.pid).children(recursive=True)[-1].send_signal(signal.SIGTERM)
            output = trainer.communicate(timeout=60)[0].decode()
            expect(trainer.returncode == 0, f"expected exit code 0 after SIGTERM, found {trainer.returncode}: {output}")
        finally:
            if trainer.poll() is None:
                trainer.kill()
    yield "trainer: learns from the topic without a GPU in the cuda variant; the running worker takes the model up"


def shown(box: Box, port: str) -> Iterator[str]:
    """The service `api`: healthy, closed to whoever has no token, and up to date with what the worker has published."""
    ask, service = f"http://127.0.0.1:{port}", SERVICES["api"]
    words = box.command(service, box.of_compose("api"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as api:
        try:
            wait_for(lambda: answers(f"{ask}/livez"), "the live page answers")
            box.run("api", [word.replace(":9480", f":{port}") for word in service["healthcheck"]["test"][1:]])
            token = "for-trying-out-only"
            said = [status(f"{ask}/api/v1/streams", each) for each in (None, "a-token-that-is-another", token)]
            expect(
                said == [401, 401, 200], f"expected 401 without the token and with another, 200 with it, found {said}"
            )
            path = f"{ask}/api/v1/streams/household/series"
            found = wait_for(
                lambda: all_series(json.loads(text(path, token))["series"]), "the page shows all series", 90
            )
            models = json.loads(text(f"{ask}/api/v1/streams/household/models", token))
            expect(models, "expected the page to show the model")
            yield f"api: healthy, refuses whoever has no token, shows {len(found)} series and {len(models)} model"
            psutil.Process(api.pid).children(recursive=True)[-1].send_signal(signal.SIGTERM)
            output = api.communicate(timeout=30)[0].decode()
            expect(
                api.returncode == 0, f"expected 0 of the page after SIGTERM, found {api.returncode}: {output[-800:]}"
            )
        finally:
            if api.poll() is None:
                api.kill()


def all_series(found: list[Any]) -> list[Any]:
    """It reads what is there first, so that there are fewer for a while."""
    return found if len(found) == SERIES else []


def status(url: str, token: str | None) -> int:
    try:
        text(url, token)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def answers(url: str) -> bool:
    try:
        return bool(json.loads(text(url)))
    except urllib.error.HTTPError:
        return False


def text(url: str, token: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return str(answer.read(), "utf-8")


def settled(url: str) -> float:
    """Forecasts issued, once no message is left; 0 before."""
    found: dict[str, float] = {}
    for line in text(url).splitlines():
        if not line.startswith("#"):
            name, value = re.split(r"(?:\{.*\})? ", line, maxsplit=1)
            found[name] = found.get(name, 0.0) + float(value)
    return (
        0.0
        if found.get("tidecast_lag_messages", 1) or found.get("tidecast_readings_total", 0) < 513_000
        else found["tidecast_forecasts_total"]
    )
