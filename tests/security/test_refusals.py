"""Who is not let in is told in one sentence what to set; a hosted service's TLS and SASL are enough to work over."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
import pytest
import redis

from stream_app.cli import main
from tests.app.running_worker import World, readings, wait_until
from tests.security.servers import PASSWORD, USER, SecuredServers

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": USER,
    "sasl.password": PASSWORD,
}
PLAIN = SCRAM | {"sasl.mechanism": "PLAIN"}
TLS = {"security.protocol": "SSL"}


def configure(path: Path, servers: SecuredServers, listener: str, client: dict[str, str], **more: str) -> Path:
    """`client` trusts the servers' authority unless it says otherwise."""
    properties = {"ssl.ca.location": str(servers.authority.file)} | client
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in properties.items()]
    path.write_text(
        f'application_id = "guarded"\n[kafka]\nbootstrap_servers = "{servers.address(listener)}"\n[kafka.client]\n'
        + "\n".join(lines)
        + f'\n[redis]\nurl = "{more.get("redis", servers.redis_url())}"\n'
        '[limits]\nkafka_timeout = "30s"\nredis_timeout = "30s"\nstart_deadline = "1s"\n'
        '[streams.tides]\ntopic = "guarded.in"\nfreq = "10min"\n'
    )
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert PASSWORD not in captured.out + captured.err
    return int(ended.value.code or 0), captured.err


def refused(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> None:
    """One sentence with these words, exit code 2, no traceback."""
    code, text = said(capsys, "topics", "check", "--config", str(config))
    assert code == 2, text
    assert text.startswith("tidecast: ")
    assert text.count("\n") == 1, text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize(
    ("listener", "client"), [("tls", TLS), ("sasl", SCRAM), ("sasl", PLAIN)], ids=["TLS", "SCRAM", "PLAIN"]
)
def test_who_is_trusted_gets_in(secured: SecuredServers, tmp_path: Path, capsys, listener: str, client: Any) -> None:
    code, text = said(
        capsys, "topics", "check", "--config", str(configure(tmp_path / "t.toml", secured, listener, client))
    )
    assert (code, text) == (1, "")  # it was answered: the topics are not there


@pytest.mark.parametrize(
    ("listener", "client", "words"),
    [
        ("tls", TLS | {"ssl.ca.location": "STRANGER"}, ("nobody who is trusted", "ssl.ca.location")),
        ("expired", TLS, ("certificate has expired", "renew it", "clock")),
        ("elsewhere", TLS, ("mismatch", "another host", "kafka.bootstrap_servers")),
        ("sasl", SCRAM | {"sasl.password": "wrong"}, ("invalid credentials", "sasl.username and sasl.password")),
        ("sasl", PLAIN | {"sasl.password": "wrong"}, ("Invalid username or password", "sasl.password")),
        ("sasl", SCRAM | {"sasl.mechanism": "SCRAM-SHA-256"}, ("PLAIN,SCRAM-SHA-512", "sasl.mechanism")),
        ("sasl", {}, ("speaks TLS", "security.protocol")),
        ("client", TLS, ("PLAINTEXT", "security.protocol")),
        ("tls", TLS | {"ssl.ca.location": "/nowhere/ca.pem"}, ("ssl.ca.location", "readable")),
    ],
    ids=["authority", "expired", "host", "SCRAM", "PLAIN", "mechanism", "no TLS", "TLS to none", "no such file"],
)
def test_who_is_refused_by_kafka_is_told_what_to_set(
    secured: SecuredServers, tmp_path: Path, capsys, listener: str, client: dict[str, str], words: tuple[str, ...]
) -> None:
    if client.get("ssl.ca.location") == "STRANGER":
        client = client | {"ssl.ca.location": str(secured.stranger.file)}
    refused(capsys, configure(tmp_path / "t.toml", secured, listener, client), "[kafka.client]", *words)


# --- OAUTHBEARER ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def token_server(secret: str) -> Iterator[str]:
    """An issuer of unsigned tokens, as the broker of the tests takes them; its address."""
    import base64
    import time

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    class Issuer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            basic = base64.b64decode(self.headers.get("Authorization", "Basic ").partition(" ")[2]).decode()
            right = secret in (basic.partition(":")[2], body.get("client_secret", [""])[0])
            now = int(time.time())
            token = f"{part({'alg': 'none'})}.{part({'sub': USER, 'iat': now, 'exp': now + 600})}."
            answer = {"access_token": token, "token_type": "Bearer", "expires_in": 600} if right else {"error": "no"}
            self.send_response(200 if right else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_issuer_of_tokens_lets_in_and_a_wrong_secret_is_named(
    secured: SecuredServers, tmp_path: Path, capsys
) -> None:
    with token_server("right-secret") as address:
        client = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": USER,
            "sasl.oauthbearer.client.secret": "right-secret",
            "sasl.oauthbearer.token.endpoint.url": address,
        }
        config = configure(tmp_path / "right.toml", secured, "sasl", client)
        assert said(capsys, "topics", "check", "--config", str(config)) == (1, "")
        wrong = client | {"sasl.oauthbearer.client.secret": "wrong-secret"}
        config = configure(tmp_path / "wrong.toml", secured, "sasl", wrong)
        refused(capsys, config, "OAUTHBEARER token", "sasl.oauthbearer.client.secret")


# --- Redis ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "login", "trusted", "words"),
    [
        ("tls", "", False, ("signed the server's certificate", "ssl_ca_certs")),
        ("expired", "", True, ("certificate has expired", "renew it")),
        ("elsewhere", "", True, ("another host", "redis.url")),
        ("tls", "worker:wrong@", True, ("user and password in redis.url",)),
    ],
    ids=["authority", "expired", "host", "password"],
)
def test_who_is_refused_by_redis_is_told_what_to_set(
    secured: SecuredServers, tmp_path: Path, way: str, login: str, trusted: bool, words: tuple[str, ...]
) -> None:
    from stream_app.checkpoints import CheckpointStore, StoreUnavailable, connect

    url = secured.redis_url(way, login=login, ca=(secured.authority if trusted else secured.stranger).file)
    with pytest.raises(StoreUnavailable) as error:
        CheckpointStore(connect(url, timeout_s=5), "guarded").check_server()
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "wrong" not in str(error.value).replace("WRONGPASS", "")


def test_files_that_are_not_there_and_servers_without_tls_are_named(secured: SecuredServers) -> None:
    from stream_app.checkpoints import CheckpointStore, StoreUnavailable, connect

    for url, word in (
        (secured.redis_url(ca=Path("/nowhere/ca.pem")), "ssl_ca_certs"),
        (f"rediss://{secured.valkey.address}/0", "else redis://"),
        (f"redis://{secured.redis['tls'].address}/0", "rediss://"),
    ):
        with pytest.raises(StoreUnavailable) as error:
            CheckpointStore(connect(url, timeout_s=2), "guarded").check_server()
        assert word in str(error.value), (url, str(error.value))


# --- a worker ---------------------------------------------------------------------------------------------------------


def test_a_worker_forecasts_over_tls_with_the_least_rights_and_says_no_secret(
    secured: SecuredServers, tmp_path: Path, rng: np.random.Generator
) -> None:
    plain = f"redis://{secured.valkey.address}/0"
    world = World(secured.kafka.address, plain, f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    world.create(world.topic)
    config = world.deployment("a", stream="", instance="one")
    secured.grant(world.topic, f"{world.topic}.a")
    store = "canary-of/redis#1"
    rights = ("+@read", "+@write", "+@scripting", "+@connection", "+info")
    with redis.Redis.from_url(plain) as client:
        keys = f"~{{{world.topic}.a:*"
        client.execute_command("ACL", "SETUSER", "worker", "on", f">{store}", keys, "-@all", *rights)
    properties = {"bootstrap.servers": secured.address("sasl"), "ssl.ca.location": secured.authority.file, **SCRAM}
    handed_out = tmp_path / "client.properties"
    handed_out.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    text = config.read_text().replace(f'bootstrap_servers = "{world.bootstrap}"', f'properties_file = "{handed_out}"')
    config.write_text(text.replace(plain, secured.redis_url(login=f"worker:{quote(store, safe='')}@")))
    data = np.round(10 + rng.normal(0, 1, (30, 3)), 3).tolist()
    logs = ""
    for first in (0, 15):  # the second one reads the state of the first
        worker = world.start(config)
        world.send(readings(data[first : first + 15], first=first))
        world.wait_for_forecasts("a", (first + 15) * 3, timeout_s=90)
        assert secured.connected(worker.process.pid) == {"kafka", "redis"}  # as the network policies have it
        assert worker.stop() == 0
        logs += worker.log_path.read_text()
    assert worker.wait_for("assigned")["series"] == 3
    assert "canary-of" not in logs


def test_a_worker_that_is_not_let_in_waits_with_the_reason_and_ends_with_it(
    secured: SecuredServers, tmp_path: Path
) -> None:
    config = configure(tmp_path / "t.toml", secured, "sasl", SCRAM | {"sasl.password": "canary-of-nobody"})
    config.write_text(config.read_text() + "[http]\nport = 0\n")
    world = World(secured.kafka.address, "", "unused", 1, tmp_path)
    worker = world.start(config)
    assert worker.process.wait(60) == 1
    error = worker.wait_for("worker ends")["error"]
    assert "sasl.username and sasl.password" in error
    assert "limits.start_deadline" in error
    assert "Traceback" not in worker.log_path.read_text()
    assert "canary-of" not in worker.log_path.read_text()


def test_a_right_that_is_missing_in_kafka_is_named(secured: SecuredServers, tmp_path: Path) -> None:
    from stream_app.doctor import Severity, examine
    from stream_app.settings import Settings

    world = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    world.create(world.topic)
    deployment = f"{world.topic}.a"
    world.deployment("a")
    secured.grant(world.topic, deployment, "outputs", "transactional id", "group")
    path = configure(tmp_path / "t.toml", secured, "sasl", SCRAM)
    text = path.read_text().replace('"guarded"', f'"{deployment}"').replace("guarded.in", world.topic)
    path.write_text(text + f'[streams.tides.outputs]\nprefix = "{deployment}"\n')
    settings = Settings.load(path, {})

    def lacking() -> set[tuple[str, str]]:
        found = [each for each in examine(settings) if each.look == "rights" and each.severity is Severity.ERROR]
        return {(each.about, each.remedy.split()[2]) for each in found}

    expected = {
        *((f"{deployment}.{kind}", "Write") for kind in ("forecasts", "accuracy", "drift", "dead-letters")),
        *((f"{deployment}.{kind}", "Write") for kind in ("journal", "control")),
        (deployment, "Read"),
        (f"{deployment}-doctor", "user"),
    }
    # What it may not look at does not end the other looks.
    unseen = {each.look: each for each in examine(settings) if each.severity is Severity.WARNING}
    assert "may not read the brokers' settings" in unseen["broker"].found
    assert "Expected Kafka to let this user ask" in unseen["kafka"].found
    assert "as a user who may" in unseen["kafka"].remedy
    # What was granted holds as soon as the broker has heard of it.
    wait_until(lambda: lacking() == expected, 60, "the rights that are missing")
    secured.grant(world.topic, deployment)
    wait_until(lambda: not lacking(), 60, "no right that is missing")


def test_settings_of_a_broker_that_could_lose_something_are_found(secured: SecuredServers, tmp_path: Path) -> None:
    """Seen by a user who may see all."""
    from stream_app.doctor import Severity, examine
    from stream_app.settings import Settings

    client = PLAIN | {"sasl.username": "hosted"}
    found = examine(Settings.load(configure(tmp_path / "t.toml", secured, "sasl", client), {}))
    warned = {each.about: each for each in found if each.look == "broker" and each.severity is Severity.WARNING}
    assert set(warned) == {"offsets.retention.minutes", "unclean.leader.election.enable"}
    assert "1.0 days" in warned["offsets.retention.minutes"].found
    assert all(each.remedy for each in warned.values())
