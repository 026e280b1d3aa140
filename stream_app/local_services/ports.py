"""Ports of this machine: finding free ones, and saying who holds a taken one."""

import random
import socket

import psutil

LOCALHOST = "127.0.0.1"
# Below the range that Linux gives to outgoing connections (32768 and up). A port from that range could be taken by a
# client of the very server that is being restarted: a client retrying against it can even connect to itself.
FREE_PORT_MIN = 20_000
FREE_PORT_MAX = 32_000
ATTEMPTS_MAX = 200
CONNECT_TIMEOUT_S = 1.0


def is_free(port: int) -> bool:
    """Whether a server could listen there now. A port in TIME_WAIT counts as free, as for the servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def free_port(*, taken: frozenset[int] = frozenset()) -> int:
    """A random free port outside `taken`. Random, so that two runs at the same time seldom choose the same one."""
    choice = random.SystemRandom()
    for _ in range(ATTEMPTS_MAX):
        port = choice.randrange(FREE_PORT_MIN, FREE_PORT_MAX)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"found no free port from {FREE_PORT_MIN} to {FREE_PORT_MAX} in {ATTEMPTS_MAX} attempts")


def accepts_connections(port: int) -> bool:
    try:
        with socket.create_connection((LOCALHOST, port), timeout=CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def holder(port: int) -> str:
    """Who listens on the port, in words. The system may hide processes of other users from us."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "another program"
    for connection in connections:
        address, listens = connection.laddr, connection.status == psutil.CONN_LISTEN
        if listens and address and address[1] == port and connection.pid:
            try:
                return f"'{psutil.Process(connection.pid).name()}' (pid {connection.pid})"
            except psutil.Error:
                break
    return "another program"
