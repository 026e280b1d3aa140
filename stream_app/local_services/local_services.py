"""Kafka and Valkey together, in one folder: what `tidecast services`, `tidecast demo` and the tests use."""

import fcntl
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stream_app.errors import TidecastError
from stream_app.local_services.kafka_jars import Progress
from stream_app.local_services.kafka_server import KafkaServer
from stream_app.local_services.ports import free_port, is_free
from stream_app.local_services.server_process import PortTaken, Server
from stream_app.local_services.state_file import Recorded, StateFile
from stream_app.local_services.valkey_server import ValkeyServer

KAFKA_PORT = 9092
VALKEY_PORT = 6379
START_ATTEMPTS = 5  # with other free ports each time


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `tidecast services status`."""

    name: str
    state: str  # running | not answering | stopped
    pid: int | None
    address: str | None  # None while stopped: the next `up` chooses it
    log: str

    def as_dict(self) -> dict[str, str | int | None]:
        return asdict(self)


class LocalServices:
    """One broker and one store. `with LocalServices(folder, free_ports=True) as services: …`, or `up()` and `down()`.

    persistent=False: begins with no data, and the servers die with this program whatever ends it (on Linux).
    persistent=True: keeps its data, and the servers stay when this program ends, until `down()`.

    `services.kafka` and `services.valkey` can be stopped, killed, paused and started again, each on its same port.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        free_ports: bool = False,
        persistent: bool = False,
        downloads: Path | str | None = None,
        progress: Progress = lambda done, total: None,
        kafka_proxy_port: int | None = None,
        kafka_properties: Mapping[str, str] | None = None,
    ) -> None:
        """`downloads`: where Kafka's jars are kept; the default is a folder below `directory`.

        `kafka_proxy_port`: clients that come through a proxy on this port are told to stay with it; the proxy connects
        to `kafka.ports["proxied"]`. `kafka_properties`: broker properties that override ours.
        """
        folder = Path(directory).resolve()
        # Data that may be erased has a place of its own, so that no mistake here costs anyone's kept data.
        self.directory = folder if persistent else folder / "temporary"
        self._free_ports = free_ports
        self._persistent = persistent
        self._downloads = Path(downloads).resolve() if downloads else folder / "kafka-jars"
        self._progress = progress
        self._kafka_proxy_port = kafka_proxy_port
        self._kafka_properties = kafka_properties
        self._state_file = StateFile(self.directory / "services.json")
        self._lock: IO[str] | None = None
        self.kafka, self.valkey = self._servers(self._state_file.read())

    @property
    def on_usual_ports(self) -> bool:
        return (self.kafka.port, self.valkey.port) == (KAFKA_PORT, VALKEY_PORT)

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.address

    @property
    def redis_url(self) -> str:
        return f"redis://{self.valkey.address}/0"

    def up(self) -> Self:
        """Start both servers and wait until they answer. A server that already answers stays as it is."""
        self._take_lock()
        started: list[Server] = []
        try:
            recorded = self._state_file.read()  # whoever is ended below is forgotten, and yet comes back to its ports
            self._end_left_overs()
            self.kafka, self.valkey = self._servers(recorded)
            # The store first: it is up in 50 ms, so a taken port is said before Kafka has started.
            for server in reversed(self._each()):
                if not server.is_running():
                    started.append(server)
                    self._start(server)
        except BaseException:  # Ctrl-C included: all or nothing
            for each in started:
                each.stop()
            if not self._persistent:
                self.down()
            raise
        finally:
            if self._persistent:
                self._release_lock()
        return self

    def down(self) -> None:
        """End both servers, also those of an earlier program, and wait until they have ended."""
        self._take_lock()
        try:
            for server in self._each():
                server.stop() if self._persistent else server.kill()
            self._erase_unless_persistent()
        finally:
            self._release_lock()

    def status(self) -> list[ServiceStatus]:
        return [self._status_of(server) for server in self._each()]

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _each(self) -> tuple[Server, ...]:
        return self.kafka, self.valkey

    def _servers(self, recorded: Mapping[str, Recorded]) -> tuple[KafkaServer, ValkeyServer]:
        """Servers that already run keep their ports, so that a second `up` and `status` name the real ones."""
        running = {name: entry for name, entry in recorded.items() if entry.process() or self._comes_back(entry)}
        kafka = KafkaServer(
            directory=self.directory,
            ports=self._kafka_ports(running.get("kafka")),
            tied=not self._persistent,
            state_file=self._state_file,
            downloads=self._downloads,
            progress=self._progress,
            proxy_port=self._kafka_proxy_port,
            properties=self._kafka_properties,
        )
        valkey = ValkeyServer(
            directory=self.directory,
            ports=self._valkey_ports(running.get("valkey"), frozenset(kafka.ports.values())),
            tied=not self._persistent,
            state_file=self._state_file,
        )
        return kafka, valkey

    def _comes_back(self, entry: Recorded) -> bool:
        """Whether a server that died gets its ports again, so that whoever knows its address finds it again. One that
        was stopped by `down` is not recorded any more."""
        return self._persistent and all(map(is_free, entry.ports.values()))

    def _start(self, server: Server) -> None:
        """Start it. If another program took a free port since it was chosen, choose another one."""
        for attempt in range(START_ATTEMPTS):
            try:
                server.start()
                return
            except PortTaken:
                if not self._free_ports or attempt == START_ATTEMPTS - 1:
                    raise
            others = frozenset(port for each in self._each() for port in each.ports.values())
            server.ports = self._kafka_ports(None, others) if server is self.kafka else self._valkey_ports(None, others)

    def _kafka_ports(self, running: Recorded | None, taken: frozenset[int] = frozenset()) -> dict[str, int]:
        if running:
            return running.ports
        client = free_port(taken=taken) if self._free_ports else KAFKA_PORT
        ports = {"client": client, "controller": free_port(taken=taken | {client})}
        if self._kafka_proxy_port is not None:
            ports["proxied"] = free_port(taken=taken | {*ports.values(), self._kafka_proxy_port})
        return ports

    def _valkey_ports(self, running: Recorded | None, taken: frozenset[int] = frozenset()) -> dict[str, int]:
        if running:
            return running.ports
        return {"client": free_port(taken=taken) if self._free_ports else VALKEY_PORT}

    def _status_of(self, server: Server) -> ServiceStatus:
        pid = server.pid
        if pid is None:
            return ServiceStatus(server.name, "stopped", None, None, str(server.log_path))
        state = "running" if server.answers() else "not answering"
        return ServiceStatus(server.name, state, pid, server.address, str(server.log_path))

    def _end_left_overs(self) -> None:
        """End what a crash left: servers that do not answer or, if nothing is kept, any server and its data."""
        for server in self._each():
            if not self._persistent:
                server.kill()
            elif server.is_running() and not server.answers():
                server.stop()
        self._erase_unless_persistent()

    def _erase_unless_persistent(self) -> None:
        if not self._persistent:
            for name in ("kafka", "valkey"):
                shutil.rmtree(self.directory / name, ignore_errors=True)

    def _take_lock(self) -> None:
        """Two programs on one folder would start two brokers on one data folder.

        If servers outlive the program, it is held for one command, otherwise from `up` to `down`. The system releases
        it when the program ends.
        """
        if self._lock:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = (self.directory / "services.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise TidecastError(
                f"Another tidecast program is using the services in {self.directory}. Wait until it has ended, or name "
                "another folder (--dir)."
            ) from error
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None
