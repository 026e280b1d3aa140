"""A TCP proxy that can be told to misbehave, on a thread of the test; for Kafka it can also drop replies by their kind.

Faults are set while connections run, and hold for those that are open as well: `latency_s`, `black_hole` (accepted,
nothing goes either way), `half_open` (what the server says is lost), `reset()` (every connection ends with RST).
`drop_replies` names Kafka API keys whose requests arrive and whose replies never do.

Knows Kafka's framing and the first fields of a request's header; nothing of what is tested through it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

LOCALHOST = "127.0.0.1"
READ_BYTES = 64 << 10
API_KEYS = {
    "Produce": 0,
    "JoinGroup": 11,
    "InitProducerId": 22,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
}
_SIZE = struct.Struct(">i")
_HEAD = struct.Struct(">hhi")  # api_key, api_version, correlation_id
_LINGER_RST = struct.pack("ii", 1, 0)


class TcpProxy:
    """`target` is asked for at each connection, so that a server may come up later, or at another port."""

    def __init__(self, target: Callable[[], int], *, kafka: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self._kafka = kafka
        self._tls = tls  # clients speak TLS to it; the server does not
        self.latency_s = 0.0  # each way
        self.black_hole = False
        self.half_open = False
        self.drop_replies: frozenset[int] = frozenset()
        self.seen: Counter[int] = Counter()  # requests by API key
        self.dropped: Counter[int] = Counter()  # replies by API key
        self._listening = socket.create_server((LOCALHOST, 0))
        self.port = int(self._listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def heal(self) -> None:
        """No fault from here on. Connections that lost bytes are reset: nobody could make sense of them."""
        torn = self.black_hole or self.half_open
        self.latency_s, self.black_hole, self.half_open, self.drop_replies = 0.0, False, False, frozenset()
        if torn:
            self.reset()

    def reset(self) -> int:
        """End every open connection with RST, on both sides; how many ends there were."""
        return asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result(10)

    # --- the proxy's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listening, ssl=self._tls))
        self._loop.run_forever()
        for writer in self._writers:
            writer.transport.abort()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._listening.close()

    async def _reset(self) -> int:
        ends = list(self._writers)
        for writer in ends:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
            writer.transport.abort()
        return len(ends)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(LOCALHOST, self.target())
        except OSError:  # the server is away, and so are we
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        asked: dict[int, int] = {}  # correlation id → API key, of requests whose reply is looked at
        ways = (
            self._forward(reader, server_writer, asked, from_server=False),
            self._forward(server_reader, writer, asked, from_server=True),
        )
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for each in (writer, server_writer):
                self._writers.discard(each)
                each.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int], *, from_server: bool
    ) -> None:
        """Until one end is gone. What is read waits beside what comes after it: a long way is no narrow one."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        taking = asyncio.ensure_future(self._take(reader, on_its_way))
        try:
            while (due_and_data := await on_its_way.get())[1]:
                due, data = due_and_data
                await asyncio.sleep(due - self._loop.time())
                if self.black_hole:
                    continue
                if self._kafka and not self._passes(data, asked, from_server=from_server):
                    continue
                if from_server and self.half_open:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            taking.cancel()

    async def _take(self, reader: asyncio.StreamReader, on_its_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        try:
            while data := await (_frame(reader) if self._kafka else reader.read(READ_BYTES)):
                on_its_way.put_nowait((self._loop.time() + self.latency_s, data))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            on_its_way.put_nowait((0.0, b""))

    def _passes(self, frame: bytes, asked: dict[int, int], *, from_server: bool) -> bool:
        """Whether this request or reply goes through."""
        if not from_server:
            api_key, _, correlation_id = _HEAD.unpack_from(frame, _SIZE.size)
            self.seen[api_key] += 1
            asked[correlation_id] = api_key
            return True
        (correlation_id,) = _SIZE.unpack_from(frame, _SIZE.size)
        api_key = asked.pop(correlation_id, -1)
        if api_key not in self.drop_replies:
            return True
        self.dropped[api_key] += 1
        return False


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One request or reply with its length; b"" at the end of the connection."""
    try:
        head = await reader.readexactly(_SIZE.size)
    except asyncio.IncompleteReadError:
        return b""
    (size,) = _SIZE.unpack(head)
    return head + await reader.readexactly(size)
