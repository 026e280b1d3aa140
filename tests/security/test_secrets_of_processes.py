"""No process says a secret, whatever it is asked and whatever fails: the secrets are canaries, each word is heard."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_app.cli import main
from stream_app.errors import TidecastError
from stream_app.settings import Settings
from tests.app.forks import TIDECAST
from tests.app.running_worker import OUTPUTS, World, readings, wait_until
from tests.conftest import REPOSITORY
from tests.security.servers import PASSWORD, SecuredServers
from tests.security.test_refusals import SCRAM
from tests.security.test_secrets import sings

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
NOBODY = "127.0.0.1:9"
TOKEN = "canary-of-the-page-trills"
ROUTES = (
    *("/", "/livez", "/readyz", "/openapi.json", "/assets/live.js", "/metrics", "/api/v1/status", "/api/v1/streams"),
    *(f"/api/v1/streams/tides{rest}" for rest in ("", "/series", "/accuracy", "/drift", "/dead-letters", "/models")),
    *(f"/api/v1/streams/{rest}" for rest in ("none", "tides/models/none", "tides/values?series_id=s0&limit=x")),
    *("/api/v1/streams/tides/forecast?series_id=s0", "/api/v1/streams/tides/series?limit=canary"),
)
FRAMED = b"\x00\x00\x00\x00\x07what"  # of a schema that only the registry knows


@pytest.fixture
def world(secured: SecuredServers, tmp_path: Path) -> Iterator[World]:
    assert sings(PASSWORD)
    made = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    made.create(made.topic, *(f"{made.topic}.{kind}" for kind in OUTPUTS))
    secured.grant(made.topic, made.topic)
    yield made
    for each in made.workers:
        each.kill()


def configure(world: World, secured: SecuredServers, name: str, *, format: str = "json", more: str = "") -> Path:
    """A secret in every place that may hold one; those of Kafka are right, of the others nobody is there."""
    client = SCRAM | {"ssl.ca.location": str(secured.authority.file), "ssl.key.password": "canary-of-a-key"}
    lines = "\n".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in client.items())
    registry = f"ftp://me:canary-of-a-store@{NOBODY}/models" if name == "store" else str(world.folder / "models")
    # In the address where it is asked, since sentences name that.
    schemas = f'url = "http://me:canary-of-an-address@{NOBODY}"'
    if format == "json":
        schemas = f'url = "http://{NOBODY}"\nuser = "me"\npassword = "canary-of-schemas"'
    redis = f"redis://{secured.valkey.address}/0" if name == "schemas" else f"redis://me:canary%2Fof-redis@{NOBODY}/0"
    path = world.folder / f"{name}.toml"
    path.write_text(
        f'application_id = "{world.topic}"\nlog_level = "debug"\n[http]\nport = 0\n'
        f'[kafka]\nbootstrap_servers = "{secured.address("sasl")}"\n[kafka.client]\n{lines}\n'
        f'[redis]\nurl = "{redis}"\n'
        f'[models]\nregistry = "{registry}"\n[api]\nport = 0\ntoken = "{TOKEN}"\n'
        f"[schema_registry]\n{schemas}\n"
        '[limits]\nregistry_timeout = "500ms"\nredis_timeout = "500ms"\nstart_deadline = "20s"\n'
        f'[streams.tides]\ntopic = "{world.topic}"\nfreq = "10min"\nformat = "{format}"\nhorizon = 6\n{more}'
        f'[streams.tides.outputs]\nprefix = "{world.topic}"\n'
    )
    return path


def answered(url: str, token: str | None = None) -> str:
    """Headers and body, whatever the status."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return f"{answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.headers}{error.read().decode()}"


def send(secured: SecuredServers, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": secured.kafka.address})
    producer.produce(topic, value, "s0")
    assert producer.flush(30) == 0


def told(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that ends with 2."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = "".join(capfd.readouterr())
    assert ended.value.code == 2, said
    return said


def test_a_training_that_cannot_begin(secured: SecuredServers, world: World, capfd) -> None:
    """No reading, no schema, no store."""
    assert "is empty" in (said := told(capfd, "train", "--config", str(configure(world, secured, "empty"))))
    assert not sings(said), said
    send(secured, world.topic, FRAMED)
    framed = configure(world, secured, "framed", format="avro")
    assert "schema registry" in (said := told(capfd, "train", "--config", str(framed)))
    assert not sings(said), said
    assert "models.registry" in (said := told(capfd, "train", "--config", str(configure(world, secured, "store"))))
    assert "***" in said
    assert not sings(said), said


def test_a_trainer_that_fails_and_goes_on(secured: SecuredServers, world: World) -> None:
    send(secured, world.topic, FRAMED)
    config = configure(world, secured, "framed", format="avro")
    trainer = world.start(config, (TIDECAST, "train", "--follow"))
    assert "schema registry" in trainer.wait_for("training failed, the model in charge stays", 60)["error"]
    assert trainer.stop() == 0
    assert not sings(trainer.log_path.read_text())


def test_the_live_page(secured: SecuredServers, world: World) -> None:
    world.send(readings([[1.5]]))
    api = world.start(configure(world, secured, "page"), (TIDECAST, "api"))
    url = api.wait_for("started")["http"]
    wait_until(lambda: '"ready":true' in answered(f"{url}/readyz"), 30, "the page to be ready")
    said = "".join(answered(url + route, token) for route in ROUTES for token in (None, TOKEN, "not-the-right-token"))
    assert "pinball" in said  # of what it is asked, it tells something
    assert not sings(said.replace("'canary'", "")), said  # what was asked with is told again
    assert api.stop() == 0
    assert not sings(api.log_path.read_text())


def test_a_live_page_that_cannot_read(secured: SecuredServers, world: World) -> None:
    """Its reason names the registry of schemas, to whoever asks."""
    send(secured, world.topic, FRAMED)
    api = world.start(configure(world, secured, "framed", format="avro"), (TIDECAST, "api"))
    url = api.wait_for("started")["http"]
    wait_until(lambda: "schema registry" in (answered(f"{url}/readyz")), 30, "the reason")
    assert not sings(answered(f"{url}/readyz") + answered(f"{url}/api/v1/status", TOKEN))
    assert api.stop() == 0
    assert not sings(api.log_path.read_text())


def test_a_worker_that_waits_for_redis_and_for_schemas(secured: SecuredServers, world: World) -> None:
    for name, format, missing in (("redis", "json", "store"), ("schemas", "avro", "schema registry")):
        worker = world.start(configure(world, secured, name, format=format))
        wait_until(lambda worker=worker, missing=missing: missing in worker.readyz()[1], 30, f"{missing} to be named")
        url = worker.wait_for("started")["http"]
        assert not sings("".join(answered(url + path) for path in ("/livez", "/readyz", "/metrics")))
        assert worker.stop() == 0
        assert not sings(worker.log_path.read_text())


FAILING = """
import sys, threading
from stream_app.cli import command_line, main

def fail(settings):
    raise ValueError(f"cannot reach {settings.redis.url} with {settings.kafka.client['sasl.password']}")

def command(**_):
    from stream_app.settings import Settings
    settings = Settings.load(sys.argv[1])
    thread = threading.Thread(target=fail, args=(settings,), name="of ours")
    thread.start()
    thread.join()
    fail(settings)

command_line.build_app = lambda chosen: command
main()
"""


def test_a_failure_that_nobody_foresaw(secured: SecuredServers, world: World) -> None:
    """Its traceback comes, from the command and from a thread, without what the exception quotes."""
    config = configure(world, secured, "failing")
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(config)], capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.count("ValueError: cannot reach redis://me:***@") == 2
    assert not sings(done.stdout + done.stderr), done.stderr


@pytest.mark.parametrize("value", ["canary-trills", "/canary/trills", "canary\0-trills"])
def test_a_secret_where_the_path_of_its_file_should_stand(value: str) -> None:
    with pytest.raises(TidecastError, match="SASL_PASSWORD_FILE: expected the path") as refused:
        Settings.load(None, {"TIDECAST__KAFKA__CLIENT__SASL_PASSWORD_FILE": value})
    assert not sings(str(refused.value))
