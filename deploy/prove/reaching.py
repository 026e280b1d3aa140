"""In a pod's network `serve PORT…` answers on TCP and UDP, and `reach HOST:PORT/PROTOCOL…` prints those that answer."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

WAIT_S = 1.0


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.transport.sendto(data, source)


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"here")
    await writer.drain()
    writer.close()


async def serve(ports: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for port in map(int, ports):
        await asyncio.start_server(greet, "0.0.0.0", port)
        await loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", port))
    print("serving", flush=True)
    await asyncio.Event().wait()


async def answers(target: str) -> bool:
    address, protocol = target.split("/")
    host, port = address.split(":")
    try:
        async with asyncio.timeout(WAIT_S):
            if protocol == "TCP":
                reader, writer = await asyncio.open_connection(host, int(port))
                said = await reader.read(4)
                writer.close()
                return said == b"here"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.setblocking(False)
                asking.connect((host, int(port)))
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(asking, b"here")
                return await loop.sock_recv(asking, 4) == b"here"
    except OSError:  # refused, unreachable, or no answer in time
        return False


async def reach(targets: list[str]) -> None:
    found = await asyncio.gather(*map(answers, targets))
    print("\n".join(target for target, answered in zip(targets, found, strict=True) if answered))


if __name__ == "__main__":
    asyncio.run({"serve": serve, "reach": reach}[sys.argv[1]](sys.argv[2:]))
