"""Broker and controller as two processes, as clusters have them.

In one process a broker that is killed and comes back leads its partitions at once, under the epoch from before, and a
moment later not at all, and then under a new one: its group coordinator reads its log twice at a time, and on a machine
that is busy the second reading spoils the first (Kafka 4.1.2 and 4.3.1). A controller that lives through the kill has
fenced the broker before it is back, and there is one reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream_app.local_services import LocalServices
from stream_app.local_services.kafka_server import KafkaServer
from stream_app.local_services.ports import LOCALHOST, accepts_connections
from stream_app.local_services.server_process import Server
from stream_app.local_services.state_file import Recorded
from stream_app.local_services.valkey_server import ValkeyServer

CONTROLLER_ID = 2
ELSEWHERE = 1  # in place of a port of this process: what it stands in is not used


class Controller(KafkaServer):
    name = "controller"

    def settings(self, ports: dict[str, int]) -> str:
        return super().settings(ports | {"controller": ports["client"]})

    def answers(self) -> bool:
        return accepts_connections(self.port)

    @property
    def _home(self) -> Path:
        return self.directory / self.name


class Broker(KafkaServer):
    def settings(self, ports: dict[str, int]) -> str:
        return super().settings(ports | {"controller": ELSEWHERE})


class Quorum(LocalServices):
    """Kafka's part is two servers: `kafka`, the broker, and `controller`."""

    controller: Controller

    def _servers(self, recorded: Mapping[str, Recorded]) -> tuple[KafkaServer, ValkeyServer]:
        both, valkey = super()._servers(recorded)
        controller, client = both.ports["controller"], both.ports["client"]
        reached_at = {name: port for name, port in both.ports.items() if name != "controller"}
        shared: Any = {"directory": self.directory, "tied": True, "state_file": self._state_file}
        shared |= {"downloads": self._downloads, "progress": self._progress}
        voters = {"controller.quorum.voters": f"{CONTROLLER_ID}@{LOCALHOST}:{controller}"}
        address = f"CONTROLLER://{LOCALHOST}:{controller}"
        alone = {"process.roles": "controller", "node.id": str(CONTROLLER_ID)}
        alone |= {"listeners": address, "advertised.listeners": address}
        self.controller = Controller(ports={"client": controller}, properties=voters | alone, **shared)
        listeners = [f"PLAINTEXT://{LOCALHOST}:{client}"]
        if self._kafka_proxy_port is not None:
            listeners.append(f"PROXIED://{LOCALHOST}:{both.ports['proxied']}")
        beside = {"process.roles": "broker", "listeners": ",".join(listeners)}
        broker = Broker(ports=reached_at, proxy_port=self._kafka_proxy_port, properties=voters | beside, **shared)
        broker.cluster_id = self.controller.cluster_id
        return broker, valkey

    def _each(self) -> tuple[Server, ...]:
        """Started from the last: store, controller, broker."""
        return self.kafka, self.controller, self.valkey
