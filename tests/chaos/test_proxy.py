"""The proxy does what it is told, and nothing else: chaos that does not happen would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos.wire import Wire
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow  # it waits for what should not come

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Parrot:
    """A server that repeats what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            self.heard += data
            writer.write(data)
        writer.close()


@pytest.fixture
async def parrot() -> AsyncIterator[Parrot]:
    server = Parrot()
    yield server
    server.stop()


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    wire = Wire(tmp_path)
    await wire.open()
    yield wire
    await wire.close()


@pytest.fixture
async def port(wire: Wire, parrot: Parrot) -> int:
    return await wire.link("me.parrot", [("127.0.0.1", 1), ("127.0.0.1", await parrot.start())])


Call = Callable[[], Awaitable[Streams]]


@pytest.fixture
async def call(port: int) -> AsyncIterator[Call]:
    """Connects; all connections are closed afterwards."""
    opened: list[Streams] = []

    async def connect() -> Streams:
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    yield connect
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in opened), return_exceptions=True)


async def say(streams: Streams, words: bytes, answer: int | None = None) -> bytes:
    """What comes back; empty where the connection ends."""
    streams[1].write(words)
    async with asyncio.timeout(PATIENCE):
        try:
            return await streams[0].readexactly(len(words) if answer is None else answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


async def silent(streams: Streams) -> bool:
    try:
        async with asyncio.timeout(0.3):
            return not await streams[0].read(1)
    except TimeoutError:
        return True


async def test_it_passes_everything_to_the_first_target_that_answers(call: Call) -> None:
    assert await say(await call(), b"x" * 200_000) == b"x" * 200_000


async def test_a_cut_ends_the_connections_of_the_links_it_names(wire: Wire, call: Call) -> None:
    streams = await call()
    assert await say(streams, b"one") == b"one"
    assert await wire.cut("you.*") == 0
    assert await wire.cut("me.*") == 1
    assert await say(streams, b"two") == b""
    assert await say(await call(), b"three") == b"three"


async def test_a_hole_swallows_both_directions_and_is_cut_when_it_closes(
    wire: Wire, parrot: Parrot, call: Call
) -> None:
    streams = await call()
    await say(streams, b"one")
    await wire.set("me.parrot", "hole")
    streams[1].write(b"two")
    assert await silent(streams)
    assert parrot.heard == b"one"
    await wire.set("me.*", "pass")
    assert await say(streams, b"three") == b""


async def test_what_is_deaf_still_speaks(wire: Wire, parrot: Parrot, call: Call) -> None:
    streams = await call()
    await say(streams, b"one")
    await wire.set("*", "deaf")
    streams[1].write(b"two")
    assert await silent(streams)
    assert parrot.heard == b"onetwo"


async def test_what_was_stalled_arrives_later(wire: Wire, parrot: Parrot, call: Call) -> None:
    streams = await call()
    await say(streams, b"one")
    await wire.set("*", "stall")
    streams[1].write(b"two")
    assert await silent(streams)
    assert parrot.heard == b"one"
    await wire.set("*", "pass")
    assert await say(streams, b"three", 8) == b"twothree"


async def test_a_delay_delays(wire: Wire, call: Call) -> None:
    streams = await call()
    await wire.set("*", "delay", seconds=0.2)
    began = asyncio.get_running_loop().time()
    assert await say(streams, b"one") == b"one"
    assert asyncio.get_running_loop().time() - began > 0.39  # there and back


async def test_a_drop_cuts_after_so_many_bytes_of_answers(wire: Wire, call: Call) -> None:
    streams = await call()
    await wire.set("*", "drop", bytes=5)
    assert await say(streams, b"one") == b"one"
    assert await say(streams, b"two") == b""


async def test_a_link_that_refuses_lets_nobody_in_and_puts_everybody_out(wire: Wire, call: Call) -> None:
    streams = await call()
    assert await say(streams, b"one") == b"one"
    await wire.set("*", "refuse")
    assert await say(streams, b"two") == b""
    assert await say(await call(), b"three") == b""
