"""The Redis client as the store wants it: bytes, a deadline on every answer, no hidden retries.

One node or a cluster: all keys of a partition lie in one hash slot, so the commands are the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

SOCKET_READ_BYTES = 64 << 10


def connect(url: str, *, timeout_s: float = 5.0, cluster: bool = False) -> Any:
    """Nothing is sent before the first command, so that a worker can wait for a Redis that is away."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_read_size": SOCKET_READ_BYTES,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 30,
    }
    if url.startswith("rediss://"):  # the host's name is compared in all versions of the client
        options["ssl_check_hostname"] = True
    return _LazyCluster(url, options) if cluster else redis.Redis.from_url(url, **options)


class _LazyCluster:
    """redis-py's cluster client asks for the slots when it is made; this one when it is first used."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url, self._options = url, options

    @cached_property
    def _client(self) -> RedisCluster:
        return RedisCluster.from_url(self._url, **self._options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
