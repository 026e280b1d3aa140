"""What stands before every request, with a clock that is handed in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_app.api.guard import Guard, require_safe
from stream_app.errors import TidecastError
from stream_app.settings.model import Api

TOKEN = "a-token-of-these-tests"


class Asked:
    """A guard before an application that says yes to everything."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self._guard = Guard(self._yes, Api(**settings), clock=lambda: self.now)

    async def _yes(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, path: str = "/api/v1/streams", client: str = "10.0.0.1", **headers: str) -> int:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        named = {"host": "127.0.0.1:9480"} | headers
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "client": (client, 1),
            "headers": [(name.encode(), text.encode()) for name, text in named.items()],
        }
        asyncio.run(self._guard(scope, None, send))  # type: ignore[arg-type]
        return int(told[0]["status"])


def test_a_client_may_ask_ten_seconds_worth_at_once_and_then_so_many_a_second() -> None:
    asked = Asked(requests_max=2)
    assert [asked.ask() for _ in range(21)] == [200] * 20 + [429]
    assert asked.ask(client="10.0.0.2") == 200
    asked.now = 1.0
    assert [asked.ask() for _ in range(3)] == [200, 200, 429]


def test_guessing_tokens_is_slow() -> None:
    asked = Asked(requests_max=2, token=TOKEN)
    statuses = [asked.ask(authorization="Bearer wrong-wrong-wrong") for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert asked.ask(client="10.0.0.2", authorization=f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9480", "127.0.0.1.evil.example", ""])
def test_without_a_token_only_this_machine_is_answered(host: str) -> None:
    assert Asked().ask(host=host) == 403
    assert Asked(token=TOKEN).ask(host=host, authorization=f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("host", ["localhost:9480", "127.0.0.1", "[::1]:9480"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert Asked().ask(host=host) == 200


@pytest.mark.parametrize("shown", ["Basic abc", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer ", "bearer"])
def test_what_is_not_the_token_is_refused(shown: str) -> None:
    assert Asked(token=TOKEN).ask(authorization=shown) == 401


@pytest.mark.parametrize("length", ["4097", "-1", "1e3", "9" * 30])
def test_bodies_have_a_bound(length: str) -> None:
    assert Asked().ask(**{"content-length": length}) == 413


def test_an_address_of_others_takes_a_token() -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3", "api"):
        with pytest.raises(TidecastError, match="TIDECAST__API__TOKEN_FILE"):
            require_safe(Api(host=host))
        require_safe(Api(host=host, token=TOKEN))
    for host in ("127.0.0.1", "localhost", "::1"):
        require_safe(Api(host=host))
