"""The doctor finds each thing that is really broken, says what to do about it, and finds nothing where all is well."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Consumer, ConsumerGroupState, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_app.cli import main
from stream_app.doctor import Severity, examine
from stream_app.doctor.brokers import Brokers
from stream_app.doctor.models import look_at_models
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.schema_registry.our_schemas import register
from stream_app.settings import Settings
from tests.app.registry_server import RegistryServer
from tests.app.running_worker import World, readings, wait_until


@pytest.fixture(scope="module")
def healthy(services, tmp_path_factory, request) -> Iterator[World]:
    """A deployment that has worked, with a champion; each test breaks one thing and mends it."""
    folder = tmp_path_factory.mktemp("doctor")
    world = World(services.kafka_bootstrap, services.redis_url, "doctored", 1, folder)
    world.create(world.topic)
    config = world.deployment("a")
    rng = np.random.default_rng(request.config.option.seed)
    worker = world.start(config)
    world.send(readings(np.round(10 + rng.normal(0, 1, (5, 3)), 3).tolist()))
    world.wait_for_forecasts("a", 15)
    assert worker.stop() == 0
    spec = Settings.load(config, {}).streams["tides"]
    registry = ModelRegistry(str(folder / "models"))
    fresh = untrained(spec, "m1", 0.1)
    registry.publish("tides", fresh, {})
    registry.promote("tides", "m1")
    yield world
    for each in world.workers:
        each.kill()


def settings_of(world: World, **limits: Any) -> Settings:
    settings = Settings.load(world.deployment("a"), {})
    return settings.model_copy(update={"limits": settings.limits.model_copy(update=limits)})


def found(settings: Settings, look: str, *words: str) -> Severity:
    """The severity of the one finding of that look that says these words; it has a remedy."""
    findings = examine(settings)
    mine = [each for each in findings if each.look == look and all(word in each.found + each.remedy for word in words)]
    assert len(mine) == 1, [f"{each.severity.name} {each.look} {each.about}: {each.found}" for each in findings]
    assert mine[0].remedy
    return mine[0].severity


# --- all is well ------------------------------------------------------------------------------------------------------


def test_where_all_is_well_nothing_is_found_but_that_no_worker_runs(healthy: World, capsys) -> None:
    """The model's date is that of its making in the test, long ago."""
    wrong = {each.look: each for each in examine(settings_of(healthy)) if each.severity is not Severity.OK}
    assert set(wrong) == {"workers", "model"}
    assert "no worker is running" in wrong["workers"].found
    assert "days old" in wrong["model"].found
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--config", str(healthy.deployment("a")), "--json"])
    assert ended.value.code == 1
    rows = json.loads(capsys.readouterr().out)
    fine = {row["look"] for row in rows if row["severity"] == "ok"}
    assert fine == {"kafka", "broker", "topic", "rights", "lag", "redis", "persistence", "memory", "clock", "state"}
    assert all(row["remedy"] for row in rows if row["severity"] != "ok")


# --- Kafka ------------------------------------------------------------------------------------------------------------


def test_brokers_that_are_away_are_the_only_finding_of_kafka(healthy: World) -> None:
    settings = settings_of(healthy, kafka_timeout=500)
    away = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    findings = examine(settings.model_copy(update={"kafka": away}))
    assert [each.look for each in findings if each.severity is Severity.ERROR] == ["kafka"]
    assert "kafka.bootstrap_servers" in findings[0].found


@contextlib.contextmanager
def topic_setting(world: World, topic: str, name: str, value: str) -> Iterator[None]:
    admin = AdminClient({"bootstrap.servers": world.bootstrap})

    def alter(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry(name, value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(30)

    alter(AlterConfigOpType.SET)
    yield
    alter(AlterConfigOpType.DELETE)


@pytest.mark.parametrize(
    ("topic", "name", "value", "words"),
    [
        ("doctored", "retention.ms", "3600000", ("retention.ms", "cannot be rebuilt")),
        ("doctored", "cleanup.policy", "compact", ("cleanup.policy is compact",)),
        ("doctored.a.journal", "retention.ms", "60000", ("shorter than the input",)),
    ],
    ids=["retention", "cleanup", "journal"],
)
def test_a_topic_that_a_replay_could_not_use_is_found(
    healthy: World, topic: str, name: str, value: str, words: tuple[str, ...]
) -> None:
    with topic_setting(healthy, topic, name, value):
        assert found(settings_of(healthy), "topic", *words) is Severity.ERROR


def test_a_topic_that_is_missing_is_found(healthy: World) -> None:
    settings = settings_of(healthy)
    spec = settings.streams["tides"]
    outputs = spec.outputs.model_copy(update={"drift": "nowhere"})
    other = settings.model_copy(update={"streams": {"tides": spec.model_copy(update={"outputs": outputs})}})
    assert found(other, "topic", "does not exist", "topics") is Severity.ERROR


def test_a_transaction_longer_than_the_brokers_allow_is_found(healthy: World) -> None:
    settings = settings_of(healthy, transaction_timeout=1_000_000)
    assert found(settings, "broker", "limits.transaction_timeout") is Severity.ERROR


def test_readings_that_were_deleted_before_they_were_read_are_found(healthy: World) -> None:
    admin = AdminClient({"bootstrap.servers": healthy.bootstrap})
    own = {"bootstrap.servers": healthy.bootstrap, "group.id": "doctored.a", "enable.auto.commit": False}
    consumer = Consumer(own)
    place = TopicPartition("doctored", 0)
    (committed,) = consumer.committed([place], 30)
    consumer.commit(offsets=[TopicPartition("doctored", 0, 2)], asynchronous=False)
    (deleted,) = admin.delete_records([TopicPartition("doctored", 0, 3)]).values()
    deleted.result(30)
    assert found(settings_of(healthy), "lag", "deleted before they were read", "tidecast reset") is Severity.ERROR
    consumer.commit(offsets=[TopicPartition("doctored", 0, committed.offset)], asynchronous=False)
    consumer.close()


def test_a_lag_beyond_the_backlog_is_found(healthy: World) -> None:
    own = {"bootstrap.servers": healthy.bootstrap, "group.id": "doctored.a", "enable.auto.commit": False}
    consumer = Consumer(own)
    consumer.commit(offsets=[TopicPartition("doctored", 0, 4)], asynchronous=False)
    assert found(settings_of(healthy, backlog_readings_max=5), "lag", "11 readings behind") is Severity.WARNING
    consumer.commit(offsets=[TopicPartition("doctored", 0, 15)], asynchronous=False)
    consumer.close()


@contextlib.contextmanager
def members(world: World, count: int) -> Iterator[None]:
    """So many of the worker's group."""
    own = {"bootstrap.servers": world.bootstrap, "group.id": "doctored.a", "enable.auto.commit": False}
    consumers = [Consumer(own | {"client.id": f"member-{number}"}) for number in range(count)]
    for consumer in consumers:
        consumer.subscribe([world.topic])
    admin = AdminClient({"bootstrap.servers": world.bootstrap})

    def have_joined() -> bool:
        for consumer in consumers:
            consumer.poll(0.1)
        described = admin.describe_consumer_groups(["doctored.a"])["doctored.a"].result(30)
        return len(described.members) == count and described.state is ConsumerGroupState.STABLE

    try:
        wait_until(have_joined, 60, f"{count} members")
        yield
    finally:
        for consumer in consumers:
            consumer.close()


def test_workers_that_nothing_is_left_for_are_found(healthy: World) -> None:
    with members(healthy, 2):
        assert found(settings_of(healthy), "workers", "2 workers for 1 partitions") is Severity.WARNING


def test_a_topic_with_fewer_copies_than_the_brokers_could_keep_is_found(healthy: World) -> None:
    """One broker stands for three: the test has no more."""
    brokers = Brokers(settings_of(healthy))
    assert "1 broker answers" in brokers.greet()
    assert {each.severity for each in brokers.topics()} == {Severity.OK}
    brokers._count = 3
    said = list(brokers.topics())
    assert {each.severity for each in said} == {Severity.WARNING}
    assert all("1 copies on 3 brokers" in each.found and "min.insync.replicas" in each.remedy for each in said)


def test_what_travels_in_the_clear_to_another_machine_is_found(healthy: World) -> None:
    """0.0.0.0 is this machine by an address that does not say so."""
    settings = settings_of(healthy)
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": healthy.bootstrap.replace("127.0.0.1", "0.0.0.0")})
    elsewhere = settings.redis.model_copy(update={"url": healthy.redis_url.replace("127.0.0.1", "0.0.0.0")})
    remote = settings.model_copy(update={"kafka": kafka, "redis": elsewhere})
    assert found(remote, "encryption", "security.protocol") is Severity.WARNING
    assert found(remote, "encryption", "rediss://") is Severity.WARNING
    assert not [each for each in examine(settings) if each.look == "encryption"]


# --- Redis ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def redis_setting(world: World, name: str, value: str) -> Iterator[None]:
    with redis.Redis.from_url(world.redis_url, decode_responses=True) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, before)


def test_a_redis_that_would_throw_state_away_is_found(healthy: World) -> None:
    with redis_setting(healthy, "maxmemory-policy", "allkeys-lru"):
        assert found(settings_of(healthy), "redis", "noeviction") is Severity.ERROR


def test_a_redis_without_persistence_is_found(healthy: World) -> None:
    with redis_setting(healthy, "appendonly", "no"):
        assert found(settings_of(healthy), "persistence", "appendonly") is Severity.WARNING


def test_a_redis_that_cannot_write_to_its_disk_is_found(healthy: World) -> None:
    """A folder lies where its dump would: the save that it tries fails."""
    with redis.Redis.from_url(healthy.redis_url, decode_responses=True) as client:
        dump = Path(client.config_get("dir")["dir"]) / client.config_get("dbfilename")["dbfilename"]

        def saved(status: str) -> None:
            client.bgsave(schedule=True)
            last = "rdb_last_bgsave_status"
            wait_until(lambda: client.info("persistence")[last] == status, 30, f"a save that ends with {status}")

        dump.unlink(missing_ok=True)
        dump.mkdir()
        try:
            saved("err")
            assert found(settings_of(healthy), "persistence", "rdb_last_bgsave_status", "log") is Severity.ERROR
        finally:
            dump.rmdir()
            saved("ok")


def test_a_redis_that_is_nearly_full_is_found(healthy: World) -> None:
    with redis.Redis.from_url(healthy.redis_url) as client:
        used = client.info("memory")["used_memory"]
    with redis_setting(healthy, "maxmemory", str(int(used * 1.15))):
        assert found(settings_of(healthy), "memory", "maxmemory") is Severity.WARNING


def test_clocks_that_disagree_are_found(healthy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 5)
    assert found(settings_of(healthy), "clock", "ms apart", "NTP") is Severity.WARNING


def test_a_redis_that_is_away_is_found(healthy: World) -> None:
    settings = settings_of(healthy, redis_timeout=500)
    away = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": "redis://127.0.0.1:1/0"})})
    assert found(away, "redis", "Redis") is Severity.ERROR


def test_a_state_of_another_configuration_is_found(healthy: World) -> None:
    settings = settings_of(healthy)
    spec = settings.streams["tides"].model_copy(update={"context_length": 48})
    assert found(settings.model_copy(update={"streams": {"tides": spec}}), "state", "fingerprint") is Severity.ERROR


def of_another_version(header: dict[str, Any]) -> dict[str, Any]:
    return header | {"meta": header["meta"] | {"layout": 99}}


def of_another_log(header: dict[str, Any]) -> dict[str, Any]:
    return header | {"identity": header["identity"] | {"topic_id": "another"}}


def cut_off(header: dict[str, Any]) -> dict[str, Any]:
    return {name: header[name] for name in ("format", "layout")}


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        (of_another_version, Severity.ERROR, ("layout 99", "reset")),
        (of_another_log, Severity.ERROR, ("another", "reset")),
        (cut_off, Severity.WARNING, ("cannot be read", "rebuilt")),
    ],
    ids=["version", "log", "cut off"],
)
def test_a_state_that_no_worker_here_would_read_is_found(
    healthy: World, change: Callable[[dict[str, Any]], dict[str, Any]], severity: Severity, words: tuple[str, ...]
) -> None:
    settings = settings_of(healthy)
    with redis.Redis.from_url(healthy.redis_url) as client:
        key = "{doctored.a:tides:0}:header"
        body = client.hget(key, "body")
        assert body is not None
        client.hset(key, "body", json.dumps(change(json.loads(body))))
        try:
            assert found(settings, "state", *words) is severity
        finally:
            client.hset(key, "body", body)


# --- schemas ----------------------------------------------------------------------------------------------------------


def with_avro(world: World, url: str) -> Settings:
    settings = settings_of(world)
    spec = settings.streams["tides"]
    outputs = spec.outputs.model_copy(update={"format": "avro"})
    registry = settings.schema_registry.model_copy(update={"url": url})
    streams = {"tides": spec.model_copy(update={"outputs": outputs})}
    return settings.model_copy(update={"streams": streams, "schema_registry": registry})


def test_a_schema_registry_that_is_away_and_schemas_that_nobody_registered_are_found(
    healthy: World, schema_registry: RegistryServer
) -> None:
    assert found(with_avro(healthy, "http://127.0.0.1:1"), "schemas", "schema_registry.url") is Severity.ERROR
    settings = with_avro(healthy, schema_registry.url)
    assert found(settings, "schemas", "tidecast schema --register") is Severity.ERROR
    register(settings, ["tides"])
    (finding,) = (each for each in examine(settings) if each.look == "schemas")
    assert finding.severity is Severity.OK


# --- models -----------------------------------------------------------------------------------------------------------


def of_models(settings: Settings, now: datetime) -> tuple[Severity, str]:
    (finding,) = look_at_models(settings, now)
    return finding.severity, f"{finding.found} {finding.remedy}"


def test_models_that_are_missing_old_broken_or_of_another_shape_are_found(tmp_path: Path) -> None:
    path = tmp_path / "tidecast.toml"
    path.write_text(
        f'[models]\nregistry = "{tmp_path}/models"\n[streams.tides]\ntopic = "t"\nfreq = "10min"\n'
        "context_length = 8\nhorizon = 2\n"
    )
    settings = Settings.load(path, {})
    registry, spec = ModelRegistry(f"{tmp_path}/models"), settings.streams["tides"]
    bundle = untrained(spec, "m1", 0.1)
    made = datetime.fromisoformat(bundle.manifest.created_at)
    severity, said = of_models(settings, made)
    assert (severity, "no champion: the naive" in said) == (Severity.WARNING, True)
    registry.publish("tides", bundle, {})
    registry.promote("tides", "m1")
    assert of_models(settings, made + timedelta(days=6))[0] is Severity.OK
    severity, said = of_models(settings, made + timedelta(days=9))
    assert (severity, "9 days old" in said) == (Severity.WARNING, True)
    longer = settings.model_copy(update={"streams": {"tides": spec.model_copy(update={"horizon": 3})}})
    severity, said = of_models(longer, datetime.now(UTC))
    assert (severity, "horizon" in said) == (Severity.ERROR, True)
    (tensors,) = Path(f"{tmp_path}/models").rglob("model.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    severity, said = of_models(settings, made)
    assert (severity, "cannot be read" in said, "rollback" in said) == (Severity.ERROR, True, True)


def test_a_model_that_this_user_may_not_read_needs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "tidecast.toml"
    path.write_text(f'[models]\nregistry = "{tmp_path}/models"\n[streams.tides]\ntopic = "t"\nfreq = "10min"\n')
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", refused)
    severity, said = of_models(Settings.load(path, {}), datetime.now(UTC))
    assert (severity, "let this user read" in said, "rollback" in said) == (Severity.ERROR, True, False)


def test_a_registry_that_cannot_be_opened_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tidecast.toml"
    path.write_text('[models]\nregistry = "nowhere://models"\n[streams.tides]\ntopic = "t"\nfreq = "10min"\n')
    severity, said = of_models(Settings.load(path, {}), datetime.now(UTC))
    assert (severity, "models.registry" in said) == (Severity.ERROR, True)


def test_what_a_state_takes_is_told_by_part(healthy: World, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "size", str(healthy.deployment("a")), "--series", "1000", "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["bytes_a_series"]["ring"] == 4 * settings_of(healthy).streams["tides"].ring_capacity
    assert told["redis_mb"] < told["worker_mb"]
