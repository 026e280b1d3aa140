"""What the services of docker-compose.yml must do in a container, whatever contains them.

The steps `containers` and `image` give the box. Broker and store are real; only addresses and ports differ from the
file.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from deploy.prove.programs import REPOSITORY, expect, wait_for
from stream_app.local_services import LocalServices
from stream_app.local_services.ports import free_port

UID = "10001"
SERIES = 26  # of the packaged sensors
STOP_S = 60  # an engine waits that long here before it kills
SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
DEFAULT = re.compile(r"\$\{\w+:-(.*)\}")  # ${NAME:-what holds unless NAME is set}


class Running(Protocol):
    """A service in its container."""

    def execute(self, words: Sequence[str]) -> str:
        """These words beside it, as a health check runs; what they said."""

    def stop(self) -> tuple[int, str]:
        """As an engine stops it: its exit code and what it has said."""

    def kill(self) -> None:
        """Unless it has ended."""


class Box(Protocol):
    """What makes containers of the services."""

    def run(self, service: str, words: Sequence[str], *, code: int | None = 0) -> str:
        """These words, and not the service's, in a container of it; their output."""

    def once(self, service: str, command: Sequence[str]) -> str:
        """The service with this command after its entrypoint, until it ends with 0; its output."""

    def start(self, service: str) -> Running: ...


def launched(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """What it says goes to the log."""
    with log.open("wb") as out:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def command_of(service: str) -> list[str]:
    """What stands after the entrypoint."""
    return [default(word).replace("$$", "$") for word in SERVICES[service]["command"]]


def default(text: object) -> str:
    return DEFAULT.sub(r"\1", str(text))


@contextmanager
def beside(work: Path) -> Iterator[dict[str, str]]:
    """A broker and a store; the settings by which a container that shares this machine's network finds them."""
    with LocalServices(work, free_ports=True, downloads=REPOSITORY / ".tidecast" / "kafka-jars") as services:
        yield {
            "TIDECAST__KAFKA__BOOTSTRAP_SERVERS": services.kafka_bootstrap,
            "TIDECAST__REDIS__URL": services.redis_url,
            "TIDECAST__HTTP__PORT": str(free_port()),
            "TIDECAST__API__PORT": str(free_port()),
        }


@contextmanager
def started(box: Box, service: str) -> Iterator[Running]:
    running = box.start(service)
    try:
        yield running
    finally:
        running.kill()


def stopped(running: Running, what: str) -> None:
    code, output = running.stop()
    expect(code == 0, f"expected {what} to end with 0 when it is stopped, found {code}: {output[-800:]}")


def checked(running: Running, service: str, port: str) -> None:
    """Compose's health check, in the container."""
    words = SERVICES[service]["healthcheck"]["test"][1:]
    running.execute([re.sub(r"(?<=127\.0\.0\.1:)\d+", port, word) for word in words])


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
    yield "containers run as user 10001 without a capability; root, code and the worker's models are read-only"
    said = box.run("worker", ["tidecast", "train", "--config", "/etc/tidecast/tidecast.toml"], code=2)
    expect("cuda" in said and "Traceback" not in said, f"expected a sentence about torch, found {said}")
    yield "the cpu variant has no torch, and `tidecast train` says in a sentence which one has it"


def story(box: Box, port: str, page_port: str) -> Iterator[str]:
    """Topics, worker, readings, a model, the live page, and the end: each by the service's own command."""
    made = box.once("topics", command_of("topics"))
    expect("household.forecasts" in made, f"expected topics to be created, found {made}")
    again = box.once("topics", command_of("topics"))
    expect("there already" in again, f"expected the second run to change nothing, found {again}")
    yield "topics: creates them, and changes nothing the second time"
    with started(box, "worker") as worker:
        ask = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{ask}/readyz"), "the worker is ready")
        checked(worker, "worker", port)
        yield "worker: ready on the real Kafka and Valkey; Compose's health check succeeds in its container"
        words = ["--rate=max" if word.startswith("--rate") else word for word in command_of("producer")]
        sent = box.once("producer", words)
        expect("513,110 readings" in sent, f"expected all readings to be sent, found {sent}")
        count = wait_for(lambda: settled(f"{ask}/metrics"), "all readings are processed", 200)
        yield f"producer: {sent.strip().splitlines()[-1]} The worker has issued {count:,.0f} forecasts"
        yield from trained(box, ask)
        yield from shown(box, page_port)
        stopped(worker, "the worker")
        yield "worker: ends with 0 when its container is stopped"


def trained(box: Box, ask: str) -> Iterator[str]:
    """The service begins with a training, since there is no model yet; then it waits, until it is told to stop."""
    with started(box, "trainer") as trainer:
        wait_for(lambda: 'model="ridge"' in text(f"{ask}/metrics"), "the worker has taken up the model", 240)
        stopped(trainer, "the trainer")
    yield "trainer: learns from the topic without a GPU in the cuda variant; the running worker takes the model up"


def shown(box: Box, port: str) -> Iterator[str]:
    """The service `api`: healthy, closed to whoever has no token, and up to date with what the worker has published."""
    ask = f"http://127.0.0.1:{port}"
    with started(box, "api") as api:
        wait_for(lambda: answers(f"{ask}/livez"), "the live page answers")
        checked(api, "api", port)
        token = default(SERVICES["api"]["environment"]["TIDECAST__API__TOKEN"])
        said = [status(f"{ask}/api/v1/streams", each) for each in (None, "a-token-that-is-another", token)]
        expect(said == [401, 401, 200], f"expected 401 without the token and with another, 200 with it, found {said}")
        path = f"{ask}/api/v1/streams/household/series"
        found = wait_for(lambda: all_series(json.loads(text(path, token))["series"]), "the page shows all series", 90)
        models = json.loads(text(f"{ask}/api/v1/streams/household/models", token))
        expect(models, "expected the page to show the model")
        yield f"api: healthy, refuses whoever has no token, shows {len(found)} series and {len(models)} model"
        stopped(api, "the live page")


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
