"""Topics are created and checked, series deleted, on a real broker."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from model_core.durations import parse_duration_ms
from model_core.spec import OUTPUT_KINDS
from stream_app.cli import main
from stream_app.kafka.topics import FOREVER, TopicAdmin, wanted
from stream_app.settings import Settings
from stream_app.wire.json import decode
from tests.app.polls import NOW_MS, spec


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.fixture
def configuration(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> str:
    path = tmp_path / "tidecast.toml"
    path.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka_bootstrap}"\n[streams.pumps]\ntopic = "{topic_prefix}.in"\n'
        f'freq = "10min"\n[streams.pumps.outputs]\nprefix = "{topic_prefix}"\n'
    )
    return str(path)


def test_created_topics_pass_the_check(configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("topics", "check", "-c", configuration) == 1
    printed = capsys.readouterr().out
    assert all(role in printed for role in ("input", "dead_letters", "journal"))
    assert "in: it does not exist; `tidecast topics create` makes it\n" in printed
    assert run("topics", "create", "-c", configuration, "--partitions", "3", "--retention", "20d") == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in ("in (input", "forecasts", "dead-letters", "journal"))

    assert run("topics", "check", "-c", configuration, "--json") == 0
    found = {topic["role"]: topic for topic in json.loads(capsys.readouterr().out)}
    assert set(found) == {"input", *OUTPUT_KINDS}
    assert {topic["partitions"] for topic in found.values()} == {3}
    assert found["journal"]["retention_ms"] == found["input"]["retention_ms"] == parse_duration_ms("20d")

    assert run("topics", "create", "-c", configuration) == 0
    assert "All topics are there already" in capsys.readouterr().out
    assert run("topics", "create", "-c", configuration, "--partitions", "5") == 2
    assert "expected 3" in capsys.readouterr().err


def test_outputs_beside_an_input_that_is_there_are_kept_as_long(
    configuration: str, create_topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a deployment that is put beside another one, on its log."""
    create_topic("in", partitions=3, config={"retention.ms": "-1"})
    assert run("topics", "create", "-c", configuration) == 0
    assert run("topics", "check", "-c", configuration) == 0, capsys.readouterr().out


def test_what_would_break_a_replay_is_said(
    configuration: str, create_topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    create_topic("in", partitions=3, config={"cleanup.policy": "compact"})
    create_topic("journal", partitions=2)
    create_topic("forecasts", partitions=1)
    assert run("topics", "check", "-c", configuration, "--json") == 1
    problems = {topic["role"]: topic["problem"] for topic in json.loads(capsys.readouterr().out)}
    assert "cleanup.policy is compact" in problems["input"]
    assert "it has 2 partitions, the input 3" in problems["journal"]
    assert problems["forecasts"] is None
    assert "does not exist" in problems["drift"]


def test_an_input_kept_too_short_is_said(
    configuration: str, create_topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    create_topic("in", config={"retention.ms": "3600000"})
    create_topic("journal", config={"retention.ms": "60000"})
    assert run("topics", "check", "-c", configuration, "--json") == 1
    problems = {topic["role"]: topic["problem"] for topic in json.loads(capsys.readouterr().out)}
    assert "retention.ms is 1h: a lost state cannot be rebuilt" in problems["input"]
    assert "shorter than the input's" in problems["journal"]


@pytest.mark.parametrize(
    ("listens", "patience", "found"),
    [
        (False, "1h", "found that nobody listens there. Is it running"),  # nor does it wait an hour for that
        (True, "300ms", "found none that answers"),
    ],
)
def test_a_wrong_address_is_said_in_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    listens: bool,
    patience: str,
    found: str,
) -> None:
    monkeypatch.setenv("TIDECAST__LIMITS__KAFKA_TIMEOUT", patience)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:
            other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        path = tmp_path / "tidecast.toml"
        path.write_text(f'[kafka]\nbootstrap_servers = "{address}"\n[streams.a]\ntopic = "a"\nfreq = "1s"\n')
        assert run("topics", "check", "-c", str(path)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"Expected a Kafka broker at {address} (kafka.bootstrap_servers), {found}" in said


def test_the_journal_is_kept_as_long_as_the_input() -> None:
    kept = {topic.role: topic for topic in wanted("pumps", spec(), partitions=4, retention_ms=FOREVER, compacted=True)}
    assert kept["journal"].retention_ms == kept["input"].retention_ms == FOREVER
    assert {role for role, topic in kept.items() if topic.cleanup == "compact"} == {"forecasts", "accuracy", "drift"}


def test_a_deleted_series_is_deleted_where_it_lives(
    configuration: str, create_topic: Callable[..., str], kafka_bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = create_topic("in", partitions=3)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(topic, key=b"pump-7", value=b'{"entity":"pump-7","values":{"temp":1}}', partition=2)
    producer.flush()
    del producer  # or it would look for the broker after its end
    assert run("series", "delete", "pump-7.temp", "-c", configuration) == 0
    assert "1 series of pumps" in capsys.readouterr().out

    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    messages = []
    while len(messages) < 4:
        messages += consumer.consume(4, 10)
    consumer.close()
    messages.sort(key=lambda each: (each.partition(), each.offset()))
    result = decode(spec(), messages, now_ms=NOW_MS * 2, partition_count=3)
    assert result.readings[2].series_ids == ["pump-7.temp"]
    assert {p: readings.deletions for p, readings in result.readings.items()} == {
        0: ((0, "pump-7.temp"),),
        1: ((0, "pump-7.temp"),),
        2: ((1, "pump-7.temp"),),
    }
    assert result.dead_letters == []


def test_what_is_no_series_id_is_not_deleted(configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("series", "delete", "a\nb", "-c", configuration) == 2
    assert "control characters" in capsys.readouterr().err


def test_partitions_are_those_of_the_broker(configuration: str, create_topic: Callable[..., str]) -> None:
    topic = create_topic("counted", partitions=2)
    assert TopicAdmin(Settings.load(configuration)).partitions()[topic] == (2, 1)
