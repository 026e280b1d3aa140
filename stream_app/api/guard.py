"""What every request passes first: the token, the limits of a client, and headers that make browsers strict."""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from stream_app.errors import TidecastError
from stream_app.pages.shell import EMPTY_STYLE

if TYPE_CHECKING:
    from stream_app.settings.model import Api

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENTS_MAX = 10_000  # whose requests are counted
BURST_S = 10.0
WRONG_TOKEN_COST = 10.0  # requests: guessing is slow
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' " + EMPTY_STYLE + "; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
# The page itself has nothing to hide: it asks for the token and shows it with each question of its own.
OPEN_PATHS = ("/livez", "/readyz", "/", "/openapi.json")
OPEN_PREFIX = "/assets/"


def require_safe(api: Api) -> None:
    """Raises TidecastError when other machines could read without a token."""
    if api.token is None and not _is_loopback(api.host):
        raise TidecastError(
            f"api.token: expected a token, because api.host = {api.host!r} can be reached from other machines, found "
            "none. Set TIDECAST__API__TOKEN_FILE to a file with a long random text, or api.host to 127.0.0.1."
        )


class Guard:
    """ASGI middleware. Each refusal is {"detail": sentence}."""

    def __init__(self, app: App, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._api = api
        self._token = api.token.encode() if api.token is not None else None
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client → (tokens left, when)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        client = scope["client"][0] if scope.get("client") else ""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "Nothing can be changed here: expected GET.", [(b"allow", b"GET, HEAD")]
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._api.body_bytes_max or b"transfer-encoding" in headers:
            return 413, f"Expected a request without a body, or of {self._api.body_bytes_max} bytes at most.", []
        if self._token is None and not _names_this_machine(headers.get(b"host", b"")):
            return (
                403,
                (
                    "Without api.token the API answers to localhost and 127.0.0.1 alone: a page of somebody else could "
                    "have given this machine another name. Set a token, or ask for http://127.0.0.1."
                ),
                [],
            )
        if not self._may_ask(client, 1.0):
            return (
                429,
                f"More than {self._api.requests_max} requests a second; wait a moment.",
                [(b"retry-after", b"1")],
            )
        path = scope["path"]
        if self._token is None or path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
            return None
        return self._without_token(headers.get(b"authorization"), client)

    def _without_token(self, shown: bytes | None, client: str) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        assert self._token is not None
        challenge = [(b"www-authenticate", b'Bearer realm="tidecast"')]
        if shown is None:
            return 401, "This API takes a token: send the header Authorization: Bearer TOKEN.", challenge
        kind, _, token = shown.partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token):
            return None
        self._may_ask(client, WRONG_TOKEN_COST)
        return 401, "That token is not the right one.", challenge

    def _may_ask(self, client: str, cost: float) -> bool:
        """A token bucket for each client, filled with api.requests_max a second."""
        now, most = self._clock(), self._api.requests_max * BURST_S
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - since) * self._api.requests_max)
        self._buckets[client] = (max(0.0, left - cost), now)
        if len(self._buckets) > CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return left >= cost


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
            if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                message["headers"].append((b"cache-control", b"no-store"))
        await send(message)

    return sending


async def _refuse(send: Send, status: int, detail: str, headers: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"detail": detail}).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": status, "headers": told})
    await sending({"type": "http.response.body", "body": body})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return _is_loopback(name)
