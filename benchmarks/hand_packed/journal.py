"""What must not be forgotten, in Redis: all that has come since the last answer goes in one MSET."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

Then = Callable[[bytes, int], None]
"""Told the saga, and the number it came with, once it is kept."""


class Journal(asyncio.Protocol):
    """A connection on which one command is under way at a time, the next one growing meanwhile."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._then: list[tuple[Then, bytes, int]] = []
        self._under_way: list[tuple[Then, bytes, int]] = []
        self._soon = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def opened(cls, url: str) -> Journal:
        """Connected to the Redis of this address."""
        at = urlsplit(url)
        _, journal = await asyncio.get_running_loop().create_connection(cls, at.hostname or "", at.port or 0)
        return journal

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def keep(self, entry: bytes, then: Then, saga: bytes, number: int) -> None:
        """Write this before the turn of the loop is over, or with what else comes until the answer to the last."""
        self._entries.append(entry)
        self._then.append((then, saga, number))
        if not self._soon and not self._under_way:
            self._soon = True
            self._loop.call_soon(self._write)

    def data_received(self, data: bytes) -> None:
        """What was kept may go on."""
        if data != b"+OK\r\n":
            raise AssertionError(f"Redis answered {data!r}.")
        done, self._under_way = self._under_way, []
        for then, saga, number in done:
            then(saga, number)
        self._write()

    def close(self) -> None:
        """No more of it."""
        if self._transport is not None:
            self._transport.close()

    def _write(self) -> None:
        self._soon = False
        if self._entries and self._transport is not None:
            head = b"*%d\r\n$4\r\nMSET\r\n" % (2 * len(self._entries) + 1)
            self._transport.write(head + b"".join(self._entries))
            self._under_way, self._then, self._entries = self._then, [], []
