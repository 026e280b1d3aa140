"""The Redis client as the store wants it: bytes, a deadline on every answer, no hidden retries.

One node or a cluster: all keys of a partition lie in one hash slot, so the commands are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.retry import Retry

from stream_app.errors import TidecastError

SOCKET_READ_BYTES = 64 << 10


def connect(url: str, *, timeout_s: float = 5.0, cluster: bool = False) -> Any:
    """Nothing is sent before the first command, so that a worker can wait for a Redis that is away. TidecastError where
    the URL asks for what no Redis could give."""
    _require_known_options(url)
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


def _require_known_options(url: str) -> None:
    """redis-py stumbles over one that it does not know when it first connects."""
    try:
        parsed: Mapping[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise TidecastError(f"redis.url: expected an address that redis-py takes, found: {error}") from None
    kind = parsed.get("connection_class", redis.Connection)
    known = {name for each in kind.__mro__[:-1] for name in inspect.signature(each.__init__).parameters}
    for name in parse_qs(urlsplit(url).query):
        if name not in known:
            close = get_close_matches(name, known, 1, 0.7)
            remedy = f"Did you mean {close[0]}?" if close else "Remove it."
            if name.startswith("ssl_") and kind is not redis.SSLConnection:
                remedy = "It goes with rediss://."
            raise TidecastError(f"redis.url: expected options that redis-py knows, found {name}. {remedy}")


class _LazyCluster:
    """redis-py's cluster client asks for the slots when it is made; this one when it is first used."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url, self._options = url, options

    @cached_property
    def _client(self) -> RedisCluster:
        return RedisCluster.from_url(self._url, **self._options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
