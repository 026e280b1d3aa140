"""The proxy of the fault runs does what it says: a fault that does not happen would make every run pass."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.tcp_proxy import TcpProxy


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def proxy(echo_port: int) -> Iterator[TcpProxy]:
    with TcpProxy(lambda: echo_port) as made:
        yield made


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=20)


def test_bytes_pass_both_ways(proxy):
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"


def test_a_reset_ends_an_open_connection_and_the_next_one_works(proxy):
    with connect(proxy) as client:
        client.sendall(b"hello")
        client.recv(5)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(5)
    with connect(proxy) as client:
        client.sendall(b"again")
        assert client.recv(5) == b"again"


@pytest.mark.parametrize("fault", ["black_hole", "half_open"])
def test_what_is_swallowed_never_comes_and_healing_resets(proxy, fault):
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        setattr(proxy, fault, True)
        client.sendall(b"hello")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(5)
        client.settimeout(20)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            client.recv(5)


def test_only_the_replies_of_one_kind_are_dropped(echo_port):
    """The echo's reply begins with the request's own head, so a request whose fields spell its own correlation id."""

    def request(api_key: int, correlation_id: int) -> bytes:
        # As a reply, the first four bytes are the correlation id: api_key << 16 | version.
        return (8).to_bytes(4, "big") + api_key.to_bytes(2, "big") + b"\0\1" + correlation_id.to_bytes(4, "big")

    with TcpProxy(lambda: echo_port, kafka=True) as proxy, connect(proxy) as client:
        proxy.drop_replies = frozenset({26})
        dropped, kept = request(26, (26 << 16) + 1), request(3, (3 << 16) + 1)
        client.sendall(dropped + kept)
        assert client.recv(12) == kept
        assert proxy.dropped == {26: 1}
        assert proxy.seen == {26: 1, 3: 1}
