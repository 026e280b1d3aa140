"""A start when something is not there, or not allowed: unready with the reason until it is, or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.app.running_worker import WorkerProcess, wait_until
from tests.chaos.broken_world import (
    IMPATIENT,
    PATIENT_S,
    BrokenServers,
    BrokenWorld,
    broken_servers,
    broken_world,
    ready,
)
from tests.chaos.tcp_proxy import API_KEYS

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]


def waits_for(worker: WorkerProcess, *words: str) -> None:
    """Unready, and says all of it."""

    def said() -> bool:
        status, reasons = worker.readyz()
        return status == 503 and all(word in reasons.get("start", "") for word in words)

    wait_until(said, PATIENT_S, f"{words} in the reason, in\n{worker.log_path.read_text()}")


def ends_with(worker: WorkerProcess, *words: str) -> None:
    assert worker.process.wait(PATIENT_S) == 1, worker.log_path.read_text()
    error = worker.wait_for("worker ends")["error"]
    assert all(word in error for word in words), error


def test_a_worker_that_is_there_before_kafka_and_redis_waits_for_both(world: BrokenWorld) -> None:
    assert world.services is not None
    config = world.configure()
    world.services.kafka.kill()
    world.services.valkey.kill()
    worker = world.start(config)
    waits_for(worker, "Kafka", "kafka.bootstrap_servers")
    world.services.kafka.start()
    waits_for(worker, "Redis")
    world.services.valkey.start()
    ready(worker)
    world.send_ticks(20)
    world.answered()
    world.stop_and_judge(worker, config)


def test_a_wrong_address_is_named_and_ends_the_start_at_its_deadline(world: BrokenWorld) -> None:
    assert world.kafka_proxy is not None
    config = world.configure(limits='kafka_timeout = "1s"\nstart_deadline = "2s"')
    wrong = "127.0.0.1:1"
    config.write_text(config.read_text().replace(world.kafka_proxy.address, wrong))
    ends_with(world.start(config), wrong, "kafka.bootstrap_servers", "limits.start_deadline")


@pytest.mark.soak
def test_a_wrong_address_of_redis_is_named_and_ends_the_start_at_its_deadline(world: BrokenWorld) -> None:
    assert world.redis_proxy is not None
    config = world.configure(limits='redis_timeout = "1s"\nstart_deadline = "2s"')
    config.write_text(config.read_text().replace(world.redis_proxy.address, "127.0.0.1:1"))
    ends_with(world.start(config), "Redis", "limits.start_deadline")


def test_a_start_without_an_answer_to_its_producer_ends_at_the_deadline_of_the_start(world: BrokenWorld) -> None:
    assert world.kafka_proxy is not None
    world.kafka_proxy.drop_replies = frozenset({API_KEYS["InitProducerId"]})
    config = world.configure(limits='start_deadline = "2s"')
    ends_with(world.start(config), "to take a producer within 2 s (limits.start_deadline)")


def test_a_broker_that_allows_shorter_transactions_only_is_named_with_the_remedy_which_helps(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    with (
        broken_servers(tmp_path / "servers", kafka_properties={"transaction.max.timeout.ms": "5000"}) as servers,
        broken_world(servers, tmp_path, rng) as world,
    ):
        world.send_ticks(5)
        told = "lower limits.transaction_timeout, or raise transaction.max.timeout.ms"
        ends_with(world.start(world.configure()), "init_transactions", told)
        worker = world.start(world.configure(limits=IMPATIENT + '\ntransaction_timeout = "5s"'))
        world.answered()
        assert worker.stop(PATIENT_S) == 0, worker.log_path.read_text()


def test_missing_topics_are_waited_for_by_name(
    servers: BrokenServers, tmp_path: Path, rng: np.random.Generator
) -> None:
    with broken_world(servers, tmp_path, rng, topic_is_there=False) as world:
        config = world.configure()
        worker = world.start(config)
        waits_for(worker, world.topic, "tidecast topics create")
        world.create(world.topic)
        ready(worker)
        world.send_ticks(5)
        world.answered()
        assert worker.stop(PATIENT_S) == 0


def test_a_wrong_password_of_redis_is_waited_for_with_the_remedy(world: BrokenWorld) -> None:
    client = world.redis()
    client.ping()
    config = world.configure()
    client.config_set("requirepass", "secret")
    worker = world.start(config)
    waits_for(worker, "Redis", "redis.url")
    client.config_set("requirepass", "")
    ready(worker)


RIGHTS_IN_REDIS = ("+@read", "+@write", "+@scripting", "+@connection", "+info")


@pytest.mark.parametrize(
    "lacking", ["+@write", *(pytest.param(each, marks=pytest.mark.soak) for each in ("+@read", "+@scripting", "+info"))]
)
def test_a_redis_user_who_may_not_is_told_the_rights_it_needs_and_needs_no_more(
    world: BrokenWorld, lacking: str
) -> None:
    assert world.redis_proxy is not None
    given = [right for right in RIGHTS_IN_REDIS if right != lacking]
    keys = f"~{{{world.topic}.a:*"
    world.redis().execute_command("ACL", "SETUSER", "worker", "on", ">secret", keys, "-@all", *given)
    config = world.configure()
    address = world.redis_proxy.address
    config.write_text(config.read_text().replace(f"redis://{address}", f"redis://worker:secret@{address}"))
    worker = world.start(config)

    def said() -> bool:
        status, reasons = worker.readyz()
        return status == 503 and any(all(r in text for r in RIGHTS_IN_REDIS) for text in reasons.values())

    wait_until(said, PATIENT_S, f"the rights in the reason, in\n{worker.log_path.read_text()}")
    world.redis().execute_command("ACL", "SETUSER", "worker", lacking)
    ready(worker)
    world.send_ticks(5)
    world.answered()
    world.stop_and_judge(worker, config)


# Who connects directly is anonymous and may do all; who comes through the proxy has a name and what it was given.
WITH_PERMISSIONS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:SASL_PLAINTEXT",
    "listener.name.proxied.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.proxied.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'user_worker="secret" username="worker" password="secret";'
    ),
}
SASL = """
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "worker"
"sasl.password" = "secret"
"""
# What a worker says that lacks a right. None is needed on the cluster: anyone is told its id.
NAMED = {
    "topics": ("the topic {topic} ", "let the worker's user read it"),
    "group": ("Read on the consumer group",),
    "outputs": ("Write on the output topics",),
    "transactional id": ("Write on its transactional id",),
}
RIGHTS = tuple(NAMED)


def grant(world: BrokenWorld, *rights: str) -> None:
    from confluent_kafka.admin import (
        AclBinding,
        AclOperation,
        AclPermissionType,
        AdminClient,
        ResourcePatternType,
        ResourceType,
    )

    every, allow = ResourcePatternType.PREFIXED, AclPermissionType.ALLOW
    deployment = f"{world.topic}.a"
    wanted = {
        "topics": (ResourceType.TOPIC, world.topic, every, AclOperation.READ),
        "group": (ResourceType.GROUP, deployment, every, AclOperation.READ),
        "outputs": (ResourceType.TOPIC, deployment, every, AclOperation.WRITE),
        "transactional id": (ResourceType.TRANSACTIONAL_ID, deployment, every, AclOperation.WRITE),
    }
    acls = [
        AclBinding(kind, name, pattern, "User:worker", "*", operation, allow)
        for kind, name, pattern, operation in (wanted[right] for right in rights)
    ]
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for made in admin.create_acls(acls).values():
        made.result(30)


@pytest.mark.parametrize(
    "lacking", ["outputs", *(pytest.param(each, marks=pytest.mark.soak) for each in RIGHTS if each != "outputs")]
)
def test_without_a_permission_in_kafka_it_says_so_and_with_it_it_runs(
    tmp_path: Path, rng: np.random.Generator, lacking: str
) -> None:
    with (
        broken_servers(tmp_path / "servers", kafka_properties=WITH_PERMISSIONS) as servers,
        broken_world(servers, tmp_path, rng) as world,
    ):
        config = world.configure()
        config.write_text(config.read_text().replace("[kafka.client]\n", "[kafka.client]\n" + SASL.lstrip()))
        grant(world, *(right for right in RIGHTS if right != lacking))
        world.send_ticks(5)
        worker = world.start(config)
        # One that could come by itself is waited for, one that a call was refused for ends the process.
        said = wait_until(lambda: reason_or_end(worker), PATIENT_S, f"a reason, in\n{worker.log_path.read_text()}")
        assert "Expected" in said
        assert "user" in said, said  # whose rights are to be mended
        for words in NAMED[lacking]:
            assert words.format(topic=world.topic) in said, said
        grant(world, lacking)
        if worker.process.poll() is not None:
            worker = world.start(config)
        world.answered()
        world.stop_and_judge(worker, config)


def reason_or_end(worker: WorkerProcess) -> str:
    """Its last sentence, or why it is not ready, beyond that it has just begun."""
    ended = [line["error"] for line in worker.lines() if line["event"] == "worker ends"]
    if ended:
        worker.process.wait(PATIENT_S)
        return str(ended[-1])
    try:
        reasons = worker.readyz()[1]
    except OSError:  # it ends just now
        return ""
    return next((reason for reason in reasons.values() if reason.startswith("Expected")), "")
