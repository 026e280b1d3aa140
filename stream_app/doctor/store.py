"""Examines Redis: whether it keeps the state, has room for it, agrees on the time, and holds a state that can be
read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from model_core.columns import BLOCK
from model_core.layouts import STATE_LAYOUT, STEPS
from stream_app.checkpoints import CheckpointStore, Identity, connect
from stream_app.checkpoints.commands import PartitionKeys, reaching
from stream_app.checkpoints.header import REBUILD, Header, StateMismatch, check_format, check_source
from stream_app.checkpoints.sizing import state_bytes
from stream_app.doctor.findings import Findings, error, ok, warning

if TYPE_CHECKING:
    from stream_app.settings import Settings

CLOCK_DIFFERENCE_MS_MAX = 1_000
MEMORY_SHARE_MAX = 0.8
LOCAL = ("127.0.0.1", "localhost", "::1", None)


class Store:
    def __init__(self, settings: Settings) -> None:
        redis, limits = settings.redis, settings.limits
        self._settings = settings
        self._client = connect(redis.url, timeout_s=limits.redis_timeout / 1000, cluster=redis.cluster)
        self._store = CheckpointStore(self._client, settings.application_id)
        self._info: dict[str, Any] = {}

    def greet(self) -> str:
        """Raises TidecastError if Redis cannot be reached, would throw state away, or accepts no writes."""
        self._store.check_server()
        with reaching("server at redis.url"):
            where = {"target_nodes": "random"} if self._settings.redis.cluster else {}
            self._info = self._client.info(**where)
        return (
            f"version {self._info.get('valkey_version') or self._info.get('redis_version')}, noeviction, takes writes"
        )

    def durability(self) -> Findings:
        url = urlsplit(self._settings.redis.url)
        if url.scheme == "redis" and url.hostname not in LOCAL:
            yield warning(
                "encryption",
                "redis",
                f"redis:// to {url.hostname}: states and the password travel in the clear",
                "write rediss:// in redis.url, with ssl_ca_certs=FILE where the authority is your own",
            )
        info = self._info
        broken = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name, "ok") != "ok"]
        if broken:
            yield error(
                "persistence", "redis", f"{broken[0]} is {info[broken[0]]}: it cannot write to its disk", "see its log"
            )
        if not info.get("aof_enabled"):
            yield warning(
                "persistence",
                "redis",
                "appendonly is off: a restart takes the newest checkpoints back, or all",
                "set appendonly yes; nothing is lost without it, but workers rebuild from the log",
            )
        elif not broken:
            yield ok("persistence", "redis", "appendonly")

    def memory(self) -> Findings:
        used, limit = int(self._info.get("used_memory", 0)), int(self._info.get("maxmemory", 0))
        if limit and used > MEMORY_SHARE_MAX * limit:
            yield warning(
                "memory",
                "redis",
                f"{used / 1e6:,.0f} of {limit / 1e6:,.0f} MB (maxmemory)",
                "give it more: when it is full, workers stop at backlog_readings_max (nothing is lost); "
                "`tidecast config size` says what a state takes",
            )
        else:
            yield ok(
                "memory",
                "redis",
                f"{used / 1e6:,.0f} MB used, maxmemory {f'{limit / 1e6:,.0f} MB' if limit else 'unset'}",
            )

    def clock(self) -> Findings:
        """Compare the clock of this machine with that of Redis."""
        before = time.time()
        with reaching("server at redis.url"):
            seconds, micros = self._client.time()
        here, there = (before + time.time()) / 2, seconds + micros / 1e6
        apart_ms = abs(here - there) * 1000
        if apart_ms > CLOCK_DIFFERENCE_MS_MAX:
            yield warning(
                "clock",
                "this machine",
                f"{apart_ms:,.0f} ms apart from Redis",
                "synchronise both clocks (NTP): max_future is judged by the worker's, and so is how late a forecast is",
            )
        else:
            yield ok("clock", "this machine", f"{apart_ms:.0f} ms apart from Redis")

    def states(self, identities: Mapping[str, Identity]) -> Findings:
        for stream, spec in self._settings.streams.items():
            if stream not in identities:
                continue
            identity, blocks, held = identities[stream], 0, 0
            for partition in range(identity.partition_count):
                keys = PartitionKeys(self._client, self._settings.application_id, stream, partition)
                found = keys.header()
                if found is None:
                    continue
                try:
                    check_format(keys.where, found[1])
                    header = Header.decode(found[1])
                    check_source(header, keys.where, spec.fingerprint(), identity)
                except StateMismatch as reason:
                    yield error("state", f"{stream}[{partition}]", str(reason), "see above")
                    continue
                except ValueError:
                    yield warning("state", f"{stream}[{partition}]", "its header cannot be read", "it will be rebuilt")
                    continue
                layout = header.meta.get("layout", 0)
                if not STATE_LAYOUT - len(STEPS) <= layout <= STATE_LAYOUT:
                    yield error("state", f"{stream}[{partition}]", f"layout {layout}, of another version", REBUILD)
                blocks, held = blocks + header.blocks, held + 1
            mb = state_bytes(spec) * blocks * BLOCK / 1e6
            yield ok("state", stream, f"{held} of {identity.partition_count} partitions, about {mb:,.1f} MB")
