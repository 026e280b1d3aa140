"""The configuration: one file, the environment over it, and one clear sentence for each thing that is wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_app.cli import main
from stream_app.documents import DOCUMENTS, FOLDER
from stream_app.errors import TidecastError
from stream_app.settings import Settings
from stream_app.settings.kafka_properties import OWNED
from stream_app.settings.secrets import REDACTED
from stream_app.settings.table import rows

Write = Callable[..., Path]
SMALLEST = '[streams.pumps]\ntopic = "pumps"\nfreq = "10min"\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "tidecast.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problem(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(TidecastError) as error:
        Settings.load(path, environ or {})
    return str(error.value)


def test_topic_and_freq_are_enough(write: Write) -> None:
    settings = Settings.load(write(SMALLEST), {})
    name, spec = settings.stream()
    assert (name, spec.topic, spec.freq) == ("pumps", "pumps", 600_000)
    assert settings.kafka.properties("consumer") == {"bootstrap.servers": "127.0.0.1:9092"}
    assert settings.instance_name


def test_the_configuration_of_the_guide_is_valid(write: Write) -> None:
    text = """
        application_id = "demo"
        delivery = "at_least_once"
        [http]
        port = 0
        [kafka]
        bootstrap_servers = "broker:9092"
        [redis]
        url = "redis://127.0.0.1:6379/0"
        [models]
        registry = ".tidecast/models"
        [streams.appliances]
        topic = "appliances"
        freq = "10min"
        context_length = 432
        horizon = 24
        readings_per_step = 1
        max_out_of_orderness = "0s"
        allowed_lateness = "30min"
        seasonality = ["1d", "7d"]
        [streams.appliances.outputs]
        prefix = "elsewhere"
    """
    settings = Settings.load(write(text), {})
    assert settings.streams["appliances"].outputs.topic("forecasts", "appliances") == "elsewhere.forecasts"


def test_the_environment_goes_before_the_file(write: Write) -> None:
    secret = write("hunter2\n", "secret")
    environ = {
        "TIDECAST__KAFKA__BOOTSTRAP_SERVERS": "other:9092",
        "TIDECAST__KAFKA__CLIENT__SASL_PASSWORD_FILE": str(secret),
        "TIDECAST__LIMITS__CHECKPOINT_INTERVAL": "5s",
        "TIDECAST__STREAMS__PUMP_ROOM__HORIZON": "7",
        "TIDECAST__STREAMS__PUMP_ROOM__QUANTILE_LEVELS": "[0.25, 0.5, 0.75]",
        "TIDECAST_DEBUG": "1",
        "PATH": "/bin",
    }
    path = write('[kafka]\nbootstrap_servers = "b:1"\n' + SMALLEST.replace("streams.pumps", "streams.Pump-room"))
    settings = Settings.load(path, environ)
    assert settings.kafka.properties("admin") == {"bootstrap.servers": "other:9092", "sasl.password": "hunter2"}
    assert settings.limits.checkpoint_interval == 5_000
    assert settings.streams["Pump-room"].horizon == 7
    assert settings.streams["Pump-room"].quantile_levels == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("servers", ["a", "a:1, [::1]:9092 ,c:3", "SASL_SSL://a:9092", "[::1]", "a-b.c.svc:65535"])
def test_an_address_as_librdkafka_takes_it_is_taken(write: Write, servers: str) -> None:
    assert Settings.load(write(f"[kafka]\nbootstrap_servers = '{servers}'"), {}).kafka.bootstrap_servers == servers


def test_without_a_file_the_environment_is_enough() -> None:
    assert Settings.load(None, {"TIDECAST__REDIS__URL": "redis://there:1/0"}).redis.url == "redis://there:1/0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kafka]\nbootstrap_server = 'x'", "kafka.bootstrap_server: expected a known key, found 'bootstrap_server'. "
         "Did you mean bootstrap_servers?"),
        ("[limit]\n", "limit: expected a known key, found 'limit'. Did you mean limits?"),
        ("horizon = 3", "horizon: expected a known key, found 'horizon'. Valid keys here: application_id"),
        (SMALLEST + "horizont = 3", "streams.pumps.horizont: expected a known key, found 'horizont'. Did you mean "
         "horizon?"),
        (SMALLEST + "[streams.pumps.outputs]\nprefx = 'x'", "streams.pumps.outputs.prefx: expected a known key, found "
         "'prefx'. Did you mean prefix?"),
        ("[streams.pumps]\ntopic = 'pumps'", "streams.pumps.freq: expected a value, found none. It is: The grid step"),
        (SMALLEST + "horizon = 0", "streams.pumps.horizon: expected greater than or equal to 1, found 0. It is: Steps"),
        (SMALLEST + "horizon = 'x'", "streams.pumps.horizon: expected a whole number, found 'x'. It is: Steps"),
        (SMALLEST + "aggregate = 'avg'", "streams.pumps.aggregate: expected 'mean', 'sum', 'last', 'min', 'max' or "
         "'count', found 'avg'."),
        (SMALLEST + "quantile_levels = [0.9, 0.5]", "streams.pumps.quantile_levels: expected rising probabilities"),
        ("[streams.pumps]\ntopic = 'p'\nfreq = '10 minutes'", "streams.pumps.freq: expected a duration such as 30s"),
        ("[streams.pumps]\ntopic = 'p'\nfreq = 15", "streams.pumps.freq: expected a duration of 1s or more, such as "
         '"15min", found 15ms'),
        (SMALLEST + "idle_timeout = 0", "streams.pumps.idle_timeout: expected a duration of 1ms or more"),
        ("[streams.pumps]\ntopic = 'the pumps'\nfreq = '1h'", "streams.pumps.topic: expected the name of a topic"),
        ("[streams.'the pumps']\ntopic = 'p'\nfreq = '1h'", "found 'the pumps.forecasts'. Outputs are named after"),
        (SMALLEST + "[streams.b]\ntopic = 'b'\nfreq = '1s'\n[streams.b.outputs]\nprefix = 'pumps'", "streams.b."
         "outputs: expected a topic of its own for forecasts of b, found 'pumps.forecasts', which is forecasts of"),
        (SMALLEST + "[streams.pumps.outputs]\nforecasts = 'pumps'", "which is the input of pumps"),
        ("delivery = 'twice'", "delivery: "),
        ("[kafka]\nbootstrap_servers = 'kafka://b:9092'", "kafka.bootstrap_servers: expected HOST:PORT, several "
         "separated by commas, found 'kafka://b:9092'"),
        ("[kafka]\nbootstrap_servers = 'a:9092,b:0'", "found 'b:0'"),
        ("[kafka]\nbootstrap_servers = 'a:9092/0'", "found 'a:9092/0'"),
        ("[schema_registry]\nurl = 'registry:8081'", "schema_registry.url: expected http:// or https:// addresses"),
        ("[redis]\nurl = 'http://r:6379/0'", "redis.url: expected redis://, rediss:// or unix://"),
        ("[redis]\nurl = 'redis://r:6379/cache'", "found a database that is no number"),
        ("[redis]\nurl = 'redis://r:6379/99999999999'", "found a database above 2147483647"),
        ("[redis]\nurl = 'redis://r:70000/0'", "found a port above 65535"),
        ("application_id = 'a b'", "application_id: expected"),
        ("[kafka", "expected TOML"),
        ("[kafka.client]\n'group.id' = 'x'", "kafka.client: group.id cannot be set here: it is the application_id."),
    ],
)  # fmt: skip
def test_each_problem_is_one_sentence_with_key_expected_found_and_remedy(write: Write, text: str, words: str) -> None:
    path = write(text)
    said = problem(path)
    assert said.startswith(str(path))
    assert words in said
    assert "\n" not in said
    assert "pydantic" not in said.lower()


def test_all_problems_are_said_at_once_and_name_where_they_come_from(write: Write) -> None:
    said = problem(
        write(SMALLEST + "horizon = 0\nhorizont = 1"),
        {"TIDECAST__KAFKA__BOOTSTRAP": "x", "TIDECAST__STREAMS__PUMPS__CONTEXT_LENGTH": "many"},
    )
    assert "4 problems" in said
    assert "kafka.bootstrap (from TIDECAST__KAFKA__BOOTSTRAP): expected a known key" in said
    assert "streams.pumps.context_length (from TIDECAST__STREAMS__PUMPS__CONTEXT_LENGTH): expected a whole" in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "found none. Name one with --config" in problem(tmp_path / "nowhere.toml")
    said = problem(tmp_path, {})
    assert "expected a readable UTF-8 file" in said


def test_workers_without_a_name_never_share_one(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 of two containers on the network of one host. By the name the brokers tell their producers apart."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    one, two = (Settings.load(write(SMALLEST), {}) for _ in range(2))
    assert one.instance_name == one.instance_name
    assert one.instance_name != two.instance_name


def test_a_missing_secret_is_named(write: Write) -> None:
    said = problem(write(SMALLEST), {"TIDECAST__REDIS__URL_FILE": "/nowhere/secret"})
    assert said.startswith("TIDECAST__REDIS__URL_FILE: expected the path of a readable file, found none (No such file")


@pytest.mark.parametrize("name", OWNED)
@pytest.mark.parametrize("section", ["client", "consumer", "producer"])
def test_properties_that_the_worker_owns_are_refused_with_the_reason(write: Write, name: str, section: str) -> None:
    said = problem(write(f'[kafka.{section}]\n"{name}" = "x"\n'))
    assert f"kafka.{section}: {name} cannot be set here: {OWNED[name]}" in said


def test_a_properties_file_of_a_hosted_service_is_read(write: Write) -> None:
    properties = write(
        "# Required\nbootstrap.servers=cloud:9092\nsecurity.protocol=SASL_SSL\nsasl.username = user\n"
        "sasl.password=a=b\n! note\nschema.registry.url=https://x\n",
        "client.properties",
    )
    settings = Settings.load(
        write(f"[kafka]\nproperties_file = '{properties}'\n[kafka.client]\n'sasl.username' = 'other'\n"), {}
    )
    assert settings.kafka.properties("producer") == {
        "bootstrap.servers": "cloud:9092",
        "security.protocol": "SASL_SSL",
        "sasl.username": "other",
        "sasl.password": "a=b",
    }
    properties.write_text("group.id=mine\n")
    again = Settings.load(write(f"[kafka]\nproperties_file = '{properties}'\n"), {})
    with pytest.raises(
        TidecastError, match=r"group\.id cannot be set here: it is the application_id\. Delete the line"
    ):
        again.kafka.properties("admin")


# --- commands and documents -------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_config_check_says_whether_a_file_is_valid(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", str(write(SMALLEST))) == 0
    assert "is valid. Streams: pumps." in capsys.readouterr().out.replace("\n", " ")
    assert run("config", "check", str(write(SMALLEST + "horizont = 1"))) == 2
    assert "Did you mean horizon?" in capsys.readouterr().err
    assert run("config", "check", str(write(SMALLEST + "format = 'avro'"))) == 2
    assert 'format = "avro" needs a schema registry' in capsys.readouterr().err


def test_config_show_redacts_secrets(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        '[redis]\nurl = "rediss://user:hunter2@there:6379/0"\n'
        '[kafka.client]\n"sasl.password" = "hunter2"\n"ssl.key.pem" = "hunter2"\n"sasl.username" = "me"\n'
        '[models]\nregistry = "s3://key:hunter2@bucket/x"\n'
    )
    assert run("config", "show", "--json", str(write(text + SMALLEST))) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    shown = {row["key"]: row for row in json.loads(printed)}
    assert shown["redis.url"]["value"] == f"rediss://user:{REDACTED}@there:6379/0"
    assert shown["kafka.client"]["value"]["sasl.username"] == "me"
    assert shown["streams.pumps.freq"] | {"description": ""} == {
        "key": "streams.pumps.freq",
        "value": "10min",
        "default": None,
        "is_default": False,
        "description": "",
        "change": "new stream",
    }
    assert run("config", "show", str(write(text + SMALLEST))) == 0
    assert "hunter2" not in capsys.readouterr().out


def test_every_setting_says_what_it_means_and_what_changing_it_means(write: Write) -> None:
    for row in rows(Settings.load(write(SMALLEST), {})):
        assert row.description.endswith("."), row.key
        assert row.change in ("restart", "rebuild", "new stream"), row.key


def test_a_setting_with_few_values_names_them_and_what_an_override_may_set_is_listed(write: Write) -> None:
    said = {row.key: row.description for row in rows(Settings.load(write(SMALLEST), {}))}
    for key, values in {
        "device": {"auto", "cpu", "cuda"},
        "streams.pumps.fill": {"forward", "interpolate", "zero"},
        "streams.pumps.calendar": {"hour_of_day", "day_of_week", "holidays"},
        "streams.pumps.outputs.format": {"json", "avro"},
        "models.promotion": {"gate", "shadow"},
    }.items():
        assert not [value for value in values if value not in said[key]], said[key]
    overrides = (FOLDER / "CONFIGURATION.md").read_text().partition("## [[streams.NAME.overrides]]")[2]
    assert {"match", "aggregate", "fill", "lower_bound", "upper_bound"} == {
        line.split("`")[1] for line in overrides.splitlines() if line.startswith("| `")
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_made_from_tables_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == DOCUMENTS[name](), "run `python -m stream_app.documents`"
