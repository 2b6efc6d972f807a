"""The wire between choros and its servers: a TCP proxy in a process of its own, so that nothing starves it.

    python -m tests.chaos.proxy CONTROL

listens on a Unix socket CONTROL and takes one JSON object a line, answered by one a line:

    {"do": "open", "link": "orchestrator-1.broker", "targets": [["127.0.0.1", 20001]]}    -> {"port": 20007}
    {"do": "set", "links": "*.broker", "mood": "hole"}                                    -> {"links": 9}
    {"do": "cut", "links": "payment.*"}                                                   -> {"cut": 4}
    {"do": "count"}                                                                       -> {"return": 3, "nack": 1}

What is counted are the frames of `frames`, on links `*.broker`. A link has several targets where the server has several
nodes: the first that answers is taken. Moods:

    pass            nothing happens
    refuse          nobody listens
    hole            half-open: all bytes vanish in both directions, and nobody is told
    deaf            what the client says arrives, the answers vanish: whatever it asked for has an unknown outcome
    stall           bytes wait in both directions, and arrive when the mood changes
    delay           bytes arrive `seconds` late
    drop            after `bytes` more of answers the connection is cut, in the middle of a frame if need be

Connections whose bytes have vanished are cut when the mood changes; a stream with a gap is of no use to anybody.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from tests.chaos.frames import Frames

_CHUNK = 1 << 16
BROKER = ".broker"
"""What the names of links to a broker end with."""


@dataclass(eq=False)
class Link:
    """One listening port, which stands for one server to one client."""

    name: str
    targets: Sequence[tuple[str, int]]
    mood: str = "pass"
    seconds: float = 0.0
    bytes_left: int = 0
    counts: Counter[str] | None = None
    """Of the frames that come by it, where a broker is at its end."""
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    calls: set[Call] = field(default_factory=set)

    def set(self, order: Mapping[str, Any]) -> None:
        """Change the mood, and cut what has lost bytes in the one before."""
        self.mood = str(order["mood"])
        self.seconds, self.bytes_left = float(order.get("seconds", 0)), int(order.get("bytes", 0))
        (self.passing.clear if self.mood == "stall" else self.passing.set)()
        self.cut(only_spoilt=True)
        if self.mood == "refuse":
            self.cut()

    def cut(self, only_spoilt: bool = False) -> int:
        """Abort the connections; returns how many."""
        found = [call for call in self.calls if call.spoilt or not only_spoilt]
        for call in found:
            call.abort()
        return len(found)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect somebody through, until either side ends it."""
        call = Call(self, writer)
        self.calls.add(call)
        try:
            await call.run(reader)
        finally:
            self.calls.discard(call)
            call.abort()


class Call:
    """One connection from a client through to the server."""

    def __init__(self, link: Link, near: asyncio.StreamWriter) -> None:
        self._link, self._near = link, near
        self._far: asyncio.StreamWriter | None = None
        self._frames = Frames(link.counts) if link.counts is not None else None
        self.spoilt = False

    def abort(self) -> None:
        """Cut it without a word."""
        for writer in (self._near, self._far):
            if writer is not None:
                writer.transport.abort()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Both directions."""
        if self._link.mood == "refuse":
            return
        opened = await self._dial()
        if opened is None:
            return
        far_reader, self._far = opened
        pumps = [
            asyncio.create_task(self._pump(reader, self._far, answers=False)),
            asyncio.create_task(self._pump(far_reader, self._near, answers=True)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self.abort()
        await asyncio.wait(pumps, timeout=5)
        for pump in pumps:
            pump.cancel()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for host, port in self._link.targets:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    return await asyncio.open_connection(host, port)
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._link.mood != "pass":
                    data = await self._spoil(data, answers)
                if data:
                    if answers and self._frames:
                        self._frames.feed(data)
                    writer.write(data)
                    await writer.drain()

    async def _spoil(self, data: bytes, answers: bool) -> bytes:
        """What is left of these bytes."""
        link = self._link
        if link.mood == "hole" or (link.mood == "deaf" and answers):
            self.spoilt = True
            return b""
        if link.mood == "stall":
            await link.passing.wait()
        elif link.mood == "delay":
            await asyncio.sleep(link.seconds)
        elif link.mood == "drop" and answers:
            link.bytes_left -= len(data)
            if link.bytes_left < 0:
                self.abort()
                return b""
        return data


class Exchange:
    """All links, and who commands them."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._counts: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []

    async def command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one controller, a line at a time."""
        while line := await reader.readline():
            answer = await self._obey(json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _obey(self, order: Mapping[str, Any]) -> dict[str, int]:
        if order["do"] == "open":
            return {"port": await self._open(str(order["link"]), [tuple(one) for one in order["targets"]])}
        if order["do"] == "count":
            return self._counts
        chosen = [link for link in self._links if fnmatch(link.name, str(order["links"]))]
        if order["do"] == "set":
            for link in chosen:
                link.set(order)
            return {"links": len(chosen)}
        return {"cut": sum(link.cut() for link in chosen)}

    async def _open(self, name: str, targets: Sequence[tuple[str, int]]) -> int:
        link = Link(name, targets, counts=self._counts if name.endswith(BROKER) else None)
        self._links.append(link)  # several may have one name: a client's links to the nodes of a cluster
        link.passing.set()
        server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port


async def main(control: str) -> None:
    """Serve until killed."""
    server = await asyncio.start_unix_server(Exchange().command, control)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main(sys.argv[1]))
