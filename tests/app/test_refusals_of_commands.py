"""What a person gets wrong at first is answered by one sentence that says what to do, by every command, at once."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import structlog

from stream_app.cli import main
from stream_app.cli.command_line import COMMANDS
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
READINGS = "thing,at_time,amount\n" + "".join(f"a,2026-03-0{day},1\n" for day in range(1, 8))
ITS_COLUMNS = ("--series-column=thing", "--time-column=at_time", "--value-column=amount")
PRODUCE = ("produce", DATA, "--topic", "tides")
WITHOUT_BROKER = {
    "produce": PRODUCE,
    "train": ("train",),
    "watch": ("watch", "--once"),
    "topics create": ("topics", "create"),
    "topics check": ("topics", "check"),
    "dead-letters list": ("dead-letters", "list"),
    "dead-letters show": ("dead-letters", "show", "0:0"),
    "dead-letters requeue": ("dead-letters", "requeue", "--all"),
    "dead-letters accept": ("dead-letters", "accept"),
    "series delete": ("series", "delete", "s"),
    "reset --to": ("reset", "--to", "earliest"),
    "reset --resume-from-state": ("reset", "--resume-from-state"),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where no registry of models is, and none is left
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
    """The words are those of who asks first whether anybody listens there, and does not wait for an answer."""
    said = refused(capfd, tmp_path, TEXT, *words)
    assert f"Expected a Kafka broker at {NOBODY} (kafka.bootstrap_servers), found that nobody listens there." in said


@pytest.mark.parametrize("words", [PRODUCE, ("watch", "--once", "--prefix=tides")])
def test_an_address_on_the_command_line_wins(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert "a Kafka broker at 127.0.0.1:7 " in refused(capfd, tmp_path, TEXT, *words, "--bootstrap=127.0.0.1:7")
    assert "--bootstrap: expected HOST:PORT" in refused(capfd, tmp_path, TEXT, *words, "--bootstrap=kafka:kafka")


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


def test_an_option_that_would_do_nothing_is_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--stream goes with --register" in refused(capfd, tmp_path, TEXT, "schema", "--stream=tides")


@pytest.mark.parametrize("words", [("worker",), ("train", "--follow"), ("api",)])
def test_a_properties_file_that_is_no_good_is_refused_before_anybody_is_waited_for(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    handed_out = tmp_path / "client.properties"
    text = TEXT.replace("[kafka]", f"[kafka]\nproperties_file = '{handed_out}'")
    assert f"expected a readable text file, found {handed_out}" in refused(capfd, tmp_path, text, *words)
    handed_out.write_text("security.protocol SSL\n")
    assert f"{handed_out}, line 1: expected key=value" in refused(capfd, tmp_path, text, *words)


@pytest.mark.parametrize("command", ["train", "backtest", "watch"])
def test_which_of_several_streams_is_asked(capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    said = refused(capfd, tmp_path, TEXT + STREAM.replace("tides", "waves"), command)
    assert "tides, waves. Name one with --stream" in said


@pytest.mark.parametrize("words", [("train",), ("reset", "--to=earliest"), ("topics", "check"), ("models", "list")])
def test_a_stream_that_is_not_configured(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = refused(capfd, tmp_path, TEXT, *words, "--stream=waves")
    assert "'waves'" in said
    assert "tides" in said


@pytest.mark.parametrize("words", [("train", "--until"), ("backtest", "--from")])
def test_a_time_that_is_none(capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    said = refused(capfd, tmp_path, TEXT, *words, "yesterday")
    assert f"{words[1]}: expected a time such as 2026-03-01T00:00:00Z, found 'yesterday'" in said


@pytest.mark.parametrize("words", [("report",), ("show",), ("promote",), ("export", "--out=m.onnx")])
def test_a_model_that_is_not_there(capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    said = refused(capfd, tmp_path, TEXT, "models", *words, "nobody")
    assert "no model nobody of stream tides" in said
    assert "see `tidecast models list`" in said


def test_a_file_of_readings_that_is_not_there_or_is_none(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such file" in refused(capfd, tmp_path, TEXT, "produce", "nowhere.csv", "--topic=tides")
    assert "no such file" in refused(capfd, tmp_path, TEXT, "train", "--file=nowhere.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    said = refused(capfd, tmp_path, TEXT, "produce", str(tmp_path / "other.csv"), "--topic=tides")
    assert "--time-column" in said


@pytest.mark.parametrize(
    ("name", "words", "then"),
    [
        ("nowhere.csv", [], "no such file"),
        ("readings.csv", [], "--series-column"),
        ("readings.csv", ITS_COLUMNS, "such as --freq 1d"),
        ("readings.csv", ["--freq=1d", *ITS_COLUMNS], "expected at least 96 steps of 1d, found 7"),
    ],
)
def test_what_the_demo_cannot_play(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str, words: list[str], then: str
) -> None:
    """A file that is not there before the options that go with it."""
    (tmp_path / "readings.csv").write_text(READINGS)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--data", str(tmp_path / name), *words])
    assert ended.value.code == 2
    assert then in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (("train", "--until=2020-01-01", "--file"), "No usable reading"),
        (("backtest", "--from=2027-01-01", "--file"), "7 readings before"),
        (("produce", "--topic=tides"), NOBODY),
    ],
)
def test_the_columns_of_a_file_can_be_named_wherever_one_is_read(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], then: str
) -> None:
    file = tmp_path / "readings.csv"
    file.write_text(READINGS)
    assert then in refused(capfd, tmp_path, TEXT, *words, str(file), *ITS_COLUMNS)


@pytest.mark.parametrize(
    "words",
    [
        ("backtest", f"--file={DATA}", "--html"),
        ("models", "try", "--set=rain=1", "--html"),
        ("models", "report", "--out"),
    ],
)
def test_a_page_that_cannot_be_written_is_said_before_the_work(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = refused(capfd, tmp_path, TEXT, *words, str(tmp_path / "nowhere" / "page.html"))
    assert "page.html: expected a file to write, there is no folder" in said
    assert "found a folder" in refused(capfd, tmp_path, TEXT, *words, str(tmp_path))


def test_an_exported_model_is_no_folder(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One that is not there yet is made."""
    assert "found a folder" in refused(capfd, tmp_path, TEXT, "models", "export", "--out", str(tmp_path))
    assert "has no champion yet" in refused(capfd, tmp_path, TEXT, "models", "export", f"--out={tmp_path}/new/a.onnx")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?ssl_ca_cert=a.pem", "found ssl_ca_cert. Did you mean ssl_ca_certs?"),
        ("?nobody=1", "found nobody. Remove it."),
        ("?db=first", "Invalid value for 'db'"),
    ],
)
def test_an_option_of_redis_that_nobody_knows(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, query: str, said: str
) -> None:
    assert said in refused(
        capfd, tmp_path, TEXT.replace(f"redis://{NOBODY}/0", f"rediss://{NOBODY}/0{query}"), "worker"
    )


@pytest.mark.parametrize("words", [("train", f"--file={DATA}"), ("train",)])
def test_a_registry_that_cannot_be_written_is_said_before_the_work(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    in_its_way = tmp_path / "models"
    in_its_way.write_text("")
    text = TEXT.replace("[streams", f"[models]\nregistry = '{in_its_way}/of/tides'\n[streams")
    said = refused(capfd, tmp_path, text, *words)
    assert f"models.registry = '{in_its_way}/of/tides'" in said
    assert "expected a folder that this user may write" in said


def test_what_the_system_refuses_is_no_traceback(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    in_its_way = tmp_path / "schemas"
    in_its_way.write_text("")
    said = refused(capfd, tmp_path, TEXT, "schema", "--dir", str(in_its_way))
    assert f"{in_its_way}: File exists" in said
    assert "--debug" in said


def test_watch_takes_the_configuration_of_this_folder(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, said in (("", "Name what to watch"), (TEXT, NOBODY)):
        if text:
            (tmp_path / "tidecast.toml").write_text(text)
        with pytest.raises(SystemExit):
            main(["watch", "--once"])
        assert said in capfd.readouterr().err


def test_the_version_is_that_of_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capfd.readouterr().out) == (0, f"tidecast {version('tidecast')}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_begins_with_what_it_does(capfd: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    lines = [line for line in capfd.readouterr().out.splitlines() if line.strip()]
    assert ended.value.code == 0
    assert f"Usage: tidecast {command}" in lines[0]
    assert lines[1].strip(" ─╭╮│")
    assert "--help" in "".join(lines)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("words", [("train",), ("produce",), ("demo",), ("models", "export"), ("dead-letters", "list")])
def test_the_help_of_a_command_names_all_its_options_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    options = set(re.findall(r"--[a-z-]+", helped(capfd, words)))
    monkeypatch.setenv("COLUMNS", str(width))
    said = helped(capfd, words)
    assert set(re.findall(r"--[a-z-]+", said)) >= options
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= max(width, 50)  # what options are called is never broken


def helped(capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("words", [("doctor",), ("topics", "check"), ("dead-letters", "list"), ("watch", "--once")])
def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path: Path, words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a broker that takes connections and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "tidecast.toml").write_text(TEXT.replace("500ms", "5s", 1).replace(NOBODY, address, 1))
        command = [sys.executable, "-c", "from stream_app.cli import main; main()", *words, "--config=tidecast.toml"]
        running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        connection.close()
    assert running.returncode == 130, said
    assert "Traceback" not in said


# The n-th import of the process is when the signal comes: whatever is being loaded, whatever callback runs then.
INTERRUPTED_AT = """
import signal, sys
left = int(sys.argv.pop(1))

def heard(event, _):
    global left
    left -= event == "import"
    if left == 0 and event == "import":
        signal.raise_signal(signal.SIGINT)

sys.addaudithook(heard)
from stream_app.cli import main
main()
"""
FIRST, LAST = 3, 500  # of `tidecast config show`; the first two are that of our own package


@pytest.mark.parametrize("part", range(3))
def test_ctrl_c_while_modules_come_in_shows_no_traceback(tmp_path: Path, rng: np.random.Generator, part: int) -> None:
    """From the first module to the last; behind the last one the command is over, and all was said."""
    (tmp_path / "tidecast.toml").write_text(TEXT)
    at = FIRST if part == 0 else int(rng.integers(FIRST, LAST))
    command = [sys.executable, "-c", INTERRUPTED_AT, str(at), "config", "show"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, f"at import {at}: {done.stderr}"
    assert done.returncode == 130 or (done.returncode == 0 and "tides" in done.stdout), at


LOST = """
import signal, time
from stream_app.cli import interrupts

class Callback:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

interrupts.leave_at_once()
try:
    with interrupts.in_order():
        Callback()  # where Python can but print what is raised
        time.sleep(60)
except KeyboardInterrupt:
    print("ended in order")
"""


def test_ctrl_c_that_comes_in_a_callback_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, cwd=REPOSITORY, timeout=50)
    assert (done.stdout, done.stderr) == ("ended in order\n", "")
