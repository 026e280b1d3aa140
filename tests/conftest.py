"""The parts that all tests share: one real Kafka and one real Valkey a run, and names that are unique to a test."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from filelock import FileLock, Timeout

from stream_app.runtime.threads import pin_threads

pin_threads()  # before numpy and torch are there: two spinning threads on two cores took five times as long

import numpy as np  # noqa: E402

if TYPE_CHECKING:
    import redis

    from stream_app.local_services import LocalServices
    from tests.app.registry_server import RegistryServer
    from tests.app.running_worker import World

REPOSITORY = Path(__file__).parent.parent
# Tests that measure or wait for servers disturb each other, also across checkouts: one run at a time on a machine.
RUN_LOCK = Path(tempfile.gettempdir()) / f"tidecast-tests-{os.getuid()}.lock"  # a container may have no name for us
OF_TERMINALS = {"LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
RUN_LOCK_KEY = pytest.StashKey[FileLock]()
RUN_LOCK_TIMEOUT_S = 3600
NEEDS_SERVICES = {"services", "schema_registry", "kafka_bootstrap", "redis_url", "redis_client", "create_topic"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="repeat a run with the seed that it printed")
    parser.addoption("--screenshots", default=None, help="a folder for pictures of the live page, to look at")
    parser.addoption("--write-proofs", action="store_true", help="write what fault runs measured into docs/proofs/")
    parser.addoption("--soak-minutes", type=float, default=30.0, help="how long the faults at random go on")
    parser.addoption("--soak-times", type=int, default=20, help="how often a soak kills or suspends in each step")


def pytest_configure(config: pytest.Config) -> None:
    # What a shell says of its terminal, or of a deployment of its own, is for none of the programs that tests start.
    for name in [name for name in os.environ if name in OF_TERMINALS or name.startswith("TIDECAST_")]:
        del os.environ[name]
    os.environ["COLUMNS"] = "80"
    # A shell that runs us in the background lets us ignore Ctrl-C, and every program we start would ignore it too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--seed") is None:
        config.option.seed = secrets.randbelow(2**32)
    # A slow machine is no failure: hypothesis has a limit of 200 ms an example otherwise.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    # It takes part: the printed seed repeats its examples as well.
    if config.pluginmanager.hasplugin("hypothesispytest") and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = config.option.seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.option.seed} (repeat with --seed {config.option.seed})"


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by these marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if NEEDS_SERVICES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.services)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Waits here for another run on this machine to end, where no test's time limit is running yet."""
    if session.config.option.collectonly or not any(item.get_closest_marker("services") for item in session.items):
        return
    lock = FileLock(RUN_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"\nwaiting for another run of the tests to end ({RUN_LOCK})", flush=True)
        lock.acquire(timeout=RUN_LOCK_TIMEOUT_S)
    session.config.stash[RUN_LOCK_KEY] = lock


def pytest_unconfigure(config: pytest.Config) -> None:
    lock = config.stash.get(RUN_LOCK_KEY, None)
    if lock is not None:
        lock.release()


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one configuration; here many are read in one, and a password of another test may be any word."""
    monkeypatch.setattr("stream_app.settings.secrets._remembered", [])


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed: the same for each test, so that one test alone repeats what it did among all."""
    return int(request.config.option.seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """One broker and one store for the whole run. A test that kills one of them starts it again itself."""
    from stream_app.local_services import LocalServices

    with LocalServices(
        tmp_path_factory.mktemp("services"),
        free_ports=True,
        downloads=REPOSITORY / ".tidecast" / "kafka-jars",
    ) as running:
        yield running


@pytest.fixture(scope="session")
def schema_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One schema registry for the whole run, in memory. A test that stops it starts it again itself."""
    from tests.app.registry_server import start_registry

    server: RegistryServer = start_registry(
        tmp_path_factory.mktemp("registry"), REPOSITORY / ".tidecast" / "schema-registry"
    )
    yield server
    server.kill()


@pytest.fixture
def kafka_bootstrap(services: LocalServices) -> str:
    return services.kafka_bootstrap


@pytest.fixture
def redis_url(services: LocalServices) -> str:
    return services.redis_url


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Begins all topics of this test; says which test it was in the broker's log."""
    readable = "".join(char if char.isalnum() else "-" for char in request.node.name)[:60].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def application_id(topic_prefix: str) -> str:
    """A deployment of its own: group id, client ids and Redis keys of this test meet nobody else's."""
    return topic_prefix


@pytest.fixture
def create_topic(services: LocalServices, topic_prefix: str) -> Callable[..., str]:
    """create_topic("in", partitions=3, config={…}) → the full name, once the broker has it."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": services.kafka_bootstrap})

    def create(name: str, *, partitions: int = 1, config: dict[str, str] | None = None) -> str:
        full_name = f"{topic_prefix}.{name}"
        new = NewTopic(full_name, num_partitions=partitions, replication_factor=1, config=config or {})
        admin.create_topics([new])[full_name].result(timeout=30)
        deadline = time.monotonic() + 30
        while full_name not in admin.list_topics(timeout=10).topics:  # made, and the broker has not heard of it yet
            assert time.monotonic() < deadline, f"{full_name} was created and is not there"
            time.sleep(0.05)
        return full_name

    return create


@pytest.fixture
def partitions() -> int:
    """Of the input topic of `world`; modules and folders that need others say so."""
    return 1


@pytest.fixture
def topic_config() -> dict[str, str]:
    """Of the input topic of `world`, as the broker names it."""
    return {}


@pytest.fixture
def world(
    services: LocalServices, topic_prefix: str, tmp_path: Path, partitions: int, topic_config: dict[str, str]
) -> Iterator[World]:
    """An input topic, and deployments of real workers around it, which end with the test."""
    from tests.app.running_worker import World

    made = World(services.kafka_bootstrap, services.redis_url, f"{topic_prefix}.in", partitions, tmp_path)
    made.create(made.topic, config=topic_config)
    yield made
    for worker in made.workers:
        worker.kill()


@pytest.fixture
def redis_client(services: LocalServices) -> Iterator[redis.Redis]:
    """Bytes in, bytes out; begins and ends with an empty store."""
    import redis

    with redis.Redis.from_url(services.redis_url) as client:
        client.flushall()
        yield client
        client.flushall()
