"""A TCP proxy that can lose an answer: what was asked happens, and the asker never hears of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class LossyProxy:
    """Forwards to one server. After `lose(word)`, the connection whose next request holds the word is cut off as soon
    as the server has answered it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._word = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lose(self, word: str) -> None:
        """Lose the answer to the next request with this word."""
        self._word = word.encode()

    def lead_to(self, port: int) -> None:
        """What connects from now on reaches another server; what is connected stays where it is."""
        self._target = port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.create_task(_pump(there_reader, writer))
        with suppress(ConnectionError, asyncio.CancelledError):
            while asked := await reader.read(1 << 20):
                if self._word and self._word in asked:
                    self._word = b""
                    back.cancel()
                    there_writer.write(asked)
                    await asyncio.sleep(0.2)  # long enough for a server on loopback to do what was asked
                    self.lost += 1
                    break
                there_writer.write(asked)
        back.cancel()
        writer.close()
        there_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while said := await reader.read(1 << 20):
            writer.write(said)
