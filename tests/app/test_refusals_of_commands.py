"""What a person gets wrong at first is answered by one sentence that says what to do, by every command, at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from stream_app.cli import main
from stream_app.kafka import producing, topic_follower
from tests.conftest import REPOSITORY

NOBODY = "127.0.0.1:9"
DATA = str(REPOSITORY / "stream_app/data/uci374_appliances_26ch_10min.csv.gz")
TEXT = f"""
[kafka]
bootstrap_servers = "{NOBODY}"
[redis]
url = "redis://{NOBODY}/0"
[limits]
kafka_timeout = "500ms"
redis_timeout = "500ms"
[streams.tides]
topic = "tides"
freq = "10min"
"""
STREAM = TEXT[TEXT.index("[streams") :]
PRODUCE = ("produce", DATA, "--topic", "tides")
WITHOUT_BROKER = {
    "produce": PRODUCE,
    "train": ("train",),
    "watch": ("watch", "--once"),
    "topics create": ("topics", "create"),
    "topics check": ("topics", "check"),
    "dead-letters list": ("dead-letters", "list"),
    "dead-letters accept": ("dead-letters", "accept"),
    "series delete": ("series", "delete", "s"),
    "reset --to": ("reset", "--to", "earliest"),
    "reset --resume-from-state": ("reset", "--resume-from-state"),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producing, "BROKER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(topic_follower, "QUESTION_TIMEOUT_S", 0.5)
    structlog.reset_defaults()  # as in a process of its own: another test may have set up a worker's log


def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, *words: str) -> str:
    """The sentence: all that is said, by us or by a library, on both outputs. Exit code 2."""
    config = tmp_path / "tidecast.toml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--config", str(config)])
    out, said = capfd.readouterr()
    assert (ended.value.code, out) == (2, ""), out + said
    assert said.startswith("tidecast: ")
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("words", WITHOUT_BROKER.values(), ids=WITHOUT_BROKER)
def test_a_wrong_address_of_the_broker(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = refused(capfd, tmp_path, TEXT, *words)
    assert NOBODY in said
    assert "kafka.bootstrap_servers" in said


def test_a_name_that_nobody_knows(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = refused(capfd, tmp_path, TEXT.replace(NOBODY, "broker.invalid:9092", 1), "topics", "check")
    assert "Failed to resolve 'broker.invalid:9092'" in said
    assert "kafka.bootstrap_servers" in said


@pytest.mark.parametrize("command", ["worker", "train", "watch", "api", "doctor", "reset", "produce"])
def test_a_misspelt_key_is_named_with_the_one_that_was_meant(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    words = PRODUCE if command == "produce" else ("reset", "--to=earliest") if command == "reset" else (command,)
    said = refused(capfd, tmp_path, TEXT.replace("bootstrap_servers", "bootstrap_server"), *words)
    assert "kafka.bootstrap_server" in said
    assert "Did you mean bootstrap_servers?" in said


@pytest.mark.parametrize("command", ["worker", "train", "api", "doctor"])
def test_a_value_of_another_kind_is_shown_with_an_example(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    said = refused(capfd, tmp_path, TEXT.replace('"10min"', '"10 minuts"'), command)
    assert "streams.tides.freq" in said
    assert "10min" in said


@pytest.mark.parametrize("command", ["worker", "train", "api", "doctor", "watch"])
def test_a_file_that_is_not_there(capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    assert "--config FILE" in refused(capfd, tmp_path, None, command)


@pytest.mark.parametrize("command", ["worker", "train", "api"])
def test_no_stream_at_all(capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    assert "[streams.NAME]" in refused(capfd, tmp_path, TEXT.replace(STREAM, ""), command)


@pytest.mark.parametrize("words", [("train",), ("reset", "--to=earliest"), ("topics", "check"), ("models", "list")])
def test_a_stream_that_is_not_configured(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = refused(capfd, tmp_path, TEXT, *words, "--stream=waves")
    assert "'waves'" in said
    assert "tides" in said


def test_a_file_of_readings_that_is_not_there_or_is_none(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such file" in refused(capfd, tmp_path, TEXT, "produce", "nowhere.csv", "--topic=tides")
    assert "no such file" in refused(capfd, tmp_path, TEXT, "train", "--file=nowhere.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    said = refused(capfd, tmp_path, TEXT, "produce", str(tmp_path / "other.csv"), "--topic=tides")
    assert "--time-column" in said
