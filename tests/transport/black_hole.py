"""A proxy that becomes a black hole at a chosen request: connections stay open, and not a byte passes any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

REQUESTS = {
    "connect": b"AMQP\x00\x00\x09\x01",
    "handshake": b"\x00\x0a\x00\x0b",  # connection.start-ok
    "open a channel": b"\x00\x14\x00\x0a",
    "close a channel": b"\x00\x14\x00\x28",
    "declare an exchange": b"\x00\x28\x00\x0a",
    "declare a queue": b"\x00\x32\x00\x0a",
    "bind": b"\x00\x32\x00\x14",
    "prefetch": b"\x00\x3c\x00\x0a",
    "consume": b"\x00\x3c\x00\x14",
    "cancel": b"\x00\x3c\x00\x1e",
    "publish": b"\x00\x3c\x00\x28",
}
"""The bytes by which a request on AMQP 0-9-1 is known: class and method."""


class BlackHole:
    """Stands between a client and a server. Asked to swallow, it does so from the next request that holds the word."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._word: bytes | None = None
        self._holes: set[int] = set()
        self._links: list[list[asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.everywhere = False
        """Whether all connections are swallowed, new ones too."""
        self.port = 0

    def swallow(self, word: bytes, *, everywhere: bool = True) -> None:
        """From the next request with this word on, swallow everything: on all connections, or on that one alone."""
        self._word, self._alone = word, not everywhere

    def mend(self) -> None:
        """Let new connections through again; the old ones are cut."""
        self._word, self.everywhere = None, False
        self._holes.clear()
        for writer in [writer for link in self._links for writer in link]:
            writer.transport.abort()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections."""
        self._server.close()
        self.mend()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._links.append([writer, there_writer])
        number = len(self._links)
        for pump in (self._asking(number, reader, there_writer), self._answering(number, there_reader, writer)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _swallows(self, number: int) -> bool:
        return self.everywhere or number in self._holes

    async def _asking(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while asked := await reader.read(1 << 16):
                if self._word is not None and self._word in asked:
                    self._holes.add(number)
                    self.everywhere = self.everywhere or not self._alone
                if not self._swallows(number):
                    writer.write(asked)
        writer.transport.abort()

    async def _answering(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answered := await reader.read(1 << 16):
                if not self._swallows(number):
                    writer.write(answered)
        writer.transport.abort()


@asynccontextmanager
async def black_hole(url: str) -> AsyncIterator[tuple[BlackHole, str]]:
    """A black hole before the server at this address, and its own address."""
    there = URL(url)
    hole = BlackHole(there.host or "127.0.0.1", there.port or 0)
    await hole.start()
    try:
        yield hole, str(there.with_host("127.0.0.1").with_port(hole.port))
    finally:
        await hole.stop()
