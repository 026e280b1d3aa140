"""Many ranges of Redis strings, read from the socket straight into the arrays they belong to, without a copy.

A partition's state is hundreds of megabytes. Through the Redis client every byte is copied three times on its way into
an array, and each copy touches new memory; here the kernel puts it there. The client still opens the connection,
because it knows about TLS, users and cluster nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import redis.exceptions

AHEAD_BYTES = 8 << 20  # asked for and not read yet: the server prepares the next answers while these arrive
LINE_BYTES_MIN, LINE_BYTES_MAX = 4, 4096  # `$0` and its end; an error's text


class Range(NamedTuple):
    """Bytes of one key."""

    key: str
    start: int
    length: int


class Answer(NamedTuple):
    """`read` fills a place of `length` bytes, once."""

    length: int
    read: Callable[[memoryview], None]


class WrongLength(Exception):
    """The key holds less than it should."""

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(f"piece {key}: expected {expected} bytes, found {found} when it was read")


def read_ranges(client: Any, ranges: Sequence[Range]) -> Iterator[Answer]:
    """One Answer for each range, to be read before the next. Raises the client's exceptions, and WrongLength."""
    if not ranges:
        return
    pool = _node_of(client, ranges[0].key).connection_pool
    connection = pool.get_connection()
    answers = _Answers(connection, ranges)
    try:
        for number, each in enumerate(ranges, 1):
            yield Answer(each.length, answers.read)
            assert answers.taken == number, "whoever was given it has read it"
    finally:
        if answers.taken < len(ranges):  # answers are on their way that nobody will take
            connection.disconnect()
        pool.release(connection)


def _node_of(client: Any, key: str) -> Any:
    """The client of the node that has the key: itself, unless it is a cluster's."""
    if not hasattr(client, "get_node_from_key"):
        return client
    return client.get_redis_connection(client.get_node_from_key(key))


class _Answers:
    """Asks for ranges ahead, and takes the answers apart: `$LENGTH\\r\\n`, the bytes, `\\r\\n`."""

    def __init__(self, connection: Any, ranges: Sequence[Range]) -> None:
        self._connection = connection
        self._ranges = ranges
        self._asked = self._ahead = 0  # ranges; bytes of those that are not read yet
        self.taken = 0  # ranges
        self._ask()

    def read(self, into: memoryview) -> None:
        """The next answer, all of it."""
        expected = self._ranges[self.taken]
        assert len(into) == expected.length, "the place is as long as the range"
        head = b"$%d\r\n" % expected.length
        line = self._line(head)
        if line.startswith(b"$") and line != head:
            raise WrongLength(expected.key, expected.length, int(line[1:]))
        if line != head:
            raise redis.exceptions.ResponseError(line.lstrip(b"-").decode(errors="replace").rstrip())
        self._fill(into)
        self._fill(memoryview(bytearray(len(b"\r\n"))))
        self.taken += 1
        self._ahead -= expected.length
        self._ask()

    def _ask(self) -> None:
        commands = []
        while self._asked < len(self._ranges) and self._ahead < AHEAD_BYTES:
            key, start, length = self._ranges[self._asked]
            # Nothing at the beginning would end at −1, which is the last byte.
            first, last = (start, start + length - 1) if length else (1, 0)
            commands.append(("GETRANGE", key, first, last))
            self._asked += 1
            self._ahead += length
        if commands:
            self._connection.send_packed_command(self._connection.pack_commands(commands))

    def _line(self, expected: bytes) -> bytes:
        """The first line of an answer, read in few pieces where it is the expected one, and never beyond it."""
        line = b""
        while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
            safe = len(expected) - len(line) if expected.startswith(line) else 1
            part = bytearray(safe if line else LINE_BYTES_MIN)
            self._fill(memoryview(part))
            line += part
        return line

    def _fill(self, view: memoryview) -> None:
        try:
            # The client has no call that reads into a buffer. Between two answers its own parser holds nothing back.
            socket = self._connection._sock
            while view:
                count = socket.recv_into(view)
                if not count:
                    raise redis.exceptions.ConnectionError("the server closed the connection")
                view = view[count:]
        except TimeoutError as error:
            raise redis.exceptions.TimeoutError("timeout reading from socket") from error
        except OSError as error:
            raise redis.exceptions.ConnectionError(str(error)) from error
