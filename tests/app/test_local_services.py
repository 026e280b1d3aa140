"""Local services: real servers, found again, ended by pid, and never left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from stream_app.cli import main
from stream_app.cli.command_line import build_app
from stream_app.errors import TidecastError
from stream_app.local_services import LocalServices, kafka_jars, server_process
from stream_app.local_services.kafka_server import KafkaServer, broker_properties, new_cluster_id
from stream_app.local_services.ports import (
    FREE_PORT_MAX,
    FREE_PORT_MIN,
    LOCALHOST,
    free_port,
    holder,
    is_free,
)
from stream_app.local_services.state_file import Recorded, StateFile
from stream_app.local_services.valkey_server import ValkeyServer

JARS = Path(__file__).parents[2] / ".tidecast" / "kafka-jars"


@pytest.fixture
def valkey(tmp_path):
    """One server is enough to try what all share, and valkey is up in 50 ms."""
    state_file = StateFile(tmp_path / "services.json")
    server = ValkeyServer(directory=tmp_path, ports={"client": free_port()}, tied=True, state_file=state_file)
    yield server
    server.kill()


def test_who_comes_through_a_proxy_is_told_to_stay_with_it(tmp_path):
    ports = {"client": 1001, "controller": 1002, "proxied": 1003}
    text = broker_properties(data=tmp_path, ports=ports, proxy_port=1004, more={"super.users": "User:me"})
    told = dict(line.split("=", 1) for line in text.splitlines())
    assert f"PROXIED://{LOCALHOST}:1003" in told["listeners"].split(",")
    assert f"PROXIED://{LOCALHOST}:1004" in told["advertised.listeners"].split(",")
    assert f"PLAINTEXT://{LOCALHOST}:1001" in told["advertised.listeners"].split(",")
    assert told["super.users"] == "User:me"
    assert "PROXIED" not in broker_properties(data=tmp_path, ports=ports)


# Both servers, as other tests use them


def test_kafka_answers_and_makes_no_topic_by_itself(services):
    from confluent_kafka.admin import AdminClient

    found = AdminClient({"bootstrap.servers": services.kafka_bootstrap}).list_topics("nobody-made-me", timeout=10)
    assert len(found.brokers) == 1
    assert found.topics["nobody-made-me"].error is not None


def test_a_record_goes_through_kafka_in_a_transaction(services, create_topic, topic_prefix):
    from confluent_kafka import Consumer, Producer

    topic = create_topic("in", partitions=2)
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap, "transactional.id": topic_prefix})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, key=b"pump-7", value=b"21.5")
    producer.commit_transaction(20)
    consumer = Consumer(
        {
            "bootstrap.servers": services.kafka_bootstrap,
            "group.id": topic_prefix,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert (message.key(), message.value(), message.error()) == (b"pump-7", b"21.5", None)


def test_the_store_refuses_to_evict(redis_client):
    assert redis_client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_two_topics_of_a_test_share_its_prefix(create_topic, topic_prefix):
    assert {create_topic("a"), create_topic("b")} == {f"{topic_prefix}.a", f"{topic_prefix}.b"}


@pytest.mark.services
def test_a_killed_broker_comes_back_on_its_port_with_its_topics(tmp_path):
    from confluent_kafka.admin import AdminClient, NewTopic

    with LocalServices(tmp_path, free_ports=True, downloads=JARS) as own:
        address = own.kafka_bootstrap
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result(20)
        own.kafka.kill()
        assert [line.state for line in own.status()] == ["stopped", "running"]
        own.kafka.start()
        assert own.kafka_bootstrap == address
        client = AdminClient({"bootstrap.servers": address})
        assert len(client.list_topics("kept", timeout=20).topics["kept"].partitions) == 3


# Life and death of one server


def test_start_returns_when_it_answers_and_stop_when_it_is_gone(valkey):
    valkey.start()
    pid = valkey.pid
    assert valkey.answers()
    valkey.stop()
    assert not psutil.pid_exists(pid)
    assert not valkey.is_running()
    assert valkey.log_path.read_text().count("Ready to accept connections") == 1


def test_starting_a_running_server_changes_nothing(valkey):
    valkey.start()
    pid = valkey.pid
    valkey.start()
    assert valkey.pid == pid


def test_what_was_acknowledged_survives_a_kill(valkey):
    import redis

    valkey.start()
    with redis.Redis(port=valkey.port) as client:
        client.set("state", b"acknowledged")
    valkey.kill()
    valkey.start()
    with redis.Redis(port=valkey.port) as client:
        assert client.get("state") == b"acknowledged"


def test_a_server_that_a_short_lived_thread_started_stays(valkey):
    thread = threading.Thread(target=valkey.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert valkey.answers()


def test_a_paused_server_does_not_answer_until_it_is_resumed(valkey):
    valkey.start()
    valkey.pause()
    assert valkey.is_running()
    assert not valkey.answers()
    valkey.resume()
    assert valkey.answers()


def test_a_server_that_cannot_start_says_why_with_its_own_words(valkey, monkeypatch):
    monkeypatch.setattr(valkey, "command", lambda: [sys.executable, "-c", "print('no room left'); raise SystemExit(3)"])
    with pytest.raises(TidecastError, match=r"(?s)ended while it was starting.*no room left"):
        valkey.start()


def test_a_server_that_never_answers_is_given_up_and_ended(valkey, monkeypatch):
    monkeypatch.setattr(valkey, "command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(valkey, "ready_timeout_s", 0.3)
    with pytest.raises(TidecastError, match=r"did not answer"):
        valkey.start()
    assert not valkey.is_running()


def test_a_taken_port_is_named_together_with_its_holder(valkey):
    with socket.create_server((LOCALHOST, valkey.port)):
        with pytest.raises(TidecastError, match=rf"port {valkey.port} .*\(pid {os.getpid()}\).*--free-ports"):
            valkey.start()
        assert str(os.getpid()) in holder(valkey.port)


def test_a_pid_that_was_given_to_another_process_is_left_alone(valkey):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        created = psutil.Process(stranger.pid).create_time()
        state_file = StateFile(valkey.directory / "services.json")
        state_file.put("valkey", Recorded(stranger.pid, created - 100, {"client": valkey.port}))
        assert not valkey.is_running()
        valkey.kill()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_dies_with_the_program_that_started_it(tmp_path, signal_number):
    program = f"""
import sys, time
from pathlib import Path
from stream_app.local_services.state_file import StateFile
from stream_app.local_services.valkey_server import ValkeyServer
server = ValkeyServer(directory=Path({str(tmp_path)!r}), ports={{"client": {free_port()}}}, tied=True,
                      state_file=StateFile(Path({str(tmp_path)!r}) / "services.json"))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal_number)
    parent.wait(10)
    parent.stdout.close()
    child.wait(10)
    assert not child.is_running()


# Files and ports


def test_the_state_file_gives_back_what_was_put(tmp_path):
    state_file = StateFile(tmp_path / "services.json")
    kafka, valkey = Recorded(7, 1.5, {"client": 1, "controller": 2}), Recorded(8, 2.5, {"client": 3})
    state_file.put("kafka", kafka)
    state_file.put("valkey", valkey)
    assert state_file.read() == {"kafka": kafka, "valkey": valkey}
    state_file.remove("kafka")
    assert state_file.read() == {"valkey": valkey}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kafka": {"pid": 1}}', "null"])
def test_a_broken_state_file_reads_as_nothing_running(tmp_path, text):
    (tmp_path / "services.json").write_text(text)
    assert StateFile(tmp_path / "services.json").read() == {}


def test_free_ports_lie_below_those_of_outgoing_connections():
    ports = [free_port() for _ in range(20)]
    assert all(FREE_PORT_MIN <= port < FREE_PORT_MAX and is_free(port) for port in ports)


def test_cluster_ids_are_what_kafka_expects():
    ids = [new_cluster_id() for _ in range(200)]
    assert all(len(each) == 22 and not each.startswith("-") for each in ids)


def test_a_second_program_on_the_same_folder_is_refused(tmp_path):
    first = LocalServices(tmp_path)
    first._take_lock()
    with pytest.raises(TidecastError, match="Another tidecast program"):
        LocalServices(tmp_path).up()
    first._release_lock()


def test_what_may_be_erased_is_never_where_data_is_kept(tmp_path):
    kept, temporary = LocalServices(tmp_path, persistent=True), LocalServices(tmp_path)
    (kept.directory / "kafka").mkdir(parents=True)
    temporary.down()
    assert (kept.directory / "kafka").exists()


# Kafka's jars


def test_each_listed_jar_has_a_sum_and_coordinates():
    jars = kafka_jars.listed_jars()
    assert {len(jar.sha256) for jar in jars} == {64}
    assert f"kafka_2.13-{kafka_jars.KAFKA_VERSION}.jar" in {jar.file_name for jar in jars}
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {kafka_jars.KAFKA_VERSION}


def test_a_jar_with_another_content_is_refused_and_thrown_away(tmp_path, monkeypatch):
    jar = kafka_jars.listed_jars()[0]
    forged = tmp_path / "staging" / jar.file_name
    forged.parent.mkdir()
    forged.write_bytes(b"not the jar")
    monkeypatch.setattr(kafka_jars, "_locate", lambda jar, staging: forged)
    with pytest.raises(TidecastError, match="is not the expected one"):
        kafka_jars._fetch(jar, target=tmp_path, staging=tmp_path / "staging")
    assert not forged.exists()
    assert not (tmp_path / jar.file_name).exists()


def test_without_jars_the_two_other_ways_are_named(tmp_path, monkeypatch):
    from jgo.maven import PythonResolver

    def unreachable(self, artifact):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(PythonResolver, "download", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TidecastError, match=r"docker compose.*TIDECAST__KAFKA__BOOTSTRAP_SERVERS"):
        kafka_jars.install_kafka_jars(tmp_path)


# The command line


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from stream_app.cli.command_line import build_app; build_app(None);"
        "print([name for name in ('torch', 'numpy', 'faust', 'confluent_kafka', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_of_nothing_is_stopped_with_exit_code_1(tmp_path):
    done = CliRunner().invoke(build_app("services"), ["services", "status", "--json", "--dir", str(tmp_path)])
    assert done.exit_code == 1
    assert [(line["name"], line["state"]) for line in json.loads(done.stdout)] == [
        ("kafka", "stopped"),
        ("valkey", "stopped"),
    ]


def test_an_error_of_the_user_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LocalServices, "up", lambda self: (_ for _ in ()).throw(TidecastError("port taken")))
    with pytest.raises(SystemExit) as stopped:
        main(["services", "up", "--dir", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip().endswith("tidecast: port taken")


@pytest.mark.services
def test_up_is_idempotent_and_down_ends_what_another_program_started(tmp_path):
    def tidecast(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from stream_app.cli import main; main()", "services", *words]
        return subprocess.run([*command, "--dir", str(tmp_path)], capture_output=True, text=True, timeout=90)

    (tmp_path / "kafka-jars").symlink_to(JARS)
    first = tidecast("up", "--free-ports", "--json")
    assert first.returncode == 0, first.stderr
    try:
        pids = {line["name"]: line["pid"] for line in json.loads(first.stdout)}
        again = json.loads(tidecast("up", "--free-ports", "--json").stdout)
        assert {line["name"]: line["pid"] for line in again} == pids
        os.kill(pids["valkey"], signal.SIGKILL)
        revived = json.loads(tidecast("up", "--json").stdout)
        assert [line["address"] for line in revived] == [line["address"] for line in again]
        assert f"export TIDECAST__REDIS__URL=redis://{again[1]['address']}/0" in tidecast("up").stderr
        pids |= {line["name"]: line["pid"] for line in revived}
        assert tidecast("status").returncode == 0
    finally:
        ended = tidecast("down")
    assert ended.returncode == 0
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert tidecast("status").returncode == 1


def test_a_server_that_does_not_answer_is_replaced_by_one_on_its_port(tmp_path, monkeypatch):
    monkeypatch.setattr(KafkaServer, "start", lambda self: None)
    monkeypatch.setattr(server_process, "STOP_TIMEOUT_S", 0.1)
    first = LocalServices(tmp_path, free_ports=True, persistent=True).up()
    again = LocalServices(tmp_path, persistent=True)
    pid = first.valkey.pid
    try:
        first.valkey.pause()
        again.up()
        assert again.valkey.answers()
        assert again.valkey.pid != pid
        assert again.redis_url == first.redis_url
        assert not again.on_usual_ports
    finally:
        again.down()


@pytest.mark.services
def test_a_free_port_that_somebody_took_meanwhile_is_replaced(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = LocalServices(tmp_path, free_ports=True, downloads=JARS)
        own.valkey.ports = {"client": taken.getsockname()[1]}
        try:
            own._start(own.valkey)
            assert own.valkey.answers()
            assert own.valkey.port != taken.getsockname()[1]
        finally:
            own.down()
