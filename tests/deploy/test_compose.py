"""docker-compose.yml: hardened, on 127.0.0.1, and what it tells tidecast exists; `make prove-deploy` asks Compose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_core.durations import parse_duration_ms
from stream_app.errors import TidecastError
from stream_app.settings import Settings
from tests.conftest import REPOSITORY
from tests.deploy.commands import not_settings, parsed, settings_of

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("tidecast:")}
CONFIGURATION = REPOSITORY / "deploy" / "compose" / "tidecast.toml"
ONE_SHOT = {"topics", "producer"}


def defaults(word: Any) -> str:
    """As Compose reads it where no variable is set."""
    return re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(word))


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    return {name: defaults(value) for name, value in service.get("environment", {}).items()}


def configuration() -> Settings:
    return settings_of(CONFIGURATION, {})


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_service_can_do_no_more_than_it_must(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), "a port of all addresses"
    assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*", service["image"]), "pin the version"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_stays_says_whether_it_is_well(name: str) -> None:
    assert name in {*ONE_SHOT, "trainer"} or SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_who_is_waited_for_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_completed_successfully":
            assert other in ONE_SHOT
        else:
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", OURS)
def test_commands_and_settings_exist(name: str) -> None:
    service = OURS[name]
    settings_of(CONFIGURATION, environment_of(service) | {"TIDECAST__DEVICE": "cpu"})
    assert "entrypoint" not in service, "the image's own: no shell stands between"
    parameters = parsed([defaults(word) for word in service["command"]])
    assert parameters["config"] == Path(service["configs"][0]["target"])
    if "topic" in parameters:
        assert parameters["topic"] in {stream.topic for stream in configuration().streams.values()}


@pytest.mark.parametrize(
    "name",
    [
        "TIDECAST__KAFKA__SERVERS",
        "TIDECAST__LIMIT__SHUTDOWN_DEADLINE",
        "TIDECAST_DEVICE",
        "TIDECAST__KAFKA__CLIENT__SASL_USER",
    ],
)
def test_a_setting_that_does_not_exist_is_noticed(name: str) -> None:
    with pytest.raises(TidecastError):
        settings_of(CONFIGURATION, environment_of(OURS["worker"]) | {name: "10s"})


@pytest.mark.parametrize("page", ["OPERATIONS.md", "ALERTS.md", "API.md", "FORMATS.md", "GUARANTEES.md"])
def test_settings_that_a_page_names_exist(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text()
    assert not_settings(text) == set()
    assert not_settings(text + " limits.kafka_patience") == {"limits.kafka_patience"}


def test_the_trainer_waits_for_what_workers_ask_and_trains_as_often_as_it_is_told() -> None:
    trainer = OURS["trainer"]
    parameters = parsed([defaults(word) for word in trainer["command"]])
    settings = settings_of(CONFIGURATION, environment_of(trainer))
    assert parameters["follow"] is True
    assert parse_duration_ms(parameters["every"]) == settings.models.retrain_interval


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for words in (["worker", "--confg", "a.toml"], ["topics", "make"], ["fly"]):
        with pytest.raises(BaseException, match=r"No such|no such|not loaded|was run") as refused:
            parsed(words)
        assert not isinstance(refused.value, KeyboardInterrupt)


def test_addresses_are_those_of_the_services() -> None:
    settings = configuration()
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    advertised = dict(each.split("://") for each in listeners.split(","))
    assert settings.kafka.bootstrap_servers == advertised["INSIDE"]
    assert settings.redis.url.split("/")[2].split(":")[0] in SERVICES
    assert f"{advertised['OUTSIDE']}:9092" in SERVICES["kafka"]["ports"]
    scraped = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == {name for name in SERVICES if name.startswith("worker")}
    assert found["port"] == settings.http.port
    for name in found["names"]:
        assert SERVICES[name]["ports"][0].endswith(f":{settings.http.port}")


def test_a_worker_may_take_as_long_to_stop_as_it_needs() -> None:
    limits = configuration().limits
    needed_s = (limits.shutdown_deadline + limits.transaction_timeout) / 1000
    for name in ("worker", "worker-gpu"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > needed_s


def test_the_store_evicts_nothing() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_what_is_mounted_from_here_is_here() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (REPOSITORY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
    for made in COMPOSE["configs"].values():
        assert (REPOSITORY / made["file"]).exists()
