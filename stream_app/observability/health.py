"""Whether the worker is alive and ready, and its metrics, over HTTP: /livez, /readyz, /metrics.

/livez answers from the event loop and asks nobody, so that a broker's outage restarts no worker. /readyz says why no
readings flow. Reasons are set from any thread, and read from the loop.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import mode
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stream_app.errors import TidecastError
from stream_app.settings.secrets import hidden

if TYPE_CHECKING:
    from stream_app.settings import Settings

STOP_WAIT_S = 1.0  # for requests that are being answered


# Names of reasons, as the metric tidecast_not_ready has them; that of a held partition goes on with the partition.
BLOCKING = ("start", "kafka", "assignment", "store", "schema registry", "restore", "publisher", "held")
# What a start waits for has its own name beside "start", so that a dashboard and an alert can say which it is.
NEEDED = ("kafka", "store", "schema registry")


class Readiness:
    """A set of named reasons why the worker is not ready. Ready when it is empty. Safe to use from any thread."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def block(self, name: str, reason: str) -> None:
        """Not ready for this reason; a second reason of the same name replaces the first."""
        with self._lock:
            self._reasons[name] = hidden(reason)  # anybody may ask for it

    def clear(self, name: str) -> None:
        with self._lock:
            self._reasons.pop(name, None)

    @property
    def reasons(self) -> dict[str, str]:
        with self._lock:
            return dict(self._reasons)

    def is_blocked(self, name: str) -> bool:
        """Whether there is a reason of that name, or one that begins with it."""
        with self._lock:
            return any(each == name or each.startswith(f"{name} ") for each in self._reasons)

    @property
    def is_ready(self) -> bool:
        return not self.reasons


class Health:
    """What the parts of the worker report, in their words, as reasons."""

    def __init__(self, settings: Settings) -> None:
        self.readiness = Readiness()
        self.readiness.block("start", "the worker is starting")
        self.readiness.block("assignment", "no partition is assigned yet")
        self._streams = tuple(settings.streams)

    def waiting(self, reason: str, needed: str) -> None:
        """Before anything can begin, for one of NEEDED; a topic is Kafka's."""
        for other in NEEDED:
            self.readiness.clear(other)
        self.readiness.block("start", reason)
        self.readiness.block(needed, reason)

    def started(self) -> None:
        for name in ("start", *NEEDED):
            self.readiness.clear(name)

    def assigned(self, partitions: int) -> None:
        """A worker without partitions, because there are too few, is not ready, so that somebody notices."""
        if partitions:
            self.readiness.clear("assignment")
        else:
            self.readiness.block("assignment", f"no partition of {', '.join(self._streams)} is assigned to this worker")

    def store_away(self, reason: str) -> None:
        self.readiness.block("store", reason)

    def store_there(self) -> None:
        self.readiness.clear("store")

    def registry_away(self, reason: str) -> None:
        """The schema registry is away: messages wait for a schema."""
        self.readiness.block("schema registry", reason)

    def registry_there(self) -> None:
        self.readiness.clear("schema registry")

    def restore_waits(self, reason: str, needed: str) -> None:
        """Partitions are ours, but their state ("store") or offsets ("kafka") cannot be read yet."""
        self.restored()
        self.readiness.block("restore", reason)
        self.readiness.block(f"{needed} to restore", reason)

    def restored(self) -> None:
        for name in ("restore", "kafka to restore", "store to restore"):
            self.readiness.clear(name)

    def publishing_fails(self, reason: str) -> None:
        self.readiness.block("publisher", reason)

    def publishing(self) -> None:
        self.readiness.clear("publisher")

    def held(self, partition: str, reason: str) -> None:
        """A partition is held until a person accepts it."""
        self.readiness.block(f"held {partition}", reason)

    def released(self, partition: str) -> None:
        self.readiness.clear(f"held {partition}")


class HealthServer(mode.Service):
    """Serves from the event loop it is started on. `port` 0 takes a free one; `self.port` is the one taken."""

    logger = logging.getLogger("mode.health")  # its "Starting…" lines are nobody's business

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        readiness: Readiness,
        *,
        facts: Mapping[str, str] | None = None,
        **service: Any,
    ) -> None:
        self.host = host
        self.port = port
        self._registry = registry
        self._readiness = readiness
        self._facts = dict(facts or {})  # shown by /livez: application_id, instance_id, version
        self._runner: web.AppRunner | None = None
        super().__init__(**service)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def on_start(self) -> None:
        application = web.Application()
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=STOP_WAIT_S)
        await self._runner.setup()
        listening = listen(self.host, self.port, "http")
        self.port = listening.getsockname()[1]
        await web.SockSite(self._runner, listening).start()

    async def on_stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True, **self._facts})

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._readiness.reasons
        body = {"ready": not reasons, "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def listen(host: str, port: int, table: str) -> socket.socket:
    """TidecastError that names the setting of that table, http or api."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise _no_address(host, table, error) from None
    try:
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host, table, error) from None
        reason = "another program there" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        raise TidecastError(
            f"{table}: expected {host}:{port} to be free, found {reason}. Set {table}.port to another one, or to 0 for "
            "a free one."
        ) from None


def _no_address(host: str, table: str, error: OSError) -> TidecastError:
    reason = (error.strerror or str(error)).partition(" (")[0]
    return TidecastError(
        f"{table}: expected an address of this machine, found {host} ({reason}). "
        f"Set {table}.host to 127.0.0.1, or to 0.0.0.0 for all of its addresses."
    )
