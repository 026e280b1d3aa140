"""A secret is in no line that a person or a log collector reads: the canary is looked for wherever it could sing."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from stream_app.cli import main
from stream_app.observability.logs import configure_logs
from stream_app.settings import Settings
from stream_app.settings.secrets import redact

CANARY = 'canary-"ü/trills'
ENCODED = "canary-%22%C3%BC%2Ftrills"
STREAM = '[streams.tides]\ntopic = "t"\nfreq = "10min"\n'


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The secret in every place that may hold one."""
    (tmp_path / "client.properties").write_text(f"sasl.username=me\nsasl.password={CANARY}\n")
    path = tmp_path / "tidecast.toml"
    path.write_text(
        f'[redis]\nurl = "rediss://user:{ENCODED}@there:6379/0?ssl_password={ENCODED}"\n'
        f'[kafka]\nproperties_file = "{tmp_path / "client.properties"}"\n'
        f'[kafka.client]\n"ssl.key.password" = {quoted(CANARY)}\n"sasl.oauthbearer.client.secret" = {quoted(CANARY)}\n'
        f'"ssl.key.pem" = {quoted(CANARY)}\n[kafka.producer]\n"ssl.keystore.password" = {quoted(CANARY)}\n'
        f'[models]\nregistry = "s3://key:{ENCODED}@bucket/x"\n{STREAM}'
    )
    return path


def sings(text: str) -> bool:
    return "canary" in text or "trills" in text


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


@pytest.mark.parametrize("options", [(), ("--json",), ("--changed",)])
def test_what_is_in_force_is_shown_without_secrets(config: Path, capsys, options: tuple[str, ...]) -> None:
    code, text = run(capsys, "config", "show", "--config", str(config), *options)
    assert code == 0
    assert not sings(text), text
    assert "***" in text


# Each is a mistake that somebody makes with a secret at hand; the sentence names the key, not the value.
MISTAKES = {
    "password that is not encoded": f"[redis]\nurl = {quoted('redis://user:canary/trills@there:6379/0')}\n",
    "password with a hash": f"[redis]\nurl = {quoted('redis://user:canary#trills@there:6379/0')}\n",
    "other scheme": f"[redis]\nurl = {quoted('http://user:canarytrills@there:6379/0')}\n",
    "no scheme": f"[redis]\nurl = {quoted('user:canarytrills@there:6379/0')}\n",
    "port": f"[redis]\nurl = {quoted('redis://there:canarytrills')}\n",
    "list": '[kafka.client]\n"sasl.password" = ["canarytrills"]\n',
    "table": '[kafka.client]\nsasl.password = "canarytrills"\n',
    "unknown table": '[kafka]\npassword = "canarytrills"\n',
    "unknown key of redis": '[redis]\npassword = "canarytrills"\n',
    "only for Java": '[kafka.client]\n"sasl.jaas.config" = "canarytrills"\n',
    "list of addresses": '[redis]\nurl = ["redis://user:canarytrills@there:6379/0"]\n',
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_with_a_secret_is_named_without_it(tmp_path: Path, capsys, text: str) -> None:
    path = tmp_path / "tidecast.toml"
    path.write_text(text + STREAM)
    code, said = run(capsys, "config", "check", "--config", str(path))
    assert code == 2, said
    assert not sings(said), said
    assert "kafka" in said or "redis" in said


@pytest.mark.parametrize(
    "line", ["sasl.password canarytrills", "sasl.jaas.config=canarytrills", "group.id=canarytrills"]
)
def test_a_mistake_in_a_properties_file_is_named_without_its_value(tmp_path: Path, capsys, line: str) -> None:
    (tmp_path / "client.properties").write_text(line + "\n")
    path = tmp_path / "tidecast.toml"
    path.write_text(f'[kafka]\nproperties_file = "{tmp_path / "client.properties"}"\n{STREAM}')
    code, said = run(capsys, "config", "check", "--config", str(path))
    assert code == 2
    assert not sings(said), said
    assert "client.properties" in said


@pytest.mark.parametrize("as_json", [True, False])
def test_no_line_of_a_log_holds_a_secret_whoever_wrote_it(config: Path, as_json: bool) -> None:
    settings, stream = Settings.load(config, {}), io.StringIO()
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    configure_logs("debug", json=as_json, stream=stream)
    try:
        log = structlog.get_logger("test")
        log.info("settings", kafka=settings.kafka.properties("producer"), url=settings.redis.url)
        log.warning(f"the client said: bad password {CANARY}", error=ValueError(CANARY), more=[{"x": ENCODED}])
        logging.getLogger("a library").error("cannot reach %s", settings.models.registry)
        try:
            raise ValueError(f"connect {settings.redis.url}")
        except ValueError:
            log.exception("it failed")
        for handler in root.handlers:
            handler.flush()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    lines = stream.getvalue()
    assert "it failed" in lines
    assert "cannot reach" in lines
    assert not sings(lines), lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://u:p@ss/w#rd@there:1/0", "redis://u:***@there:1/0"),
        ("redis://there:6379/0", "redis://there:6379/0"),
        ("b1:9092,b2:9092", "b1:9092,b2:9092"),
        ("s3://bucket/path", "s3://bucket/path"),
        ("rediss://h:1/0?ssl_password=x&a=b", "rediss://h:1/0?ssl_password=***&a=b"),
    ],
)
def test_an_address_is_shown_without_its_password(value: str, shown: str) -> None:
    assert redact(value) == shown
